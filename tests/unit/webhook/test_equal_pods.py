"""Decisions on equal pods: made twice, and never for a pod that differs in what the rules read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.webhook.builders import NETWORKS, PLAIN, pod, review
from webhook import equal_pods
from webhook.equal_pods import EqualPods
from webhook.limits import Limits
from webhook.objects import parse_pod
from webhook.pods import PodRules, admit_pod
from webhook.review import encode_response
from webhook.snapshot import ClusterNetworks, Namespace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from webhook.decision import Decision

RULES = PodRules()
WARNING_RULES = PodRules(limits=Limits(are_enforced=False))
"""Limits only warn."""


class Counter:
    """Counts the decisions that are made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rules: PodRules = RULES) -> None:
        self.decisions = 0
        self._rules = rules
        self._pods = EqualPods(rules)
        monkeypatch.setattr(equal_pods, "admit_pod", self._admit)

    def _admit(self, *arguments: Any) -> Decision:
        self.decisions += 1
        return admit_pod(*arguments)

    def admit(
        self,
        manifest: Mapping[str, Any],
        namespace: Namespace = PLAIN,
        networks: ClusterNetworks = NETWORKS,
        **request: Any,
    ) -> Decision:
        """Return the decision on a pod, which must be that of the rules alone."""
        one = review(manifest, **{"namespace": namespace.name, **request})
        arguments = one, parse_pod(one.object), namespace, networks
        decision = self._pods.admit(*arguments)
        anew = admit_pod(*arguments, self._rules)
        assert decision._replace(encoded=b"") == anew
        assert encode_response(one, decision) == encode_response(one, anew)
        return decision


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Counter:
    return Counter(monkeypatch)


def named(name: str, **spec: Any) -> dict[str, Any]:
    return pod(" weave ", metadata={"name": name, "annotations": {"cni": " weave "}}, spec=spec)


def test_pods_that_differ_in_what_no_rule_reads_are_equal(counter: Counter) -> None:
    """Their names, containers and volumes, and the annotations and labels of other programs."""
    first, second = counter.admit(named("a")), counter.admit(named("b"))
    assert first.patch
    assert counter.admit(named("c", containers=[], volumes=[{}])) is second
    others = {"annotations": {"cni": " weave ", "revision": "7"}, "labels": {"app": "shop"}}
    assert counter.admit(pod(metadata=others)) is second
    assert counter.decisions == 2


def test_a_decision_is_that_of_all_namespaces_with_the_same_annotations(counter: Counter) -> None:
    """Where no text of it contains the name of the namespace."""
    for name in ("team-a", "team-b", "team-c", "team-d"):
        decision = counter.admit(named("x"), Namespace(name))
        assert decision.outcome == "patched"
    assert counter.decisions == 2
    counter.admit(named("x"), Namespace("team-e", max_attachments=1))
    assert counter.decisions == 3


@pytest.mark.parametrize(
    ("rules", "manifest", "settings", "outcome"),
    [
        pytest.param(RULES, pod("unknown"), PLAIN, "denied", id="unknown"),
        pytest.param(
            RULES, pod("weave"), Namespace(allowed=("canal",)), "denied", id="not-allowed"
        ),
        pytest.param(
            WARNING_RULES, pod("weave,canal"), Namespace(max_attachments=1), "patched", id="warning"
        ),
    ],
)
def test_a_text_that_may_name_the_namespace_is_made_for_each(
    monkeypatch: pytest.MonkeyPatch,
    rules: PodRules,
    manifest: Mapping[str, Any],
    settings: Namespace,
    outcome: str,
) -> None:
    """A refusal or a warning never contains the name of another namespace."""
    counter = Counter(monkeypatch, rules)
    for _ in range(3):
        for name in ("team-a", "team-b"):
            assert counter.admit(manifest, settings._replace(name=name)).outcome == outcome
    assert counter.decisions == 4


