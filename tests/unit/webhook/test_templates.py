"""Workload templates: what their author reads at apply."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.webhook.builders import (
    NETWORKS,
    NOTHING_KNOWN,
    PLAIN,
    admit_template,
    messages,
    review,
    workload,
)
from webhook.decision import Decision
from webhook.objects import TEMPLATE_PATHS
from webhook.snapshot import ClusterNetworks, Namespace
from webhook.templates import TemplateRules

LIMITED = Namespace("team-b", allowed=("canal",))
FIELD = "spec.template.metadata.annotations[cni]"


def decide(
    manifest: dict[str, Any],
    namespace: Namespace = PLAIN,
    rules: TemplateRules = TemplateRules(),  # noqa: B008 - immutable
    networks: ClusterNetworks = NETWORKS,
    **request: Any,
) -> Decision:
    return admit_template(review(manifest, **request), namespace, networks, rules)


@pytest.mark.parametrize("kind", TEMPLATE_PATHS)
def test_a_template_of_bad_grammar_is_refused(kind: str) -> None:
    """Every kind of workload is refused, with the path of its own template."""
    decision = decide(workload("a/b", kind))
    path = ".".join(TEMPLATE_PATHS[kind])
    assert decision.code == 422
    (message,) = messages(decision)
    assert message.startswith(f'{path}.metadata.annotations[cni]: Invalid value: "a/b": item 1')


@pytest.mark.parametrize(
    ("value", "namespace", "expected"),
    [
        pytest.param("weave", PLAIN, (), id="all-is-well"),
        pytest.param(None, PLAIN, (), id="names-none"),
        pytest.param(
            "wave",
            PLAIN,
            (f'{FIELD}: pods will be refused: unknown network "wave" (did you mean "weave"?)',),
            id="unknown",
        ),
        pytest.param(
            "weave,zz",
            LIMITED,
            (
                f'{FIELD}: pods will be refused: network "weave" is not allowed in this namespace',
                f'{FIELD}: pods will be refused: unknown network "zz"',
            ),
            id="not-allowed-and-unknown",
        ),
    ],
)
def test_what_may_become_right_is_a_warning(
    value: str | None, namespace: Namespace, expected: tuple[str, ...]
) -> None:
    """A template may be applied before its network."""
    decision = decide(workload(value), namespace)
    assert decision.allowed
    assert decision.warnings == expected


def test_no_network_is_called_unknown_while_none_is_known() -> None:
    """A cluster without labelled nodes has no list to compare with."""
    assert decide(workload("wave"), networks=NOTHING_KNOWN).warnings == ()


@pytest.mark.parametrize(
    ("rules", "value", "code", "warnings"),
    [
        pytest.param(TemplateRules(invalid="warn"), "a/b", 200, 1, id="grammar-warns"),
        pytest.param(TemplateRules(invalid="off"), "a/b", 200, 0, id="grammar-is-left-alone"),
        pytest.param(TemplateRules(doubtful="deny"), "wave", 422, 0, id="unknown-is-refused"),
        pytest.param(TemplateRules(doubtful="off"), "wave", 200, 0, id="unknown-is-left-alone"),
        pytest.param(TemplateRules(doubtful="deny"), "a/b,wave", 422, 0, id="both-are-refused"),
    ],
)
def test_the_settings_choose_how_strict_it_is(
    rules: TemplateRules, value: str, code: int, warnings: int
) -> None:
    """Either kind of fault can be refused, warned of, or left to the pods."""
    decision = decide(workload(value), rules=rules)
    assert (decision.code, len(decision.warnings)) == (code, warnings)


def test_a_stored_value_does_not_stop_other_changes() -> None:
    """A template that was stored while we were down can still be scaled and mended."""
    stored = workload("a/b")
    changed = workload("a/b", spec={"containers": [{"name": "c"}]})
    decision = admit_template(review(changed, stored), PLAIN, NETWORKS, TemplateRules())
    assert decision.allowed
    (texts,) = decision.warnings
    assert texts.startswith(f'{FIELD}: pods will be refused: Invalid value: "a/b": item 1')


@pytest.mark.parametrize(
    ("manifest", "request_fields"),
    [
        pytest.param(workload("a/b", spec={"hostNetwork": True}), {}, id="host-network"),
        pytest.param(
            workload("a/b", ownerReferences=[{"name": "web", "controller": True}]),
            {},
            id="made-by-a-controller",
        ),
        pytest.param(workload("a/b"), {"subResource": "scale"}, id="subresource"),
        pytest.param(workload("a/b"), {"operation": "DELETE", "object": None}, id="delete"),
    ],
)
def test_what_is_left_alone(manifest: dict[str, Any], request_fields: dict[str, Any]) -> None:
    """Scaling, deleting and the controllers' own writes pass."""
    assert decide(manifest, **request_fields) == Decision()


