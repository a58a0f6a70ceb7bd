"""What a pod is told about the definitions that it selects, and what is written for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.keys import ATTACHMENTS, DEFAULT_NETWORK, NETWORKS
from dispatcher.nad.attachments import parse_attachments
from tests.unit.webhook.builders import NETWORKS as KNOWN
from tests.unit.webhook.builders import admit_template, patched, pod, review
from tests.unit.webhook.definition_cases import (
    DEFINITIONS,
    FAULTY,
    HASH,
    LISTED,
    SHOP,
    VALID,
    decide,
)
from webhook.limits import Limits
from webhook.pods import PodRules
from webhook.selections import read_selections
from webhook.snapshot import ClusterNetworks, Namespace
from webhook.templates import TemplateRules

if TYPE_CHECKING:
    from webhook.decision import Decision
    from webhook.definition_snapshot import Definitions

RULES = PodRules(
    "off", definitions="observe", shared_namespaces=frozenset({"common", "kube-system"})
)


def admit(
    annotations: dict[str, str],
    namespace: Namespace = SHOP,
    rules: PodRules = RULES,
    old: dict[str, str] | None = None,
    definitions: Definitions = DEFINITIONS,
    *,
    networks: ClusterNetworks = KNOWN,
) -> tuple[Decision, dict[str, str]]:
    """Return the decision on a pod, and the annotations that it then has."""
    manifest = pod(metadata={"annotations": annotations} if annotations else {})
    stored = None if old is None else pod(metadata={"annotations": old})
    decision = decide(
        manifest, rules, namespace, old=stored, networks=networks, definitions=definitions
    )
    assert decision.allowed
    return decision, patched(manifest, decision)["metadata"].get("annotations", {})


def sentences(decision: Decision) -> list[str]:
    """Return the warnings but that the annotation is ignored."""
    return [each for each in decision.warnings if "Genie ignores this annotation" not in each]


@pytest.mark.parametrize(("annotations", "expected"), VALID.values(), ids=VALID)
def test_a_valid_selection_is_written_and_the_authors_text_stays(
    annotations: dict[str, str], expected: str
) -> None:
    """Over whatever the author wrote there; a second pass changes nothing."""
    for forged in ({}, {ATTACHMENTS: "=kube-system/secret:000000+hostPort"}, {ATTACHMENTS: ""}):
        decision, after = admit({**annotations, **forged})
        assert sentences(decision) == []
        assert after == {**annotations, ATTACHMENTS: expected}
        assert decision.outcome == "patched"
        again, same = admit(after)
        assert same == after
        assert not again.patch
    assert len(parse_attachments(expected)) == len(expected.split(","))


@pytest.mark.parametrize(("annotations", "namespace", "expected"), FAULTY.values(), ids=FAULTY)
def test_a_faulty_selection_is_a_warning_and_nothing_is_written(
    annotations: dict[str, str], namespace: Namespace, expected: list[str]
) -> None:
    """The sentence is that of the refusal later; a forged annotation is removed."""
    limits = Limits(4, 2)
    rules = RULES._replace(limits=limits)
    warned: list[str] = []
    for forged in ({}, {ATTACHMENTS: f"shop/blue:{HASH}"}):
        decision, after = admit({**annotations, **forged}, namespace, rules)
        warned = sentences(decision)
        assert [
            each.partition("]: ")[2][: len(text)]
            for each, text in zip(warned, expected, strict=True)
        ] == expected
        assert after == annotations
    template = {
        "kind": "Deployment",
        "spec": {"template": pod(metadata={"annotations": annotations})},
    }
    result = admit_template(
        review(template),
        namespace,
        KNOWN,
        TemplateRules("off", "off", RULES._replace(limits=limits)),
        selections=read_selections(annotations, namespace, KNOWN),
        definitions=DEFINITIONS,
    )
    assert [each[:120] for each in sentences(result)] == [
        f"spec.template.{each}"[:120] for each in warned
    ]


@pytest.mark.parametrize(
    ("namespace", "selection"),
    [
        pytest.param(SHOP, "common/lan", id="shared"),
        pytest.param(LISTED, "bank/gold", id="all of a namespace"),
        pytest.param(Namespace("shop", allowed=("bank/gold",)), "bank/gold", id="by name"),
        pytest.param(Namespace("shop", allowed=()), "red", id="its own, whatever the list has"),
    ],
)
def test_what_the_cluster_administrator_permits_is_written(
    namespace: Namespace, selection: str
) -> None:
    """A shared namespace, or an entry of the allow-list."""
    decision, after = admit({NETWORKS: selection}, namespace)
    assert sentences(decision) == []
    assert after[ATTACHMENTS].startswith(selection if "/" in selection else f"shop/{selection}")


@pytest.mark.parametrize("mode", ["observe", "enforce"])
def test_a_default_beside_another_primary_is_kept_for_the_mode_enforce(mode: Any) -> None:
    """While Genie observes, nodes attach the default. A second pass changes nothing, in each mode.

    An author who writes both is told so.
    """
    namespace = Namespace("shop", default="canal,weave@net1")
    selecting = {DEFAULT_NETWORK: "shop/red", NETWORKS: "blue@net1"}
    decision, after = admit(selecting, namespace)
    assert sentences(decision) == []
    assert after["cni"] == "canal,weave@net1"
    assert after[ATTACHMENTS].startswith("=shop/red:")

    again, same = admit(after, namespace, RULES._replace(definitions=mode))
    assert (sentences(again), same) == ([], after)
    [fault] = sentences(admit({**selecting, "cni": "canal"}, namespace)[0])
    assert 'cannot be combined with "cni"' in fault


def test_a_default_over_the_limits_and_a_definition_are_judged_alike_twice() -> None:
    """The API server may ask again, with the default filled in: the policy would refuse the pod."""
    namespace = Namespace("shop", default="canal,weave@net1", max_attachments=1)
    decision, after = admit({NETWORKS: "blue"}, namespace)
    assert ["over the limit: 3 networks" in each for each in sentences(decision)] == [True]
    assert after == {"cni": "canal,weave@net1", NETWORKS: "blue"}
    again, same = admit(after, namespace)
    assert (sentences(again), same) == (sentences(decision), after)


def test_a_forged_annotation_is_removed_from_a_pod_that_selects_nothing() -> None:
    """Also beside a blank selection."""
    for own in ({}, {NETWORKS: " "}):
        _, after = admit({**own, ATTACHMENTS: "x"})
        assert after == own


def test_a_pod_on_multus_passes_the_policy_of_enforce_before_the_last_replica_enforces() -> None:
    """Genie validates none of its definitions: the annotation is there, and empty."""
    own = {"cni": "multus", NETWORKS: "blue"}
    known = KNOWN._replace(known=KNOWN.known | {"multus"}, multus=frozenset({"multus"}))
    for forged in ({}, {ATTACHMENTS: "x"}):
        _, after = admit({**own, **forged}, networks=known)
        assert after == {**own, ATTACHMENTS: ""}


def test_with_the_mode_off_nothing_is_written_and_only_a_forgery_is_removed() -> None:
    """Selections are not read, and a changed one gives no warning."""
    for old in (None, {NETWORKS: "red"}):
        forged = {NETWORKS: "blue", ATTACHMENTS: "x"}
        for before in (forged, {NETWORKS: "blue"}):
            decision, after = admit(before, rules=PodRules("off"), old=old)
            assert (after, sentences(decision)) == ({NETWORKS: "blue"}, [])
            assert bool(decision.patch) is (before == forged)


UPDATES: dict[str, tuple[dict[str, str], dict[str, str], dict[str, str], int]] = {
    "applied again": ({NETWORKS: "a", ATTACHMENTS: "x"}, {NETWORKS: "a"}, {ATTACHMENTS: "x"}, 0),
    "all annotations gone": ({ATTACHMENTS: "x"}, {}, {ATTACHMENTS: "x"}, 0),
    "forged": ({NETWORKS: "a"}, {NETWORKS: "a", ATTACHMENTS: "y"}, {}, 0),
    "changed": ({ATTACHMENTS: "x"}, {ATTACHMENTS: "y"}, {ATTACHMENTS: "x"}, 0),
    "another selection": (
        {NETWORKS: "a", ATTACHMENTS: "x"},
        {NETWORKS: "b", DEFAULT_NETWORK: "c"},
        {ATTACHMENTS: "x"},
        2,
    ),
    "unchanged": ({NETWORKS: "a", ATTACHMENTS: "x"}, {NETWORKS: "a", ATTACHMENTS: "x"}, {}, 0),
    "all gone, beside cni": (
        {"cni": "", ATTACHMENTS: "x"},
        {"cni": ""},
        {ATTACHMENTS: "x"},
        0,
    ),
}


@pytest.mark.parametrize(("old", "new", "more", "warned"), UPDATES.values(), ids=UPDATES)
def test_a_pod_keeps_what_was_validated_when_it_is_written_again(
    old: dict[str, str], new: dict[str, str], more: dict[str, str], warned: int
) -> None:
    """Never refused: a second `kubectl apply` of a bare pod must not break."""
    decision, after = admit(new, old=old)
    kept = {key: value for key, value in new.items() if key != ATTACHMENTS}
    stored = {ATTACHMENTS: old[ATTACHMENTS]} if ATTACHMENTS in old else {}
    assert after == {**kept, **stored}
    assert {**kept, **more} == after or not more
    assert len([each for each in decision.warnings if "has no effect" in each]) == warned


names = st.sampled_from(["blue", "red", "bleu", "bad", "weave", "later", "bank/gold", "common/lan"])


@given(
    networks=st.lists(names, max_size=5),
    default=st.sampled_from(["", "shop/red", "bank/gold"]),
    cni=st.sampled_from(["", "weave", "canal,weave@data"]),
    allowed=st.sampled_from([None, (), ("canal", "weave"), ("bank/*", "canal", "weave")]),
)
def test_what_is_written_names_the_whole_selection_or_nothing(
    networks: list[str], default: str, cni: str, allowed: tuple[str, ...] | None
) -> None:
    """In its order; it is written exactly if nothing was warned of."""
    annotations = {NETWORKS: ",".join(networks), DEFAULT_NETWORK: default}
    manifest = pod(metadata={"annotations": {**annotations, **({"cni": cni} if cni else {})}})
    namespace = Namespace("shop", allowed=allowed)
    decision = decide(manifest, RULES, namespace)
    if not decision.allowed:  # of cni
        return
    after: dict[str, Any] = patched(manifest, decision)["metadata"]["annotations"]
    written = parse_attachments(after.get(ATTACHMENTS, ""))
    has_fault = any("Genie ignores" not in each for each in decision.warnings)
    selected = [each for each in [default, *networks] if each]
    expected = [each if "/" in each else f"shop/{each}" for each in selected]
    assert [f"{each.namespace}/{each.name}" for each in written] == ([] if has_fault else expected)
    assert [each.is_default for each in written][:1] in ([], [bool(default)])
