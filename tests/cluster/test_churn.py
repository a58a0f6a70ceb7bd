"""Pods come and go through the real kubelet while Genie's own pods die: nothing fails or stays.

These are short forms that fit into every run of the tests; ``make bench`` runs the long ones (300
pods; ten minutes without an agent) with the same code and writes docs/performance.md.

The reaper acts on nothing that is younger than ten minutes, so what is gone here has been freed
by the calls that the runtime made.
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
"""A container id of nobody."""

LEFT = {
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
"""By kind: how to leave something behind on the node, and how to take it away."""


@pytest.mark.parametrize("kind", LEFT)
def test_what_is_left_behind_is_seen(cluster: Cluster, kind: str) -> None:
    """So that the tests below cannot pass by looking nowhere."""
    node = cluster.node(NODE)
    leave, take_away = LEFT[kind]
    assert remaining_leftovers(node) == {}
    node.run(["sh", "-ec", leave])
    try:
        assert list(leftovers(node)) == [kind]
    finally:
        node.run(["sh", "-ec", take_away])
    assert remaining_leftovers(node) == {}


def test_a_churn_of_pods_leaves_nothing_though_agent_and_webhook_keep_dying(
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
    assert any(deed.startswith("kill -9") for deed in disruptions)
    assert any(deed.startswith("deletion") for deed in disruptions)
    assert failures(cluster, namespace) == []
    assert remaining_leftovers(node) == {}


def test_pods_come_and_go_while_there_is_no_agent(cluster: Cluster, namespace: str) -> None:
    """Without any agent and reaper, no pod fails and nothing remains.

    Leftovers are counted before the agent is back.
    """
    node = cluster.node(NODE)
    with no_agents(cluster):
        figures = churn(cluster, node, namespace, lambda: range(1))
        assert figures.pods == LANES * WAVE
        assert failures(cluster, namespace) == []
        assert remaining_leftovers(node) == {}
