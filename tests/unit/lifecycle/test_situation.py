from __future__ import annotations

from typing import Any

import pytest

from dispatcher.kube.removal_report import RemovalReport
from lifecycle.situation import PodNetworks, read_nodes
from tests.unit.lifecycle.builders import agent, node, pod


def test_a_node_has_its_state_its_report_and_its_pods() -> None:
    """From Node, pods and the agents' pods."""
    nodes = [node("n1"), node("n2", "", ready="Unknown")]
    pods = [pod("web", "canal")]
    [first, second] = read_nodes(nodes, pods, [agent("n1"), agent("n2", "Pending")])
    assert (first.is_ready, first.has_agent, first.is_marked) == (True, True, True)
    assert first.report == RemovalReport("install", ("canal",))
    assert first.pods == (PodNetworks("shop/web", ("canal",)),)
    assert (second.is_ready, second.has_agent, second.is_marked) == (False, False, False)
    assert (second.report, second.pods) == (None, ())


@pytest.mark.parametrize(
    "mark", [{"labels": {"network.cni-genie.io/x": "false"}}, {"annotations": {
        "cni-genie.io/plugin-types": "canal=bridge"}}],
    ids=["a label", "an annotation"],
)  # fmt: skip
def test_any_label_or_annotation_of_ours_marks_a_node(mark: dict[str, Any]) -> None:
    """The annotation about the removal is the last to go."""
    [actual] = read_nodes([{"metadata": {"name": "n1", **mark}}], [], [])
    assert actual.is_marked


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        pytest.param(pod("a", "canal", "weave"), ("canal", "weave"), id="attached to two"),
        pytest.param(pod("a", "weave", cni="canal"), ("weave",), id="attached counts, not asked"),
        pytest.param(pod("a", cni="weave, canal@net1"), ("weave", "canal"), id="not attached yet"),
        pytest.param(pod("a"), None, id="nothing asked, nothing known"),
        pytest.param(pod("a", cni="@"), None, id="an annotation that the plugin refuses"),
        pytest.param(pod("a", cni="canal", nodeName=""), None, id="not on a node"),
        pytest.param(pod("a", cni="canal", hostNetwork=True), None, id="on the node's network"),
        pytest.param(pod("a", "weave", phase="Succeeded"), None, id="completed"),
        pytest.param(pod("a", "weave", phase="Failed"), None, id="failed"),
    ],
)
def test_a_pod_has_what_genie_attached_else_what_it_asked_for(
    manifest: dict[str, Any], expected: tuple[str, ...] | None
) -> None:
    """A pod that Genie never saw needs nothing of it."""
    [actual] = read_nodes([node("n1")], [manifest], [])
    assert [each.networks for each in actual.pods] == ([] if expected is None else [expected])


@pytest.mark.parametrize("status", ["{", "[1]", '{"a": 1}', "[" * 100_000, '[{"name": 1}]'])
def test_a_malformed_network_status_counts_as_none(status: str) -> None:
    """The annotation is text that its namespace's owner may write."""
    pod_object = pod("a", cni="weave")
    pod_object["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"] = status
    [actual] = read_nodes([node("n1")], [pod_object], [])
    assert actual.pods == (PodNetworks("shop/a", ("weave",)),)


def test_objects_without_any_field_are_read() -> None:
    """Whatever the API server may leave out."""
    [actual] = read_nodes([{}], [{}, {"spec": None, "metadata": 1}], [{}])
    assert (actual.name, actual.is_ready, actual.pods) == ("", False, ())
