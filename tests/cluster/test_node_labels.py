"""The labels of a Node follow the networks that the node can attach; Events say why."""

from __future__ import annotations

import json
import secrets
import time
from datetime import datetime
from typing import TYPE_CHECKING

from tests.cluster.support.agents import (
    agent_pod,
    agent_settings,
    fresh_agents,
    label,
    metrics,
    node_events,
)
from tests.cluster.support.observe import interfaces
from tests.cluster.support.pods import pod_manifest, wait_until_ready
from tests.devcluster.genie import NAMESPACE

if TYPE_CHECKING:
    from tests.devcluster.cluster import Cluster

NODE = "node1"


def unique(network: str) -> str:
    """Return a name that occurs in no Event of an earlier run on this cluster.

    Without "-": a file NN-NAME is of the network NAME, too.
    """
    return f"{network}{secrets.token_hex(3)}"


def labelled_at(cluster: Cluster, network: str) -> list[float]:
    """Return when the API server accepted the label "true", in seconds since the epoch."""
    logs = cluster.kubectl("logs", agent_pod(cluster, NODE), "-n", NAMESPACE, "-c", "agent")
    lines = [json.loads(line) for line in logs.stdout.splitlines() if line.startswith("{")]
    accepted = [each for each in lines if each.get("event") == "network available"]
    times = [each["timestamp"] for each in accepted if each["network"] == network]
    return [datetime.fromisoformat(each).timestamp() for each in times]


def wait_for_event(cluster: Cluster, reason: str, *words: str) -> None:
    """Wait until an Event of the Node with *reason* contains all these words."""
    cluster.wait_for(
        lambda: any(
            all(word in message for word in words) for message in node_events(cluster, NODE, reason)
        ),
        120,
        f"an Event {reason} with {words}",
    )


def test_labels_follow_the_configurations(cluster: Cluster) -> None:
    """A label is true within 2 seconds, and false after the network was gone for gone_seconds.

    An Event and a metric give the reason. The agent treats a label that the node was created with
    alike. The agent's log says when the API server accepted a label; the test notices it later.
    """
    node = cluster.node(NODE)
    spare, born = unique("spare"), unique("born")
    conflist = {"cniVersion": "1.0.0", "name": spare, "plugins": [{"type": "bridge"}]}
    file = f"/etc/cni/genie.d/{spare}.conflist"
    away = f"{file}.cilium_bak"
    cluster.kubectl("label", "node", NODE, f"network.cni-genie.io/{born}=true")
    try:
        with agent_settings(cluster, gone_seconds=5, start_seconds=0):
            write = f"mkdir -p /etc/cni/genie.d && cat > {file}"
            node.run(["sh", "-c", write], input=json.dumps(conflist))
            arrived_at = node.path(file).stat().st_mtime
            cluster.wait_for(lambda: label(cluster, NODE, spare) == "true", 120, "the label")
            # The agent logs it after the API server has answered.
            cluster.wait_for(lambda: labelled_at(cluster, spare), 120, "the line of the log")
            assert labelled_at(cluster, spare)[-1] - arrived_at < 2
            node.run(["mv", file, away])
            cluster.wait_for(lambda: label(cluster, NODE, spare) == "false", 120, "the label")
            assert time.time() - node.path(away).stat().st_ctime > 4.5
            wait_for_event(cluster, "NetworkUnavailable", f'"{spare}"', "Cilium renamed")
            shown = f'genie_agent_network_unavailable{{network="{spare}",reason="Cilium renamed'
            cluster.wait_for(lambda: shown in metrics(cluster, NODE), 120, "the metric")
            assert 'genie_agent_network_available{network="canal"} 1.0' in metrics(cluster, NODE)
            cluster.wait_for(lambda: label(cluster, NODE, born) == "false", 120, "the label")
            wait_for_event(cluster, "NetworkUnavailable", f'"{born}"', "no configuration")
    finally:
        node.run(["rm", "-f", file, away])
        ours = (f"network.cni-genie.io/{name}-" for name in (spare, born))
        cluster.kubectl("label", "node", NODE, *ours)


def test_when_the_runtime_stops_calling_genie_no_pod_with_another_network_is_scheduled(
    cluster: Cluster, namespace: str
) -> None:
    """Canal's file is renamed so that it sorts before Genie's, just after an agent's start.

    Then every pod gets canal. The label of weave turns to "false" at once, although a new agent
    waits with that for any other reason. The label of canal stays, and Genie releases its pods when
    the runtime calls it again.
    """
    node = cluster.node(NODE)
    ours, first = "/etc/cni/net.d/10-canal.conflist", "/etc/cni/net.d/00-canal.conflist"
    fresh_agents(cluster)  # for 300 s they keep the label of a network that is gone
    held = node.addresses("canal")
    try:
        node.run(["mv", ours, first])
        cluster.wait_for(lambda: label(cluster, NODE, "weave") == "false", 120, "the label")
        assert label(cluster, NODE, "canal") == "true"
        wait_for_event(cluster, "NetworkUnavailable", '"weave"', "00-canal.conflist sorts before")
        wait_for_event(cluster, "NetworkMoved", '"canal"', f"to {first} (before: {ours})")
        cluster.apply(pod_manifest("asks", "weave"), "-n", namespace)
        cluster.apply(pod_manifest("gets", "canal"), "-n", namespace)
        wait_until_ready(cluster, namespace, "gets")
        assert interfaces(cluster, "gets", namespace)["eth0"].bridge == "canal0"
        assert "nodeName" not in cluster.get("pod", "asks", "-n", namespace)["spec"]
    finally:
        node.run(["mv", first, ours])
    wait_until_ready(cluster, namespace, "asks")
    assert interfaces(cluster, "asks", namespace)["eth0"].bridge == "weave0"
    cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--grace-period=1")
    cluster.wait_for(lambda: node.addresses("canal") == held, 120, "the address to be free")


def test_an_invalid_file_makes_only_its_own_network_unavailable(cluster: Cluster) -> None:
    """The default network stays available; the Event names the file."""
    node = cluster.node(NODE)
    torn = unique("torn")
    file = f"/etc/cni/genie.d/{torn}.conflist"
    node.run(["sh", "-c", f"mkdir -p /etc/cni/genie.d && printf '{{' > {file}"])
    try:
        cluster.wait_for(lambda: label(cluster, NODE, torn) == "false", 120, "the label")
        assert label(cluster, NODE, "canal") == "true"
        wait_for_event(cluster, "NetworkUnavailable", file)
    finally:
        node.run(["rm", file])
        # An agent that has not noticed yet would write the label again.
        cluster.wait_for(lambda: file not in metrics(cluster, NODE), 120, "the agent to notice")
        cluster.kubectl("label", "node", NODE, f"network.cni-genie.io/{torn}-")
