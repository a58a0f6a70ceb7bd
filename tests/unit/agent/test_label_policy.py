from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.agent.label_policy import LabelGrace, LabelPlan
from dispatcher.node.settings import NodeSettings

KEY = "network.cni-genie.io/"


def settled(labels: dict[str, str], changes: dict[str, str]) -> dict[str, str]:
    return {**labels, **changes}


def test_what_can_be_attached_is_true_at_once() -> None:
    """Also while the agent is young."""
    publication = LabelPlan(60, not_before=300)
    assert publication.changes({"weave": ""}, {}, 0) == {KEY + "weave": "true"}


def test_what_is_known_but_cannot_be_attached_is_false_at_once_if_it_is_new() -> None:
    """Then asking for it is a warning and not a refusal."""
    publication = LabelPlan(60, not_before=300)
    assert publication.changes({"weave": "no binary"}, {}, 0) == {KEY + "weave": "false"}


def test_a_network_that_vanishes_turns_false_after_a_while_and_true_again_at_once() -> None:
    """Sixty seconds of absence; every return starts them anew."""
    publication = LabelPlan(60, not_before=0)
    labels = {KEY + "weave": "true"}
    assert publication.changes({}, labels, 0) == {}
    assert publication.changes({"weave": ""}, labels, 50) == {}
    assert publication.changes({}, labels, 55) == {}
    assert publication.changes({}, labels, 114) == {}
    assert publication.changes({}, labels, 115) == {KEY + "weave": "false"}
    assert publication.changes({"weave": ""}, {KEY + "weave": "false"}, 116) == {
        KEY + "weave": "true"
    }


def test_a_network_that_is_there_but_broken_counts_as_absent() -> None:
    """A label that was true turns false after the same while."""
    publication = LabelPlan(60, not_before=0)
    labels = {KEY + "weave": "true"}
    assert publication.changes({"weave": "no binary"}, labels, 0) == {}
    assert publication.changes({"weave": "no binary"}, labels, 60) == {KEY + "weave": "false"}


def test_nothing_turns_false_while_the_agent_is_young() -> None:
    """A node's other installers start together with the agent."""
    publication = LabelPlan(60, not_before=300)
    labels = {KEY + "weave": "true"}
    assert publication.changes({}, labels, 0) == {}
    assert publication.changes({}, labels, 299) == {}
    assert publication.changes({}, labels, 300) == {KEY + "weave": "false"}


def test_what_the_mode_takes_away_is_false_at_once() -> None:
    """Whatever the delays: also a network without a configuration, but not the default."""
    publication = LabelPlan(60, not_before=300)
    canal_alone = LabelGrace(frozenset({"canal"}))
    labels = {KEY + "weave": "true", KEY + "canal": "true", KEY + "born": "true"}
    assert publication.changes({"weave": "the mode"}, labels, 0, canal_alone) == {
        KEY + "weave": "false",
        KEY + "born": "false",
    }
    changes = publication.changes({}, {KEY + "canal": "true"}, 300, canal_alone)
    assert changes == {KEY + "canal": "false"}


def test_while_the_runtime_uses_one_network_itself_every_other_is_false_at_once() -> None:
    """Also while the agent is young. The label of that network stays, whatever it says."""
    publication = LabelPlan(60, not_before=300)
    bypassed = LabelGrace(frozenset(), frozenset({"canal"}))
    networks = {"canal": "bypassed", "weave": "bypassed"}
    labels = {KEY + "weave": "true", KEY + "canal": "true", KEY + "born": "true"}
    changes = publication.changes(networks, labels, 0, bypassed)
    assert changes == {KEY + "weave": "false", KEY + "born": "false"}
    labels = settled(labels, changes)
    assert publication.changes(networks, labels, 900, bypassed) == {}
    labels[KEY + "canal"] = "false"
    assert publication.changes(networks, labels, 904, bypassed) == {}
    back = publication.changes({"canal": "", "weave": ""}, labels, 905)
    assert back == {KEY + "canal": "true", KEY + "weave": "true"}


