"""The modes of a node: first boot, disable, remove, and a runtime without annotations."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.cluster.support.agents import (
    CONFLIST,
    LAUNCHER,
    agent_settings,
    granted,
    label,
    node_events,
    removal_confirmed,
    rights_for_old_runtimes,
    rolled_out,
    set_mode,
)
from tests.cluster.support.churn import no_agents, remaining_leftovers
from tests.cluster.support.observe import interfaces
from tests.cluster.support.pods import pod_manifest, wait_until_ready
from tests.devcluster.genie import DEFAULT_NETWORK, NAMESPACE, wait_until_working
from tests.devcluster.network.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster
    from tests.devcluster.node.node import Node

NODE = "node1"
BIN = "/opt/cni/bin"
SOCKET = "/run/genie/agent.sock"
CONFS = "/etc/cni/net.d"
FALLBACK = "100-crio-bridge.conflist"
CRIO = {
    "cniVersion": "1.0.0",
    "name": "crio",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni9",
            "isGateway": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}]]},
        }
    ],
}
ELSEWHERE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "elsewhere", "labels": {"network.cni-genie.io/canal": "false"}},
}
"""Another node, which has had canal, so pods may name canal before this node has it."""


ARRIVES_AFTER = 30.0
"""Seconds after the node's start at which canal is installed."""


@pytest.fixture
def first_boot(cluster: Cluster) -> Iterator[int]:
    """Bring the node into the state before any network is installed.

    It has only 100-crio-bridge.conflist, and no label of Genie. Yields the number of Events so far
    that say that canal is missing.
    """
    node = cluster.node(NODE)
    events = len(waiting_events(cluster))
    set_mode(cluster, "remove")
    rolled_out(cluster)
    cluster.wait_for(lambda: not node.path(CONFLIST).exists(), 120, "Genie to leave")
    cluster.wait_for(lambda: label(cluster, NODE, "canal") is None, 120, "the labels to go")
    annotations = cluster.get("node", NODE)["metadata"].get("annotations", {})
    assert "cni-genie.io/plugin-types" not in annotations
    node.run(["sh", "-c", f"cat > {CONFS}/{FALLBACK}"], input=json.dumps(CRIO))
    for network in NETWORKS.values():
        node.run(["mv", f"{CONFS}/{network.file}", f"{CONFS}/{network.file}.later"])
    cluster.apply(ELSEWHERE)
    set_mode(cluster, "install")
    yield events
    for network in NETWORKS.values():
        install_network(cluster, network.file)
    node.run(["rm", "-f", f"{CONFS}/{FALLBACK}"])
    cluster.kubectl("delete", "node", "elsewhere")
    wait_until_working(cluster, DEFAULT_NETWORK)


def waiting_events(cluster: Cluster) -> list[str]:
    events = node_events(cluster, NODE, "NotInstalled")
    return [message for message in events if '"canal" is not ready' in message]


def install_network(cluster: Cluster, file: str) -> None:
    """Install a network's configuration, unless it is installed."""
    path = f"{CONFS}/{file}"
    cluster.node(NODE).run(["sh", "-c", f"test ! -e {path}.later || mv {path}.later {path}"])


def bridge(cluster: Cluster, pod: str, namespace: str) -> str:
    return interfaces(cluster, pod, namespace)["eth0"].bridge


def test_a_pod_that_names_canal_waits_for_it_on_a_node_with_only_the_runtimes_bridge(
    cluster: Cluster, namespace: str, first_boot: int
) -> None:
    """Canal is installed 30 s after the node's start; no pod that names it gets the bridge.

    A pod without the annotation gets the bridge until then, since the node keeps its former
    configuration.
    """
    start = time.monotonic()
    node = cluster.node(NODE)
    early = pod_manifest("early", "canal")
    cluster.wait_for(
        lambda: cluster.apply(early, "-n", namespace, check=False).returncode == 0,
        120,
        "the webhook to know of the other node's canal",
    )
    cluster.apply(pod_manifest("plain", None), "-n", namespace)
    wait_until_ready(cluster, namespace, "plain")
    assert bridge(cluster, "plain", namespace) == "cni9"
    cluster.wait_for(
        lambda: len(waiting_events(cluster)) > first_boot,
        120,
        "an Event that names the missing network",
    )
    time.sleep(max(0.0, start + ARRIVES_AFTER - time.monotonic()))
    assert not node.path(CONFLIST).exists()
    assert "nodeName" not in cluster.get("pod", "early", "-n", namespace)["spec"]
    install_network(cluster, NETWORKS["canal"].file)
    cluster.wait_for(node.path(CONFLIST).exists, 120, "the conflist")
    cluster.wait_for(lambda: label(cluster, NODE, "canal") == "true", 120, "the label")
    cluster.apply(pod_manifest("late", None), "-n", namespace)
    wait_until_ready(cluster, namespace, "early", "late")
    bridges = {name: bridge(cluster, name, namespace) for name in ("early", "late")}
    assert bridges == dict.fromkeys(("early", "late"), NETWORKS["canal"].bridge)
    assert len(node.addresses("crio")) == 1
    cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--wait=true")
    assert node.addresses("crio") == []