@given(
    value=st.none()
    | st.lists(st.sampled_from(["weave", "canal", "x", "weave@net7"])).map(",".join),
    settings=st.builds(
        Namespace,
        default=st.sampled_from(["", "weave", "canal,weave", "x"]),
        allowed=st.none() | st.sampled_from([(), ("weave",), ("weave", "canal")]),
        scheduling=st.sampled_from(["", "required", "preferred", "off"]),
        max_per_network=st.none() | st.integers(1, 3),
    ),
    limits=st.builds(Limits, are_enforced=st.booleans()),
)
def test_only_a_refusal_or_a_warning_contains_the_name_of_the_namespace(
    value: str | None, settings: Namespace, limits: Limits
) -> None:
    """So every other decision may be remembered for all namespaces with the same annotations."""
    manifest, rules = pod(value), PodRules(limits=limits)
    one, other = (
        admit_pod(
            review(manifest, namespace=name),
            parse_pod(manifest),
            settings._replace(name=name),
            NETWORKS,
            rules,
        )
        for name in ("team-a", "shop")
    )
    assert one == other or not one.allowed or one.warnings


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"x": value}
    return value


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
TERMS: dict[str, Any] = {
    "nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": []}]}}
}


@pytest.mark.parametrize(
    ("other", "more"),
    [
        pytest.param(pod("canal"), {}, id="value"),
        pytest.param(pod(" weave ", metadata={"annotations": {"x": "y"}}), {}, id="annotation"),
        pytest.param(pod(" weave ", metadata={"labels": {"cni": "x"}}), {}, id="label"),
        pytest.param(named("a", nodeName="n1"), {}, id="node"),
        pytest.param(named("a", affinity=TERMS), {}, id="affinity"),
        pytest.param(named("a", hostNetwork=True), {}, id="host-network"),
        pytest.param(named("a", os={"name": "windows"}), {}, id="system"),
        pytest.param(named("a"), {"namespace": Namespace("b", allowed=())}, id="allow-list"),
        pytest.param(
            named("a"), {"namespace": Namespace("team-a", "canal")}, id="choice-or-default"
        ),
        pytest.param(named("a"), {"networks": ClusterNetworks(frozenset({"x"}))}, id="networks"),
        pytest.param(named("a"), {"subResource": "status"}, id="subresource"),
        pytest.param(named("a"), {"operation": "DELETE"}, id="operation"),
    ],
)
def test_what_differs_in_anything_else_is_decided_anew(
    counter: Counter, other: Mapping[str, Any], more: dict[str, Any]
) -> None:
    """Each of these is read by some rule."""
    counter.admit(named("a"))
    counter.admit(named("a"))
    counter.admit(other, **more)
    assert counter.decisions == 3


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param(pod("weave", metadata={"labels": {"cni": "y" * 5000}}), id="large"),
        pytest.param(named("a", affinity=nested(400)), id="deep"),
    ],
)
def test_what_would_fill_the_memory_is_not_remembered(
    counter: Counter, manifest: Mapping[str, Any]
) -> None:
    """Nor what cannot be compared; both are decided each time."""
    for _ in range(3):
        counter.admit(manifest)
    assert counter.decisions == 3


def test_the_number_of_decisions_in_memory_has_a_limit(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond it all are forgotten."""
    monkeypatch.setattr(equal_pods, "MAX_REMEMBERED", 3)
    for node in ("a", "b", "c", "d"):
        counter.admit(named("x", nodeName=node))
        counter.admit(named("x", nodeName=node))
    assert counter.decisions == 8
    for node in ("d", "a"):
        counter.admit(named("x", nodeName=node))
    assert counter.decisions == 9


def test_the_number_of_pods_in_memory_that_came_once_has_a_limit(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond it all are forgotten, and the next ones are the first of their kind again."""
    monkeypatch.setattr(equal_pods, "MAX_SEEN", 3)
    for node in ("a", "b", "c", "d", "a", "a", "a"):
        counter.admit(named("x", nodeName=node))
    assert counter.decisions == 6
