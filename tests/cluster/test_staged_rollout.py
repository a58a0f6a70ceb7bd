"""A staged rollout: first Genie on one node only (`agent.nodeSelector`), then on all.

The cluster is this module's own, because every other cluster has Genie on all nodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster.support.names import name_of
from tests.cluster.support.observe import interfaces
from tests.cluster.support.pods import (
    create_namespace,
    pod_manifest,
    pod_on_node,
    wait_until_ready,
)
from tests.devcluster.cluster import BOTH_NETWORKS, Cluster
from tests.devcluster.genie import NAMESPACE, install_genie

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST, OTHER = "node1", "node2"
SPACE = "shop"
FOLDERS = ("/etc/cni/net.d", "/etc/cni/genie.d", "/opt/cni/bin", "/var/lib/cni/genie")


@pytest.fixture(scope="module")
def bare_cluster() -> Iterator[Cluster]:
    """Give two nodes without Genie, with a pod on each."""
    name = name_of("staged")
    cluster = Cluster.up(name, {FIRST: BOTH_NETWORKS, OTHER: BOTH_NETWORKS})
    try:
        create_namespace(cluster, SPACE)
        yield cluster
    finally:
        cluster.down()


def files(cluster: Cluster, node: str) -> set[str]:
    """Return the files of a node below the folders that Genie writes to."""
    folders = [cluster.node(node).path(folder) for folder in FOLDERS]
    return {str(file) for folder in folders for file in folder.rglob("*")}


def networks_of(cluster: Cluster, node: str) -> list[str]:
    """Return the names of the node's labels that are Genie's."""
    labels = cluster.get("node", node)["metadata"]["labels"]
    return [name for name in labels if name.startswith("network.cni-genie.io/")]


def agents(cluster: Cluster) -> list[str]:
    """Return the nodes that run an agent."""
    pods = cluster.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=genie-agent")
    return sorted(pod["spec"]["nodeName"] for pod in pods["items"])


def bridges(cluster: Cluster, pod: str) -> dict[str, str]:
    return {name: each.bridge for name, each in interfaces(cluster, pod, SPACE).items()}


def test_genie_is_first_on_one_node_and_then_on_all(bare_cluster: Cluster) -> None:
    """The other node stays untouched until the selector is gone; no pod is attached anew."""
    cluster = bare_cluster
    cluster.apply(pod_on_node("before", None, OTHER), "-n", SPACE)
    wait_until_ready(cluster, SPACE, "before")
    untouched = files(cluster, OTHER)

    cluster.kubectl("label", "node", FIRST, "rollout=first")
    selector = {"agent": {"nodeSelector": {"rollout": "first"}}}
    install_genie(cluster, values=selector, nodes=[FIRST])
    cluster.apply(pod_manifest("chosen", "weave,canal@net1"), "-n", SPACE)
    cluster.apply(pod_on_node("plain", None, OTHER), "-n", SPACE)
    wait_until_ready(cluster, SPACE, "chosen", "plain")
    assert agents(cluster) == [FIRST]
    assert (networks_of(cluster, OTHER), files(cluster, OTHER)) == ([], untouched)
    assert cluster.get("pod", "chosen", "-n", SPACE)["spec"]["nodeName"] == FIRST
    expected = {"eth0": "weave0", "net1": "canal0"}
    assert bridges(cluster, "chosen") == expected

    install_genie(cluster)
    assert agents(cluster) == [FIRST, OTHER]
    cluster.apply(pod_on_node("wider", "weave,canal@net1", OTHER), "-n", SPACE)
    wait_until_ready(cluster, SPACE, "wider", "before", "plain", "chosen")
    assert bridges(cluster, "wider") == bridges(cluster, "chosen") == expected
    for pod in cluster.get("pods", "-n", SPACE)["items"]:
        [container] = pod["status"]["containerStatuses"]
        assert container["restartCount"] == 0