def test_an_owner_that_is_no_controller_does_not_hide_a_template() -> None:
    """Anyone may write an ownerReference; only a controller's means that it made this."""
    assert decide(workload("a/b", ownerReferences=[{"name": "x"}])).code == 422


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("CNI", 'Genie ignores this annotation; did you mean "cni"?'),
        (
            "v1.multus-cni.io/default-network",
            'Genie ignores this annotation; name the networks in "cni"',
        ),
        (
            "cni-genie.io/allowed",
            (
                "Genie reads this annotation on namespaces only, and ignores it on pods; "
                "ask a cluster administrator to set it on the namespace"
            ),
        ),
    ],
)
@pytest.mark.parametrize("kind", ["Deployment", "CronJob"])
def test_a_key_that_is_ignored_in_a_template_is_a_warning(kind: str, key: str, words: str) -> None:
    """The warning for the pod itself would go to the controller, where nobody reads it."""
    manifest = workload(None, kind, template={"metadata": {"annotations": {key: "weave"}}})
    field = ".".join((*TEMPLATE_PATHS[kind], "metadata"))
    assert decide(manifest).warnings == (f"{field}.annotations[{key}]: {words}",)


LONGEST = "w" * 63


@pytest.mark.parametrize("kind", ["CronJob", "DaemonSet"])
@pytest.mark.parametrize(
    ("namespace", "known", "expected"),
    [
        pytest.param(PLAIN, "canal", f'unknown network "{LONGEST}"', id="unknown"),
        pytest.param(
            LIMITED,
            LONGEST,
            f'network "{LONGEST}" is not allowed in this namespace',
            id="not-allowed",
        ),
    ],
)
def test_a_warning_is_whole_with_the_longest_name(
    kind: str, namespace: Namespace, known: str, expected: str
) -> None:
    """The API server may cut it after 256 characters, of which the path takes its part."""
    networks = ClusterNetworks(known=frozenset({known}), present=frozenset({known}))
    texts = decide(workload(LONGEST, kind), namespace, networks=networks).warnings
    path = ".".join(TEMPLATE_PATHS[kind])
    assert texts[0] == f"{path}.metadata.annotations[cni]: pods will be refused: {expected}"
    hints = [one for one in texts if one.startswith(f"{path}.spec.nodeSelector: ")]
    assert [f'network.cni-genie.io/{LONGEST}: "true"' in one for one in hints] == (
        [True] if kind == "DaemonSet" else []
    )
    assert not [one for one in texts if "…" in one]


def crowded(terms: int) -> dict[str, Any]:
    """Return a pod's spec with that many alternatives."""
    selector: dict[str, Any] = {"nodeSelectorTerms": [{"matchExpressions": [{}]}] * terms}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": selector}
    return {"affinity": {"nodeAffinity": required}}


@pytest.mark.parametrize("kind", ["Deployment", "DaemonSet"])
def test_alternatives_that_the_pods_may_not_have_are_a_warning(kind: str) -> None:
    """The namespace may yet leave scheduling alone, so it is no reason to refuse the template."""
    manifest = workload("weave", kind, spec=crowded(101))
    (texts,) = decide(manifest).warnings
    field = (
        "spec.template.spec.affinity.nodeAffinity"
        ".requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
    )
    assert texts.startswith(f"{field}: pods will be refused: Too many: must have at most 100")
    assert decide(manifest, Namespace("n", scheduling="off")).warnings == ()


HINT = (
    'spec.template.spec.nodeSelector: add network.cni-genie.io/weave: "true"; '
    "otherwise the DaemonSet creates pods for nodes without this network, and they stay Pending"
)


@pytest.mark.parametrize(
    ("cni", "namespace", "spec", "hinted"),
    [
        pytest.param("weave", PLAIN, {}, True, id="named"),
        pytest.param(None, Namespace("n", default="weave"), {}, True, id="inherited"),
        pytest.param(None, PLAIN, {}, False, id="no-network"),
        pytest.param(
            "weave",
            PLAIN,
            {"nodeSelector": {"network.cni-genie.io/weave": "true"}},
            False,
            id="selector-is-there",
        ),
        pytest.param(
            "weave",
            PLAIN,
            {
                "affinity": {
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [
                                {
                                    "matchExpressions": [
                                        {
                                            "key": "network.cni-genie.io/weave",
                                            "operator": "In",
                                            "values": ["true"],
                                        }
                                    ]
                                }
                            ]
                        }
                    }
                }
            },
            False,
            id="affinity-is-there",
        ),
        pytest.param("weave", Namespace("n", scheduling="off"), {}, False, id="not-scheduled"),
    ],
)
def test_a_daemonset_is_told_which_selector_to_add(
    cni: str | None, namespace: Namespace, spec: dict[str, Any], *, hinted: bool
) -> None:
    """Its pods would be counted, and stay Pending, on nodes that lack the network."""
    decision = decide(workload(cni, "DaemonSet", spec=spec), namespace)
    assert decision.allowed
    assert decision.warnings == ((HINT,) if hinted else ())
    assert decide(workload(cni, "Deployment", spec=spec), namespace).warnings == ()