def not_removed_events(cluster: Cluster, pod: str) -> list[str]:
    return [each for each in node_events(cluster, NODE, "NotRemoved") if pod in each]


@pytest.fixture
def leaving(cluster: Cluster) -> Iterator[Node]:
    """Yield the node with the shortest deadlines of agent and reaper; then install Genie again."""
    with agent_settings(cluster, deadline_seconds=30, reap_look_seconds=2):
        yield cluster.node(NODE)
        install = '{"data": {"mode": "install"}}'
        cluster.kubectl(
            "patch", "configmap", "genie", "-n", NAMESPACE, "--type=merge", "-p", install
        )


def test_disable_and_then_remove_lose_no_pod_and_leave_nothing(
    cluster: Cluster, namespace: str, leaving: Node
) -> None:
    """New pods get the default network, or wait; `remove` waits for a pod on two networks.

    An Event names that pod, and `remove --force` releases it. Nothing of it remains on a network,
    and nothing of Genie on the node.
    """
    node = leaving
    cluster.apply(pod_manifest("needy", "weave,canal@net1"), "-n", namespace)
    wait_until_ready(cluster, namespace, "needy")
    before = {network: len(node.addresses(network)) for network in NETWORKS}
    set_mode(cluster, "disable")
    rolled_out(cluster)
    cluster.wait_for(
        lambda: '"agentSocket": ""' in node.path(CONFLIST).read_text(), 120, "the conflist"
    )
    labels = {network: label(cluster, NODE, network) for network in NETWORKS}
    assert labels == {"canal": "true", "weave": "false"}
    cluster.apply(pod_manifest("asks", "weave"), "-n", namespace)
    cluster.apply(pod_manifest("plain", None), "-n", namespace)
    wait_until_ready(cluster, namespace, "plain")
    assert bridge(cluster, "plain", namespace) == "canal0"
    assert cluster.get("pod", "asks", "-n", namespace)["status"]["phase"] == "Pending"
    assert "nodeName" not in cluster.get("pod", "asks", "-n", namespace)["spec"]
    cluster.kubectl("delete", "pod", "asks", "-n", namespace)
    set_mode(cluster, "remove")
    rolled_out(cluster)
    named = f"{namespace}/needy"
    cluster.wait_for(lambda: not_removed_events(cluster, named), 120, "an Event that names the pod")
    assert "Drain the node" in not_removed_events(cluster, named)[0]
    assert f"{namespace}/plain" not in not_removed_events(cluster, named)[0]
    assert node.path(CONFLIST).exists()
    assert {network: len(node.addresses(network)) for network in NETWORKS} == {
        "weave": before["weave"],
        "canal": before["canal"] + 1,
    }
    with removal_confirmed(cluster, NODE):
        set_mode(cluster, "remove --force")
        rolled_out(cluster)
        cluster.wait_for(lambda: not node.path(CONFLIST).exists(), 120, "Genie to leave")
        assert {network: len(node.addresses(network)) for network in NETWORKS} == {
            "weave": before["weave"] - 2,
            "canal": before["canal"],
        }
        cluster.wait_for(lambda: label(cluster, NODE, "weave") is None, 120, "the labels to go")
        cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--wait=true")
        cluster.wait_for(
            # The launcher goes first, so that no call begins while its folder is removed.
            lambda: (
                not node.path(LAUNCHER).exists()
                and not node.path(f"{BIN}/.genie").exists()
                and not node.records()
            ),
            120,
            "the plugin and its records to go",
        )
        assert node.path(f"{BIN}/bridge").exists()
        keys = cluster.get("node", NODE)["metadata"]["labels"]
        assert not [key for key in keys if "cni-genie.io" in key]
        assert remaining_leftovers(node) == {}
        with no_agents(cluster):
            assert not node.path(SOCKET).exists()