def test_a_network_that_fails_for_long_enough_is_false_at_once() -> None:
    """Also while the agent is young, and where the runtime attaches pods to it without Genie."""
    publication = LabelPlan(60, not_before=300)
    networks = {"weave": "STATUS returned code 50"}
    labels = {KEY + "weave": "true"}
    assert publication.changes(networks, labels, 0) == {}
    for grace in (LabelGrace(), LabelGrace(attached_without_genie=frozenset({"weave"}))):
        failing = grace._replace(failing=frozenset({"weave"}))
        assert publication.changes(networks, labels, 1, failing) == {KEY + "weave": "false"}
    labels = {KEY + "weave": "false"}
    assert publication.changes(networks, labels, 2) == {}, "it stays false until it works"
    assert publication.changes({"weave": ""}, labels, 3) == {KEY + "weave": "true"}


def test_labels_of_others_are_not_looked_at() -> None:
    """Only our own prefix is ever in a change."""
    publication = LabelPlan(60, not_before=0)
    assert publication.changes({}, {"kubernetes.io/os": "linux", "weave": "true"}, 99) == {}


def test_a_label_that_somebody_changed_is_put_right() -> None:
    """Whatever its value is."""
    publication = LabelPlan(60, not_before=0)
    assert publication.changes({"weave": ""}, {KEY + "weave": "maybe"}, 0) == {
        KEY + "weave": "true"
    }


def test_a_removed_label_returns_only_with_a_configuration() -> None:
    """So the page of GenieNetworksDropped says: first the configuration, then the label."""
    publication = LabelPlan(60, not_before=0)
    assert publication.changes({"weave": "no binary"}, {}, 0) == {KEY + "weave": "false"}
    assert publication.changes({}, {KEY + "weave": "false"}, 1) == {}
    assert publication.changes({}, {}, 2) == {}


def test_as_shipped_that_is_60_seconds_and_5_minutes_after_a_start() -> None:
    """The settings' defaults, with the agent's own arithmetic."""
    settings = NodeSettings(node_name="n1")
    labels = {KEY + "weave": "true"}
    publication = LabelPlan(settings.gone_seconds, 1000 + settings.start_seconds)
    looks = range(1000, 1000 + 400, 4)
    due = [now for now in looks if publication.changes({}, labels, now)]
    assert due[0] == 1000 + 300
    later = [now for now in range(5000, 5100, 4) if publication.changes({"weave": ""}, labels, now)]
    assert later == []
    due = [now for now in range(6000, 6100, 4) if publication.changes({}, labels, now)]
    assert due[0] == 6000 + 60


def test_a_label_from_the_nodes_birth_is_adopted() -> None:
    """A node group's template gives it; it turns false like one of ours if nothing is there."""
    publication = LabelPlan(60, not_before=300)
    labels = {KEY + "weave": "true", KEY + "canal": "true"}
    assert publication.changes({"weave": ""}, labels, 0) == {}
    assert publication.changes({"weave": ""}, labels, 299) == {}
    assert publication.changes({"weave": ""}, labels, 300) == {KEY + "canal": "false"}


NAMES = st.sampled_from(["weave", "canal", "calico"])
NETWORKS = st.dictionaries(NAMES, st.sampled_from(["", "broken"]))
LABELS = st.dictionaries(NAMES.map(KEY.__add__), st.sampled_from(["true", "false", "else"]))


@given(st.lists(st.tuples(NETWORKS, st.floats(0, 100)), max_size=8), LABELS)
def test_whatever_comes_and_goes_the_labels_tell_the_truth_and_are_never_removed(
    looks: list[tuple[dict[str, str], float]], labels: dict[str, str]
) -> None:
    """After each look: able means true; a second look at the same changes nothing."""
    publication = LabelPlan(60, not_before=30)
    now = 0.0
    for networks, pause in looks:
        now += pause
        before = labels
        labels = settled(labels, publication.changes(networks, labels, now))
        assert before.keys() <= labels.keys()
        assert {KEY + name for name in networks} <= labels.keys()
        for name, reason in networks.items():
            if not reason:
                assert labels[KEY + name] == "true"
        assert publication.changes(networks, labels, now) == {}
