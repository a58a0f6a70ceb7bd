from __future__ import annotations

from typing import Any

import pytest

from cli.facts import read_pod
from cli.pods import concerns, describe
from tests.unit.kubectl_genie.builders import pod

PROBLEMS = [
    pytest.param(pod("a"), "", id="asked for nothing"),
    pytest.param(pod("a", "weave", {"weave": "eth0"}), "", id="has what it asked for"),
    pytest.param(pod("a", "weave", phase="Succeeded", address=""), "", id="has ended"),
    pytest.param(
        pod("a", "weave", host_network=True), "the annotation has no effect", id="host network"
    ),
    pytest.param(pod("a", "weave", node_name="", address=""), "not scheduled", id="no node"),
    pytest.param(pod("a", "weave", address=""), "not attached yet: weave", id="no address yet"),
    pytest.param(
        pod("a", "weave,canal", {"weave": "eth0"}), "runs without canal", id="lacks one of two"
    ),
    pytest.param(pod("a", "weave"), "", id="status not written yet"),
    pytest.param(pod("a", "@", address=""), "", id="an annotation that is none"),
]


@pytest.mark.parametrize(("item", "expected"), PROBLEMS)
def test_the_problem_of_a_pod_that(item: dict[str, Any], expected: str) -> None:
    problem = describe(read_pod(item)).problem
    assert problem.startswith(expected)
    assert bool(problem) == bool(expected)


def test_a_pod_concerns_the_networks_that_it_asked_for_and_those_that_it_has() -> None:
    """The default network of its namespace is not in every pod's annotation."""
    row = describe(read_pod(pod("a", "weave", {"canal": "eth0"})))
    assert concerns(row, "weave")
    assert concerns(row, "canal")
    assert not concerns(row, "flannel")


@pytest.mark.parametrize(
    "status", ["{", "3", '{"a": 1}', '[3, {"name": 7, "ips": [1, null]}]', "null"]
)
def test_a_malformed_network_status_is_read_as_far_as_it_can_be(status: str) -> None:
    """Anybody may write the annotation of his pod."""
    item = pod("a", "weave")
    item["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"] = status
    for each in read_pod(item).attachments:
        assert (each.network, each.addresses) == ("", ())


@pytest.mark.parametrize("item", [{}, {"metadata": 3, "spec": [], "status": None}])
def test_an_object_without_the_usual_fields_is_a_pod_without_facts(item: dict[str, Any]) -> None:
    read = read_pod(item)
    assert (read.name, read.node, read.asked, read.attachments) == ("", "", None, ())
