"""Limits per pod: what is refused, who may raise it, and what a namespace may say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.annotation import MAX_ITEMS
from tests.unit.webhook.builders import (
    admit,
    admit_template,
    messages,
    namespace_object,
    patched,
    pod,
    review,
    workload,
)
from webhook.limits import CLUSTER, MAX_LIMIT, Limits, excesses, parse_limit
from webhook.namespaces import admit_namespace
from webhook.pods import PodRules
from webhook.snapshot import ClusterNetworks, Namespace, parse_namespace
from webhook.templates import TemplateRules

NAMES = frozenset({*"abcdefgh", "weave", "w" * 63})
NETWORKS = ClusterNetworks(known=NAMES, present=NAMES)
CNI = "metadata.annotations[cni]"
ATTACHMENTS = "cni-genie.io/max-attachments"
PER_NETWORK = "cni-genie.io/max-per-network"
WARNING = Limits(are_enforced=False)


FIVE_NETWORKS = (
    f'5 networks, but at most 4 are allowed in namespace "shop" (annotation {ATTACHMENTS})'
)


def three_attachments(network: str) -> str:
    return (
        f'3 attachments of network "{network}", but at most 2 are allowed in namespace "shop" '
        f"(annotation {PER_NETWORK})"
    )


def too_many(limit: int, count: int) -> str:
    return (
        f"{CNI}: Too many: must have at most {limit} network{'s' * (limit > 1)} in "
        f'namespace "shop" (has {count}); '
        f'ask a cluster administrator to set the namespace\'s annotation "{ATTACHMENTS}" to {count}'
    )


def too_often(limit: int, count: int, network: str = "weave") -> str:
    return (
        f"{CNI}: Too many: must have at most {limit} attachment{'s' * (limit > 1)} of "
        f'network "{network}" in '
        f'namespace "shop" (has {count}); '
        f'ask a cluster administrator to set the namespace\'s annotation "{PER_NETWORK}" to {count}'
    )


def shop(**annotations: str) -> Namespace:
    """Return the facts of a namespace; ``max_attachments="3"`` is the annotation of that name."""
    written = {
        name if name == "cni" else f"cni-genie.io/{name.replace('_', '-')}": value
        for name, value in annotations.items()
    }
    return parse_namespace({"metadata": {"name": "shop", "annotations": written}})


def decide(value: str | None, facts: Namespace, limits: Limits = CLUSTER) -> Any:
    manifest = pod(value)
    manifest["metadata"]["namespace"] = "shop"
    return admit(manifest, facts, NETWORKS, "off", limits)


@pytest.mark.parametrize(
    ("value", "facts", "expected"),
    [
        pytest.param("a,b,c,d", shop(), [], id="as-many-as-the-cluster-allows"),
        pytest.param("a,b,c,d,e", shop(), [too_many(4, 5)], id="one-network-more"),
        pytest.param("weave,weave@net1", shop(), [], id="one-network-twice"),
        pytest.param("weave,a,weave,weave", shop(), [too_often(2, 3)], id="one-network-thrice"),
        pytest.param(
            ",".join(["weave"] * 16),
            shop(),
            [too_many(4, 16), too_often(2, 16)],
            id="both-limits-at-once",
        ),
        pytest.param(
            "a,b,a,b,a,b",
            shop(max_attachments="6"),
            [too_often(2, 3, "a"), too_often(2, 3, "b")],
            id="every-repeated-network",
        ),
        pytest.param("a,b,c,d,e,f,g,h", shop(max_attachments="8"), [], id="the-namespace-has-more"),
        pytest.param(
            "a,b", shop(max_attachments="1"), [too_many(1, 2)], id="the-namespace-has-less"
        ),
        pytest.param("a,a,a", shop(max_per_network="3"), [], id="more-of-one-network"),
        pytest.param("a,a", shop(max_per_network="1"), [too_often(1, 2, "a")], id="none-twice"),
        pytest.param("a", shop(max_attachments="1", max_per_network="1"), [], id="one-is-enough"),
        pytest.param(
            "a,b,c,d,e", shop(max_attachments="32 "), [too_many(4, 5)], id="an-unreadable-limit"
        ),
        pytest.param(
            "a,b,c,d,e", shop(max_attachments="0"), [too_many(4, 5)], id="zero-is-no-limit"
        ),
        pytest.param(
            "a,b,c,d,e", shop(max_attachments="33"), [too_many(4, 5)], id="more-than-there-may-be"
        ),
    ],
)
def test_a_pod_over_a_limit_is_refused_with_limit_count_and_who_can_raise_it(
    value: str, facts: Namespace, expected: list[str]
) -> None:
    """A limit that cannot be read is the cluster's."""
    decision = decide(value, facts)
    assert messages(decision) == expected
    assert decision.code == (422 if expected else 200)