def set_default(cluster: Cluster, network: str) -> None:
    patch = json.dumps({"data": {"mode": "install", "default-network": network}})
    cluster.kubectl("patch", "configmap", "genie", "-n", NAMESPACE, "--type=merge", "-p", patch)
    cluster.kubectl("rollout", "restart", "daemonset/genie-agent", "-n", NAMESPACE)
    wait_until_working(cluster, network)


@pytest.fixture
def removed_with_a_survivor(cluster: Cluster, namespace: str, leaving: Node) -> Iterator[list[str]]:
    """Remove Genie while pods on the default network run; yield the addresses from before."""
    node = leaving
    before = node.addresses("canal")
    for name in ("survivor", "early"):
        cluster.apply(pod_manifest(name, None), "-n", namespace)
    wait_until_ready(cluster, namespace, "survivor", "early")
    with removal_confirmed(cluster, NODE):
        set_mode(cluster, "remove --force")
        rolled_out(cluster)
    cluster.wait_for(
        lambda: not node.path(LAUNCHER).exists() and not node.records(),
        120,
        "the plugin and its records to go",
    )
    yield before
    set_default(cluster, DEFAULT_NETWORK)


def test_a_pod_that_outlives_genie_is_released_with_or_without_genie(
    cluster: Cluster, namespace: str, leaving: Node, removed_with_a_survivor: list[str]
) -> None:
    """One ends while Genie is removed, one after Genie is back with another default network."""
    node = leaving
    assert len(node.addresses("canal")) == len(removed_with_a_survivor) + 2
    cluster.kubectl("delete", "pod", "early", "-n", namespace, "--wait=true")
    assert len(node.addresses("canal")) == len(removed_with_a_survivor) + 1
    sandbox = cluster.sandbox_of("survivor", namespace)
    set_default(cluster, "weave")
    cluster.kubectl("delete", "pod", "survivor", "-n", namespace, "--wait=true")
    assert node.addresses("canal") == removed_with_a_survivor
    assert sandbox not in node.run(["ls", "/var/lib/cni/results"]).stdout


@pytest.fixture
def old_runtime(cluster: Cluster) -> Iterator[None]:
    """Grant the agent the right to read pods, as the value oldRuntimes does."""
    with granted(cluster, rights_for_old_runtimes()):
        yield


ANSWERS = {
    "ask for weave": ("weave", "weave0"),
    "ask for nothing": (None, "canal0"),
}


@pytest.mark.usefixtures("old_runtime")
@pytest.mark.parametrize(("value", "bridge"), ANSWERS.values(), ids=ANSWERS)
def test_without_annotations_the_plugin_asks_the_agent(
    cluster: Cluster, namespace: str, value: str | None, bridge: str
) -> None:
    """The test calls the installed plugin as an old runtime does, for an existing pod."""
    node = cluster.node(NODE)
    cluster.apply(pod_manifest("asked", value), "-n", namespace)
    wait_until_ready(cluster, namespace, "asked")
    uid = cluster.get("pod", "asked", "-n", namespace)["metadata"]["uid"]
    node.run(["ip", "netns", "add", "old"])
    args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME=asked;K8S_POD_UID={uid}"
    conf = json.loads(node.path(CONFLIST).read_text())
    stdin = json.dumps({**conf["plugins"][0], "name": "genie", "cniVersion": "1.0.0"})
    environment = [
        "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "CNI_CONTAINERID=old",
        "CNI_NETNS=/run/netns/old", "CNI_IFNAME=eth0", "CNI_PATH=/opt/cni/bin",
    ]  # fmt: skip
    try:
        ours = [*environment, f"CNI_ARGS={args}"]
        added = node.run([*ours, "CNI_COMMAND=ADD", "/opt/cni/bin/genie"], input=stdin)
        assert bridge in [each["name"] for each in json.loads(added.stdout)["interfaces"]]
        node.run([*ours, "CNI_COMMAND=DEL", "/opt/cni/bin/genie"], input=stdin)
        replaced = [*environment, f"CNI_ARGS={args}x", "CNI_COMMAND=ADD"]
        refused = node.run([*replaced, "/opt/cni/bin/genie"], input=stdin, check=False)
        assert json.loads(refused.stdout)["code"] == 121
    finally:
        node.run(["ip", "netns", "delete", "old"])
