"""A node's life with Genie: its first boot, a runtime without annotations, and the farewell."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cluster.agents import CONFLIST, DAEMONSET, label, node_events, rolled_out, set_mode
from tests.cluster.genie import DEFAULT_NETWORK, NAMESPACE, wait_until_working
from tests.cluster.networks import NETWORKS
from tests.cluster.observe import interfaces
from tests.cluster.seed import pod_manifest
from tests.cluster.test_main_job import wait_running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster

NODE = "node1"
CANAL = "/etc/cni/net.d/10-canal.conflist"
FALLBACK = {
    "cniVersion": "1.0.0",
    "name": "crio",
    "plugins": [{"type": "bridge", "bridge": "cni9", "ipam": {"type": "host-local"}}],
}


@pytest.fixture
def first_boot(cluster: Cluster) -> Iterator[int]:
    """Bring the node to where it is before the default network's installer has come.

    Gives how often the agent has complained before.
    """
    node = cluster.node(NODE)
    complaints = len(waiting(cluster))
    set_mode(cluster, "remove")
    rolled_out(cluster)
    cluster.wait_for(lambda: not node.path(CONFLIST).exists(), 30, "Genie to leave")
    node.run(["mv", CANAL, f"{CANAL}.later"])
    fallback = "/etc/cni/net.d/100-crio-bridge.conflist"
    node.run(["sh", "-c", f"cat > {fallback}"], input=json.dumps(FALLBACK))
    cluster.kubectl("patch", "configmap", "genie", "-n", NAMESPACE, "--type=merge", "-p",
                    '{"data": {"mode": "install"}}')  # fmt: skip
    cluster.kubectl("rollout", "restart", DAEMONSET, "-n", NAMESPACE)
    yield complaints
    node.run(["sh", "-c", f"rm -f {fallback}; test ! -e {CANAL}.later || mv {CANAL}.later {CANAL}"])
    wait_until_working(cluster, DEFAULT_NETWORK)


def waiting(cluster: Cluster) -> list[str]:
    events = node_events(cluster, NODE, "NotInstalled")
    return [said for said in events if '"canal" is not ready' in said]


def test_at_first_boot_the_conflist_waits_for_the_default_network(
    cluster: Cluster, namespace: str, first_boot: int
) -> None:
    """Only the runtime's own bridge is there: Genie says what it waits for, then takes over."""
    node = cluster.node(NODE)
    cluster.wait_for(
        lambda: len(waiting(cluster)) > first_boot, 60, "an Event that says what is missing"
    )
    assert not node.path(CONFLIST).exists()
    node.run(["mv", f"{CANAL}.later", CANAL])
    cluster.wait_for(node.path(CONFLIST).exists, 5, "the conflist")
    cluster.wait_for(lambda: label(cluster, NODE, "canal") == "true", 10, "the label")
    cluster.apply(pod_manifest("first", "canal"), "-n", namespace)
    wait_running(cluster, namespace, "first")
    assert interfaces(cluster, "first", namespace)["eth0"].bridge == NETWORKS["canal"].bridge


def test_disable_then_remove_lose_nothing(cluster: Cluster, namespace: str) -> None:
    """New pods get the default; a pod on another network is named; afterwards nothing is left."""
    node = cluster.node(NODE)
    cluster.apply(pod_manifest("needy", "weave"), "-n", namespace)
    wait_running(cluster, namespace, "needy")
    try:
        set_mode(cluster, "disable")
        rolled_out(cluster)
        cluster.wait_for(
            lambda: '"agentSocket": ""' in node.path(CONFLIST).read_text(), 15, "the conflist"
        )
        cluster.apply(pod_manifest("plain", None), "-n", namespace)
        wait_running(cluster, namespace, "plain")
        assert interfaces(cluster, "plain", namespace)["eth0"].bridge == "canal0"
        set_mode(cluster, "remove")
        rolled_out(cluster)
        cluster.wait_for(
            lambda: any(
                f"{namespace}/needy" in said for said in node_events(cluster, NODE, "NotRemoved")
            ),
            20,
            "an Event that names the pod",
        )
        assert node.path(CONFLIST).exists()
        assert node.addresses("weave")
        set_mode(cluster, "remove --force")
        rolled_out(cluster)
        cluster.wait_for(lambda: not node.path(CONFLIST).exists(), 90, "Genie to leave")
        assert not node.addresses("weave")
        cluster.wait_for(lambda: label(cluster, NODE, "weave") is None, 15, "the labels to go")
        cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--wait=true")
    finally:
        set_mode(cluster, "install")
        rolled_out(cluster)
        wait_until_working(cluster, DEFAULT_NETWORK)


@pytest.fixture
def old_runtime(cluster: Cluster) -> Iterator[None]:
    """Let the agent read pods, as the overlay for old runtimes does."""
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    cluster.kubectl("patch", "clusterrole", "genie-agent", "--type=json", "-p",
                    json.dumps([{"op": "add", "path": "/rules/-", "value": rule}]))  # fmt: skip
    yield
    cluster.kubectl("patch", "clusterrole", "genie-agent", "--type=json", "-p",
                    json.dumps([{"op": "remove", "path": "/rules/3"}]))  # fmt: skip


ANSWERS = {
    "ask for weave": ("weave", "weave0"),
    "ask for nothing": (None, "canal0"),
}


@pytest.mark.usefixtures("old_runtime")
@pytest.mark.parametrize(("value", "bridge"), ANSWERS.values(), ids=ANSWERS)
def test_without_annotations_the_plugin_asks_the_agent(
    cluster: Cluster, namespace: str, value: str | None, bridge: str
) -> None:
    """The installed plugin, called as an old runtime calls it, for a pod of the API server."""
    node = cluster.node(NODE)
    cluster.apply(pod_manifest("asked", value), "-n", namespace)
    wait_running(cluster, namespace, "asked")
    uid = cluster.get("pod", "asked", "-n", namespace)["metadata"]["uid"]
    node.run(["ip", "netns", "add", "old"])
    args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME=asked;K8S_POD_UID={uid}"
    conf = json.loads(node.path(CONFLIST).read_text())
    given = json.dumps({**conf["plugins"][0], "name": "genie", "cniVersion": "1.0.0"})
    environment = [
        "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "CNI_CONTAINERID=old",
        "CNI_NETNS=/run/netns/old", "CNI_IFNAME=eth0", "CNI_PATH=/opt/cni/bin",
    ]  # fmt: skip
    try:
        ours = [*environment, f"CNI_ARGS={args}"]
        added = node.run([*ours, "CNI_COMMAND=ADD", "/opt/cni/bin/genie"], input=given)
        assert bridge in [each["name"] for each in json.loads(added.stdout)["interfaces"]]
        node.run([*ours, "CNI_COMMAND=DEL", "/opt/cni/bin/genie"], input=given)
        replaced = [*environment, f"CNI_ARGS={args}x", "CNI_COMMAND=ADD"]
        refused = node.run([*replaced, "/opt/cni/bin/genie"], input=given, check=False)
        assert json.loads(refused.stdout)["code"] == 121
    finally:
        node.run(["ip", "netns", "delete", "old"])