@pytest.mark.parametrize(
    "value",
    [None, "", "a,b,c,d,e,e,e", " a , b,c,d,e,e,e"],
    ids=["none", "blank", "same", "spelled"],
)
def test_a_default_that_is_longer_than_the_limit_is_never_refused(value: str | None) -> None:
    """Whether it was filled in or written down: the namespace's administrator allowed it."""
    manifest = pod(value)
    facts = shop(cni="a, b,c,d,e,e,e", max_attachments="2")
    decision = admit(manifest, facts, NETWORKS, "off")
    assert patched(manifest, decision)["metadata"]["annotations"]["cni"] == "a,b,c,d,e,e,e"


def test_another_value_of_the_same_length_as_the_default_is_refused() -> None:
    """The default excuses itself alone."""
    assert messages(decide("a,b,c,d,f", shop(cni="a,b,c,d,e"))) == [too_many(4, 5)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("a,b,c,d,e", [f"over the limit: {FIVE_NETWORKS}"], id="too-many"),
        pytest.param(
            "weave,weave,weave",
            [f"over the limit: {three_attachments('weave')}"],
            id="too-often",
        ),
        pytest.param("a,b", [], id="within"),
    ],
)
def test_while_limits_only_warn_a_pod_over_them_passes(value: str, expected: list[str]) -> None:
    """The author of the pod reads it all the same."""
    decision = decide(value, shop(), WARNING)
    assert decision.allowed
    assert list(decision.warnings) == [f"{CNI}: {one}" for one in expected]
    template = workload(value)
    texts = admit_template(
        review(template), shop(), NETWORKS, TemplateRules(pods=PodRules(limits=WARNING))
    )
    assert texts.allowed
    assert list(texts.warnings) == [
        f"spec.template.{CNI}: {one}".replace("shop", "team-a") for one in expected
    ]


@pytest.mark.parametrize(
    ("value", "limits", "reason", "audit"),
    [
        pytest.param(
            "a,b,c,d,e,e,e",
            CLUSTER,
            "over-limit",
            f"{FIVE_NETWORKS.replace('5', '7')}; {three_attachments('e')}",
            id="refused",
        ),
        pytest.param(
            " a,b,c,d,e",
            WARNING,
            "over-limit",
            FIVE_NETWORKS,
            id="warned-of",
        ),
        pytest.param("a,b", CLUSTER, "valid", None, id="within"),
        pytest.param("a,b", WARNING, "valid", None, id="within-while-limits-warn"),
        pytest.param(
            "wave,b,c,d,e",
            CLUSTER,
            "unknown-network",
            FIVE_NETWORKS,
            id="refused-for-something-else-too",
        ),
        pytest.param(
            "wave,b,c,d,e",
            WARNING,
            "unknown-network",
            FIVE_NETWORKS,
            id="refused-for-something-else-while-limits-warn",
        ),
        pytest.param(",".join("abcdefgh" * 3), CLUSTER, "invalid", None, id="over-the-grammars"),
    ],
)
def test_metrics_and_audit_tell_of_pods_over_a_limit(
    value: str, limits: Limits, reason: str, audit: str | None
) -> None:
    """The author of most pods is a controller, which reads no warning."""
    decision = decide(value, shop(), limits)
    assert (decision.reason, decision.audit.get("over-limit")) == (reason, audit)


@pytest.mark.parametrize("severity", ["warn", "deny"])
def test_a_template_over_a_limit_is_treated_like_one_that_its_namespace_does_not_allow(
    severity: Any,
) -> None:
    """An administrator may raise the limit meanwhile: a warning, unless the setting says deny."""
    template = workload("a,b,c,d,e")
    decision = admit_template(review(template), shop(), NETWORKS, TemplateRules(doubtful=severity))
    if severity == "warn":
        field = "spec.template.metadata.annotations[cni]"
        brief = f"pods will be refused: {FIVE_NETWORKS}".replace("shop", "team-a")
        assert decision.warnings == (f"{field}: {brief}",)
        return
    assert messages(decision) == [f"spec.template.{too_many(4, 5)}".replace("shop", "team-a")]


def limited(cni: str | None = None, **limits: str) -> dict[str, Any]:
    annotations = {
        f"cni-genie.io/{name.replace('_', '-')}": value for name, value in limits.items()
    }
    return namespace_object(cni, annotations=annotations)


