from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.agent.label_policy import LabelPlan
from dispatcher.agent.node_labels import NodeLabels
from dispatcher.kube.errors import KubeError
from tests.unit.apiserver import Api, fail, node_object

if TYPE_CHECKING:
    from tests.unit.host import Clock, RecordedEvents

KEY = "network.cni-genie.io/"
TYPES = "cni-genie.io/plugin-types"
REMOVAL = "cni-genie.io/removal"


NODE = "/api/v1/nodes/n1"


def make_api(labels: dict[str, str], annotations: dict[str, str] | None = None) -> Api:
    return Api(node_object("n1", labels, annotations))


def metadata(api: Api) -> dict[str, Any]:
    """Return the metadata of the node."""
    found: dict[str, Any] = api.objects[NODE]["metadata"]
    return found


def methods(api: Api) -> list[str]:
    return [call.method for call in api.calls]


def make(api: Api, events: RecordedEvents, clock: Clock) -> NodeLabels:
    return NodeLabels(api.client(), "n1", LabelPlan(60, 0), events, clock)


def absence(name: str) -> str:
    return f"no configuration for {name}"


def test_only_changes_are_sent_and_only_our_own_labels(
    events: RecordedEvents, clock: Clock
) -> None:
    """A node that is as it should be costs one read a minute."""
    api = make_api({"kubernetes.io/os": "linux"})
    labels = make(api, events, clock)
    for _ in range(10):
        labels.publish({"weave": ""}, absence, types={})
        clock.now += 4
    assert api.calls == [
        ("GET", NODE, None),
        ("PATCH", NODE, {"metadata": {"labels": {KEY + "weave": "true"}}}),
    ]
    clock.now += 60
    labels.publish({"weave": ""}, absence, types={})
    assert api.calls[2:] == [("GET", NODE, None)]


def test_a_label_that_was_removed_by_hand_comes_back(events: RecordedEvents, clock: Clock) -> None:
    """At the next reading."""
    api = make_api({})
    labels = make(api, events, clock)
    labels.publish({"weave": ""}, absence, types={})
    metadata(api)["labels"].clear()
    clock.now += 61
    labels.publish({"weave": ""}, absence, types={})
    assert metadata(api)["labels"] == {KEY + "weave": "true"}


def test_the_reason_why_a_network_is_gone_is_emitted_on_the_node(
    events: RecordedEvents, clock: Clock
) -> None:
    """With the reason of the reconciler, or that of its absence."""
    api = make_api({KEY + "weave": "true", KEY + "canal": "true"})
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
    api = make_api({})
    labels = make(api, events, clock)
    labels.publish({}, absence, types={})
    api.before = fail(KubeError(0, "NoAnswer", "away"))
    with pytest.raises(KubeError):
        labels.publish({"weave": ""}, absence, types={})
    api.before = lambda _method, _path: None
    labels.publish({"weave": ""}, absence, types={})
    assert methods(api) == ["GET", "PATCH", "GET", "PATCH"]
    assert metadata(api)["labels"] == {KEY + "weave": "true"}


def test_leaving_the_node_removes_our_labels_and_no_other(
    events: RecordedEvents, clock: Clock
) -> None:
    """And twice is once."""
    api = make_api({KEY + "weave": "true", "kubernetes.io/os": "linux"})
    labels = make(api, events, clock)
    labels.withdraw()
    labels.withdraw()
    assert metadata(api)["labels"] == {"kubernetes.io/os": "linux"}
    assert methods(api) == ["GET", "PATCH"]


def test_vanished_networks_are_returned_with_their_reason(
    events: RecordedEvents, clock: Clock
) -> None:
    """For the metric: every network that has a label and no configuration, whatever its value."""
    api = make_api({KEY + "weave": "true", KEY + "spare": "false", "kubernetes.io/os": "linux"})
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
    api = make_api({}, {"other": "stays"})
    labels = make(api, events, clock)
    for types in (["calico", "portmap"], ["calico", "portmap"], ["calico"]):
        labels.publish({"canal": ""}, absence, types={"canal": types})
    assert [call.body["metadata"] for call in api.calls_of("PATCH")] == [
        {"labels": {KEY + "canal": "true"}, "annotations": {TYPES: "canal=calico,portmap"}},
        {"annotations": {TYPES: "canal=calico"}},
    ]
    assert metadata(api)["annotations"] == {"other": "stays", TYPES: "canal=calico"}
    labels.publish({}, absence, types={})
    assert metadata(api)["annotations"] == {"other": "stays"}


def test_a_changed_annotation_is_put_right_at_the_next_reading(
    events: RecordedEvents, clock: Clock
) -> None:
    """Whoever changed it."""
    api = make_api({KEY + "weave": "true"}, {TYPES: "weave=weave-net"})
    labels = make(api, events, clock)
    labels.publish({"weave": ""}, absence, types={"weave": ["weave-net"]})
    assert methods(api) == ["GET"]
    metadata(api)["annotations"][TYPES] = "weave=bridge"
    clock.now += 61
    labels.publish({"weave": ""}, absence, types={"weave": ["weave-net"]})
    assert metadata(api)["annotations"] == {TYPES: "weave=weave-net"}


def test_labels_do_not_wait_for_a_policy_that_knows_no_annotation(
    events: RecordedEvents, clock: Clock
) -> None:
    """As during a downgrade: labels are set alone, the annotation is tried once a minute."""
    api = make_api({})

    def refuse_annotations(method: str, _path: str) -> None:
        if method == "PATCH" and "annotations" in api.calls[-1].body["metadata"]:
            raise KubeError(403, "Forbidden", "may change nothing but labels of its Node")

    api.before = refuse_annotations
    labels = make(api, events, clock)
    for _ in range(3):
        labels.publish({"weave": ""}, absence, types={"weave": ["weave-net"]})
        assert metadata(api)["labels"] == {KEY + "weave": "true"}
    assert methods(api) == ["GET", "PATCH", "PATCH", "PATCH"]
    api.before = lambda _method, _path: None
    clock.now += 61
    labels.publish({"weave": ""}, absence, types={"weave": ["weave-net"]})
    assert metadata(api)["annotations"] == {TYPES: "weave=weave-net"}


def test_the_annotation_about_the_removal_is_the_last_to_go(
    events: RecordedEvents, clock: Clock
) -> None:
    """A Node without labels and annotations of ours has nothing of Genie's."""
    api = make_api({}, {"other": "stays"})
    labels = make(api, events, clock)
    labels.publish({"weave": ""}, absence, types={"weave": ["x"]}, removal="mode=install")
    assert metadata(api)["annotations"] == {
        "other": "stays",
        TYPES: "weave=x",
        REMOVAL: "mode=install",
    }
    labels.withdraw("mode=remove")
    assert metadata(api)["labels"] == {}
    assert metadata(api)["annotations"] == {"other": "stays", REMOVAL: "mode=remove"}
    labels.withdraw()
    assert metadata(api)["annotations"] == {"other": "stays"}
    assert len(api.calls_of("PATCH")) == 3


def test_leaving_the_node_removes_the_annotation(events: RecordedEvents, clock: Clock) -> None:
    """Also where no label of ours is left."""
    api = make_api({}, {TYPES: "weave=weave-net", "other": "stays"})
    make(api, events, clock).withdraw()
    assert metadata(api)["annotations"] == {"other": "stays"}
