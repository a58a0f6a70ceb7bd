from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.agent.label_policy import LabelPlan
from dispatcher.agent.node_labels import NodeLabels
from dispatcher.kube.client import MERGE_PATCH, Kube, KubeError

if TYPE_CHECKING:
    from tests.unit.host import Clock, RecordedEvents

KEY = "network.cni-genie.io/"
TYPES = "cni-genie.io/plugin-types"


class Api(Kube):
    """Stands in for the API server, to count what it is asked and to refuse."""

    def __init__(self, labels: dict[str, str], annotations: dict[str, str] | None = None) -> None:
        self.labels = labels
        self.annotations = annotations or {}
        self.asked: list[tuple[str, Any]] = []
        self.away = False
        self.refuses_annotations = False

    def _answer(self) -> dict[str, Any]:
        if self.away:
            raise KubeError(0, "NoAnswer", "away")
        about = {"labels": dict(self.labels), "annotations": dict(self.annotations)}
        return {"metadata": {"name": "n1", **about}}

    def get(self, path: str, *_: Any, **__: Any) -> dict[str, Any]:
        """Return the node."""
        self.asked.append(("GET", path))
        return self._answer()

    def patch(self, path: str, body: Any, kind: str = "", **_: Any) -> dict[str, Any]:
        """Change the labels."""
        assert kind == MERGE_PATCH
        self.asked.append(("PATCH", body))
        if self.refuses_annotations and "annotations" in body["metadata"]:
            raise KubeError(403, "Forbidden", "may change nothing but labels of its Node")
        if not self.away:
            self.labels = merged(self.labels, body["metadata"].get("labels", {}))
            self.annotations = merged(self.annotations, body["metadata"].get("annotations", {}))
        assert path == "/api/v1/nodes/n1"
        return self._answer()


def merged(old: dict[str, str], patch: dict[str, str | None]) -> dict[str, str]:
    """Return what a merge patch makes of *old*."""
    return {key: value for key, value in {**old, **patch}.items() if value is not None}


def make(api: Api, events: RecordedEvents, clock: Clock) -> NodeLabels:
    return NodeLabels(api, "n1", LabelPlan(60, 0), events, clock)


def absence(name: str) -> str:
    return f"no configuration for {name}"


def test_only_changes_are_sent_and_only_our_own_labels(
    events: RecordedEvents, clock: Clock
) -> None:
    """A node that is as it should be costs one read a minute."""
    api = Api({"kubernetes.io/os": "linux"})
    labels = make(api, events, clock)
    for _ in range(10):
        labels.publish({"weave": ""}, absence, types={})
        clock.now += 4
    assert api.asked == [
        ("GET", "/api/v1/nodes/n1"),
        ("PATCH", {"metadata": {"labels": {KEY + "weave": "true"}}}),
    ]
    clock.now += 60
    labels.publish({"weave": ""}, absence, types={})
    assert api.asked[2:] == [("GET", "/api/v1/nodes/n1")]


def test_a_label_that_was_removed_by_hand_comes_back(events: RecordedEvents, clock: Clock) -> None:
    """At the next reading."""
    api = Api({})
    labels = make(api, events, clock)
    labels.publish({"weave": ""}, absence, types={})
    api.labels.clear()
    clock.now += 61
    labels.publish({"weave": ""}, absence, types={})
    assert api.labels == {KEY + "weave": "true"}


def test_why_a_network_is_gone_is_said_on_the_node(events: RecordedEvents, clock: Clock) -> None:
    """With the reason of the look, or that of its absence."""
    api = Api({KEY + "weave": "true", KEY + "canal": "true"})
    labels = make(api, events, clock)
    labels.publish({"canal": "no executable bridge"}, absence, types={})
    clock.now += 61
    labels.publish({"canal": "no executable bridge"}, absence, types={})
    assert sorted(events.emitted) == [
        (
            "n1",
            "NetworkUnavailable",
            'network "canal" cannot be attached on this node: no executable bridge',
        ),
        (
            "n1",
            "NetworkUnavailable",
            'network "weave" cannot be attached on this node: no configuration for weave',
        ),
    ]


