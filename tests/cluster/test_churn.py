"""Pods start and stop through the real kubelet while Genie's own pods die: nothing fails or stays.

These are short forms. ``make bench`` runs the long ones (300 pods; ten minutes without an agent)
with the same code and writes docs/performance.md.

The reaper releases nothing that is younger than ten minutes, so here the calls of the runtime have
released everything.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.cluster.support.churn import (
    LANES,
    WAVE,
    churn,
    disruption,
    failures,
    leftovers,
    no_agents,
    remaining_leftovers,
)

if TYPE_CHECKING:
    from tests.devcluster.cluster import Cluster

NODE = "node1"
PODS = 40
DEAD = "dead" * 16
"""The id of a container that does not exist."""

LEFTOVERS = {
    "records and locks": (
        f"touch /var/lib/cni/genie/{DEAD}.lock",
        f"rm /var/lib/cni/genie/{DEAD}.lock",
    ),
    "addresses": (
        f"echo {DEAD} > /var/lib/cni/networks/canal/10.244.1.250",
        "rm /var/lib/cni/networks/canal/10.244.1.250",
    ),
    "results": (
        f"touch /var/lib/cni/results/genie-{DEAD}-eth0",
        f"rm /var/lib/cni/results/genie-{DEAD}-eth0",
    ),
    "masquerading": (
        f"""iptables -t nat -N CNI-dead
        iptables -t nat -A CNI-dead -m comment --comment 'name: "canal" id: "{DEAD}"' -j RETURN""",
        "iptables -t nat -F CNI-dead; iptables -t nat -X CNI-dead",
    ),
    "network namespaces": ("touch /run/netns/cni-dead", "rm /run/netns/cni-dead"),
    "veths": ("ip link add vethdead type veth peer name dead", "ip link delete vethdead"),
}
"""By category: a command that creates a leftover on the node, and one that removes it."""


@pytest.mark.parametrize("category", LEFTOVERS)
def test_a_leftover_is_found(cluster: Cluster, category: str) -> None:
    """Otherwise the tests below could pass without searching."""
    node = cluster.node(NODE)
    create, remove = LEFTOVERS[category]
    assert remaining_leftovers(node) == {}
    node.run(["sh", "-ec", create])
    try:
        # A pod of Genie's that ends just now would be found too, for a moment.
        cluster.wait_for(lambda: list(leftovers(node)) == [category], 120, f"{category} alone")
    finally:
        node.run(["sh", "-ec", remove])
    assert remaining_leftovers(node) == {}


def test_pods_get_their_networks_while_agent_and_webhook_are_killed(
    cluster: Cluster, namespace: str
) -> None:
    """Each pod gets its two networks, and no address, rule or veth remains."""
    node = cluster.node(NODE)
    seed = time.time_ns()
    print(f"disruption({seed})")
    with disruption(cluster, seed, (4, 10)) as disruptions:
        figures = churn(cluster, node, namespace, lambda: range(PODS // WAVE // LANES))
        print(figures, disruptions)
    assert figures.pods == PODS
    assert any(action.startswith("kill -9") for action in disruptions)
    assert any(action.startswith("deletion") for action in disruptions)
    assert failures(cluster, namespace) == []
    assert remaining_leftovers(node) == {}


def test_pods_get_their_networks_while_there_is_no_agent(cluster: Cluster, namespace: str) -> None:
    """Without any agent and reaper, no pod fails and nothing remains.

    Leftovers are counted before the agent is back.
    """
    node = cluster.node(NODE)
    with no_agents(cluster):
        figures = churn(cluster, node, namespace, lambda: range(1))
        assert figures.pods == LANES * WAVE
        assert failures(cluster, namespace) == []
        assert remaining_leftovers(node) == {}