@pytest.mark.parametrize(
    ("manifest", "old", "expected"),
    [
        pytest.param(
            limited(max_attachments="many"),
            None,
            [
                (
                    f'metadata.annotations[{ATTACHMENTS}]: Invalid value: "many": '
                    f"must be a whole number from 1 to 32"
                )
            ],
            id="no-number",
        ),
        pytest.param(
            limited(max_per_network="33"),
            None,
            [f'metadata.annotations[{PER_NETWORK}]: Invalid value: "33": must be a whole number'],
            id="more-than-there-may-be",
        ),
        pytest.param(
            limited("a,b,c,d,e"),
            limited("a"),
            [
                (
                    f"{CNI}: Too many: must have at most 4 networks (has 5); "
                    f'set "{ATTACHMENTS}" to at least 5'
                )
            ],
            id="a-default-over-the-clusters-limit",
        ),
        pytest.param(
            limited("a,a", max_per_network="1"),
            None,
            [f'{CNI}: Too many: must have at most 1 attachment of network "a" (has 2); set'],
            id="a-default-over-the-namespaces-limit",
        ),
        pytest.param(
            limited("a,b,c", max_attachments="2"),
            limited("a,b,c"),
            [
                (
                    f'metadata.annotations[{ATTACHMENTS}]: Invalid value: "2": must be at least 3: '
                    f"the default of the namespace has 3 networks"
                )
            ],
            id="a-limit-under-the-default",
        ),
        pytest.param(
            limited("a,a", max_per_network="1"),
            limited("a,a", max_per_network="2"),
            [
                (
                    f'metadata.annotations[{PER_NETWORK}]: Invalid value: "1": must be at least 2: '
                    f'the default of the namespace names "a" 2 times'
                )
            ],
            id="a-limit-under-what-the-default-repeats",
        ),
        pytest.param(
            limited("a,b,c,d,e"),
            limited("a,b,c,d,e", max_attachments="5"),
            [f"metadata.annotations[{ATTACHMENTS}]: Required value: must be at least 5: "],
            id="a-limit-taken-away-from-a-long-default",
        ),
        pytest.param(
            limited("a,b,c,d,e", max_attachments="x"),
            limited("a,b,c,d,e", max_attachments="5"),
            [f'metadata.annotations[{ATTACHMENTS}]: Invalid value: "x": must be a whole number'],
            id="a-limit-that-is-none-is-not-compared",
        ),
        pytest.param(limited("a,b,c,d,e", max_attachments="5"), None, [], id="both-together"),
        pytest.param(
            limited("a,b,c,d,e", max_per_network="3"),
            limited("a,b,c,d,e"),
            [],
            id="another-limit-says-nothing-of-a-long-default",
        ),
        pytest.param(
            limited("a,b,c,d,e", max_attachments="x", allowed="a,b,c,d,e"),
            limited("a,b,c,d,e", max_attachments="x"),
            [],
            id="what-was-stored-before",
        ),
    ],
)
def test_a_namespaces_default_and_limits_agree_when_they_are_written(
    manifest: dict[str, Any], old: dict[str, Any] | None, expected: list[str]
) -> None:
    """The fault is at the annotation that was changed; what is stored is no fault."""
    decision = admit_namespace(review(manifest, old), NETWORKS)
    assert len(messages(decision)) == len(expected)
    for message, start in zip(messages(decision), expected, strict=True):
        assert message.startswith(start)


def test_while_limits_only_warn_a_long_default_is_a_warning() -> None:
    """A limit that cannot be read is refused all the same."""
    decision = admit_namespace(review(limited("a,b,c,d,e")), NETWORKS, WARNING)
    assert decision.allowed
    assert [one.startswith(f"{CNI}: Too many: must have") for one in decision.warnings] == [True]
    assert admit_namespace(review(limited(max_attachments="x")), NETWORKS, WARNING).code == 422


@given(st.integers(-1, 99).map(str) | st.text("0123456789+-_ \n٣", max_size=4))
def test_a_limit_is_a_plain_number_from_1_to_32(value: str) -> None:
    """And nothing else that int() would take."""
    expected = value in {str(number) for number in range(1, MAX_LIMIT + 1)}
    assert (parse_limit(value) is not None) is expected


items = st.lists(st.sampled_from(["a", "b@net1", "c"]), min_size=1, max_size=MAX_ITEMS)


@given(items, st.integers(1, 6), st.integers(1, 6))
def test_a_value_is_over_a_limit_exactly_if_its_counts_are(
    items: list[str], attachments: int, per_network: int
) -> None:
    """The counts are of networks, whatever the interfaces."""
    names = [item[0] for item in items]
    manifest = {
        one.network: one.actual
        for one in excesses(",".join(items), Limits(attachments, per_network))
    }
    expected = {name: names.count(name) for name in names if names.count(name) > per_network}
    if len(names) > attachments:
        expected[""] = len(names)
    assert manifest == expected