def test_after_a_failed_patch_the_labels_are_read_again(
    events: RecordedEvents, clock: Clock
) -> None:
    """Whether it was carried out is unknown."""
    api = Api({})
    labels = make(api, events, clock)
    labels.publish({}, absence, types={})
    api.away = True
    with pytest.raises(KubeError):
        labels.publish({"weave": ""}, absence, types={})
    api.away = False
    labels.publish({"weave": ""}, absence, types={})
    assert [verb for verb, _ in api.asked] == ["GET", "PATCH", "GET", "PATCH"]
    assert api.labels == {KEY + "weave": "true"}


def test_leaving_the_node_removes_our_labels_and_no_other(
    events: RecordedEvents, clock: Clock
) -> None:
    """And twice is once."""
    api = Api({KEY + "weave": "true", "kubernetes.io/os": "linux"})
    labels = make(api, events, clock)
    labels.withdraw()
    labels.withdraw()
    assert api.labels == {"kubernetes.io/os": "linux"}
    assert [verb for verb, _ in api.asked] == ["GET", "PATCH"]


def test_what_has_vanished_is_told_with_its_reason(events: RecordedEvents, clock: Clock) -> None:
    """For the metric: every network that has a label and no configuration, whatever its value."""
    api = Api({KEY + "weave": "true", KEY + "spare": "false", "kubernetes.io/os": "linux"})
    labels = make(api, events, clock)
    assert labels.publish({"canal": ""}, absence, types={}) == {
        "weave": "no configuration for weave",
        "spare": "no configuration for spare",
    }
    assert labels.publish({"canal": "", "weave": "broken", "spare": ""}, absence, types={}) == {}


def test_the_plugin_types_are_written_together_with_the_labels_and_when_they_change(
    events: RecordedEvents, clock: Clock
) -> None:
    """One patch for both; nothing while both are right; nothing of another's annotations."""
    api = Api({}, {"other": "stays"})
    labels = make(api, events, clock)
    for types in (["calico", "portmap"], ["calico", "portmap"], ["calico"]):
        labels.publish({"canal": ""}, absence, types={"canal": types})
    assert [body["metadata"] for verb, body in api.asked if verb == "PATCH"] == [
        {"labels": {KEY + "canal": "true"}, "annotations": {TYPES: "canal=calico,portmap"}},
        {"annotations": {TYPES: "canal=calico"}},
    ]
    assert api.annotations == {"other": "stays", TYPES: "canal=calico"}
    labels.publish({}, absence, types={})
    assert api.annotations == {"other": "stays"}


def test_a_changed_annotation_is_put_right_at_the_next_reading(
    events: RecordedEvents, clock: Clock
) -> None:
    """Whoever changed it."""
    api = Api({KEY + "weave": "true"}, {TYPES: "weave=weave-net"})
    labels = make(api, events, clock)
    labels.publish({"weave": ""}, absence, types={"weave": ["weave-net"]})
    assert [verb for verb, _ in api.asked] == ["GET"]
    api.annotations[TYPES] = "weave=bridge"
    clock.now += 61
    labels.publish({"weave": ""}, absence, types={"weave": ["weave-net"]})
    assert api.annotations == {TYPES: "weave=weave-net"}


def test_labels_do_not_wait_for_a_policy_that_knows_no_annotation(
    events: RecordedEvents, clock: Clock
) -> None:
    """As during a downgrade: labels are set alone, the annotation is tried once a minute."""
    api = Api({})
    api.refuses_annotations = True
    labels = make(api, events, clock)
    for _ in range(3):
        labels.publish({"weave": ""}, absence, types={"weave": ["weave-net"]})
        assert api.labels == {KEY + "weave": "true"}
    assert [verb for verb, _ in api.asked] == ["GET", "PATCH", "PATCH", "PATCH"]
    api.refuses_annotations = False
    clock.now += 61
    labels.publish({"weave": ""}, absence, types={"weave": ["weave-net"]})
    assert api.annotations == {TYPES: "weave=weave-net"}


def test_leaving_the_node_removes_the_annotation(events: RecordedEvents, clock: Clock) -> None:
    """Also where no label of ours is left."""
    api = Api({}, {TYPES: "weave=weave-net", "other": "stays"})
    make(api, events, clock).withdraw()
    assert api.annotations == {"other": "stays"}
