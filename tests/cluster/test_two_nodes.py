"""Two nodes that differ: pods are scheduled where their networks are, and wait if no node has them.

node1 has canal and weave, node2 only weave. Users act through kubectl or change files on a node.
The real scheduler places the pods; its messages are read from the pods' conditions.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from datetime import datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.support.admission import WEBHOOK_PODS
from tests.cluster.support.agents import agent_settings, label
from tests.cluster.support.observe import http_status, interfaces
from tests.cluster.support.pods import (
    ending_pods,
    pod_ips,
    pod_manifest,
    pod_on_node,
    wait_until_ready,
)
from tests.devcluster.genie import NAMESPACE
from tests.devcluster.network.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster
    from tests.devcluster.node.node import Node

BOTH, WEAVE_ONLY = "node1", "node2"
CANAL_FILE = f"/etc/cni/net.d/{NETWORKS['canal'].file}"
ASIDE = "/var/cache/canal.json"
ABSENT = (
    'Warning: metadata.annotations[cni]: no node has network "canal" at present; '
    "the pod stays Pending until one has it"
)
NO_MATCH = "didn't match Pod's node affinity/selector"


def deployment(name: str, cni: str, replicas: int) -> dict[str, Any]:
    pod = pod_manifest(name, cni, labels={"app": name})
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": pod["metadata"] | {"name": None}, "spec": pod["spec"]},
        },
    }


def nodes_of(cluster: Cluster, namespace: str, selector: str) -> list[str]:
    pods = cluster.get("pods", "-n", namespace, "-l", selector)["items"]
    return [pod["spec"]["nodeName"] for pod in pods]


def scheduler_message(cluster: Cluster, namespace: str, pod: str) -> str:
    """Return the scheduler's message about a pod that it cannot place; empty without one."""
    status = cluster.get("pod", pod, "-n", namespace)["status"]
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition["message"])
    return ""


def apply_unschedulable(cluster: Cluster, namespace: str, pod: str, cni: str) -> tuple[str, str]:
    """Apply a pod that fits no node; return the messages of kubectl and of the scheduler.

    The pod must still be Pending three seconds after the scheduler has tried.
    """
    applied = cluster.apply(pod_manifest(pod, cni), "-n", namespace)
    cluster.wait_for(
        lambda: scheduler_message(cluster, namespace, pod), 120, "the scheduler's message"
    )
    time.sleep(3)
    stored = cluster.get("pod", pod, "-n", namespace)
    assert stored["status"]["phase"] == "Pending"
    assert "nodeName" not in stored["spec"]
    return applied.stderr, scheduler_message(cluster, namespace, pod)


def scheduled_at(cluster: Cluster, namespace: str, pod: str) -> float:
    """Return when the scheduler placed a pod, in seconds since the epoch."""
    query = ("-n", namespace, "--field-selector", f"involvedObject.name={pod},reason=Scheduled")
    cluster.wait_for(lambda: cluster.get("events", *query)["items"], 120, "the scheduler's Event")
    [event] = cluster.get("events", *query)["items"]
    return datetime.fromisoformat(event["eventTime"]).timestamp()


def wait_until_unavailable(cluster: Cluster, node: str) -> None:
    """Wait until a node's label says that canal is unavailable."""
    cluster.wait_for(
        lambda: label(cluster, node, "canal") == "false", 120, f"the label of canal on {node}"
    )


def wait_until_warned(cluster: Cluster, namespace: str) -> None:
    """Wait until the webhook, which watches the nodes, warns that none has canal."""

    def answer() -> str:
        manifest = pod_manifest("probe", "canal")
        return cluster.apply(manifest, "-n", namespace, "--dry-run=server", check=False).stderr

    cluster.wait_for(lambda: ABSENT in answer(), 120, "the webhook to warn")


@contextmanager
def cordoned(cluster: Cluster, node: str) -> Iterator[None]:
    cluster.kubectl("cordon", node)
    try:
        yield
    finally:
        cluster.kubectl("uncordon", node)


@contextmanager
def without_canal(node: Node) -> Iterator[None]:
    """Remove canal's configuration from a node until the end of the block."""
    node.run(["mv", CANAL_FILE, ASIDE])
    try:
        yield
    finally:
        node.run(["mv", ASIDE, CANAL_FILE])


@pytest.fixture(scope="module")
def quick_agents(uneven_cluster: Cluster) -> Iterator[None]:
    """Let a label turn to "false" after 2 seconds instead of 60."""
    with agent_settings(uneven_cluster, gone_seconds=2, start_seconds=0):
        yield


def test_pods_that_ask_for_canal_land_only_on_the_node_that_has_it(
    uneven_cluster: Cluster, uneven_namespace: str
) -> None:
    """Pods of a Deployment and single ones, canal first or second; weave runs on both nodes."""
    namespace = uneven_namespace
    for name in ("canal", "weave"):
        uneven_cluster.apply(deployment(name, name, replicas=6), "-n", namespace)
    for name, cni in (("first", "canal,weave"), ("second", "weave,canal@net1")):
        uneven_cluster.apply(
            pod_manifest(name, cni, labels={"app": "bare"}), "-n", namespace
        )  # fmt: skip
    for name in ("canal", "weave"):
        rollout = ("rollout", "status", f"deployment/{name}", "-n", namespace, "--timeout=120s")
        uneven_cluster.kubectl(*rollout)
    wait_until_ready(uneven_cluster, namespace, "first", "second")
    assert nodes_of(uneven_cluster, namespace, "app=canal") == [BOTH] * 6
    assert nodes_of(uneven_cluster, namespace, "app=bare") == [BOTH] * 2
    assert set(nodes_of(uneven_cluster, namespace, "app=weave")) == {BOTH, WEAVE_ONLY}
    actual = interfaces(uneven_cluster, "second", namespace)
    assert {name: actual[name].bridge for name in actual} == {"eth0": "weave0", "net1": "canal0"}


def test_pods_of_different_nodes_and_networks_reach_one_another(
    uneven_cluster: Cluster, uneven_namespace: str
) -> None:
    """HTTP between every two of three pods, over IPv4, and over IPv6 if both have it."""
    pods = {"canal1": ("canal", BOTH), "weave1": ("weave", BOTH), "weave2": ("weave", WEAVE_ONLY)}
    for name, (cni, node) in pods.items():
        uneven_cluster.apply(pod_on_node(name, cni, node), "-n", uneven_namespace)
    wait_until_ready(uneven_cluster, uneven_namespace, *pods)
    addresses = {name: pod_ips(uneven_cluster, uneven_namespace, name) for name in pods}
    versions = {name: {ip_address(a).version for a in of_pod} for name, of_pod in addresses.items()}
    assert versions == {"canal1": {4}, "weave1": {4, 6}, "weave2": {4, 6}}
    answers = {
        (pod, address): http_status(uneven_cluster, pod, uneven_namespace, address)
        for pod in pods
        for other in set(pods) - {pod}
        for address in addresses[other]
        if ip_address(address).version in versions[pod]
    }
    assert len(answers) == 8
    assert set(answers.values()) == {"200"}, answers


def test_a_pod_waits_while_the_only_node_with_its_network_is_cordoned(
    uneven_cluster: Cluster, uneven_namespace: str
) -> None:
    """Genie does not warn, since a node has the network. The pod runs after uncordon."""
    with cordoned(uneven_cluster, BOTH):
        warned, reason = apply_unschedulable(uneven_cluster, uneven_namespace, "patient", "canal")
        assert warned == ""
        assert "0/2 nodes are available" in reason
        assert "1 node(s) were unschedulable" in reason
        assert f"1 node(s) {NO_MATCH}" in reason
    wait_until_ready(uneven_cluster, uneven_namespace, "patient")
    assert uneven_cluster.node_of("patient", uneven_namespace).name == BOTH


@pytest.mark.usefixtures("quick_agents")
def test_a_pod_waits_with_a_warning_after_the_last_node_has_lost_its_network(
    uneven_cluster: Cluster, uneven_namespace: str
) -> None:
    """Kubectl shows the warning. The pod runs when the network is back."""
    with without_canal(uneven_cluster.node(BOTH)):
        wait_until_unavailable(uneven_cluster, BOTH)
        wait_until_warned(uneven_cluster, uneven_namespace)
        warned, reason = apply_unschedulable(
            uneven_cluster, uneven_namespace, "patient", "weave,canal@net1"
        )
        assert warned.strip() == ABSENT
        assert f"2 node(s) {NO_MATCH}" in reason
    wait_until_ready(uneven_cluster, uneven_namespace, "patient")
    assert interfaces(uneven_cluster, "patient", uneven_namespace)["net1"].bridge == "canal0"


@contextmanager
def listed_networks(cluster: Cluster, value: str) -> Iterator[None]:
    """Set the webhook's setting ``networks`` until the end of the block."""
    target = ("deployment/genie-webhook", "-n", NAMESPACE)
    cluster.kubectl("set", "env", *target, f"GENIE_NETWORKS={value}")
    try:
        cluster.kubectl("rollout", "status", *target, "--timeout=120s")
        # A node without its kubelet would never end a former replica, which has other settings.
        cluster.wait_for(
            lambda: not ending_pods(cluster, *WEBHOOK_PODS), 120, "the former replicas to end"
        )
        yield
    finally:
        cluster.kubectl("set", "env", *target, "GENIE_NETWORKS-")
        cluster.kubectl("rollout", "status", *target, "--timeout=120s")


@contextmanager
def deleted(cluster: Cluster, name: str) -> Iterator[None]:
    """Delete a Node and stop its kubelet until the end of the block; it then registers anew."""
    node = cluster.node(name)
    node.stop("kubelet")
    try:
        cluster.kubectl("delete", "node", name)
        yield
    finally:
        node.start("kubelet")
        ready = ("wait", "--for=condition=Ready", f"node/{name}", "--timeout=10s")
        cluster.wait_for(
            lambda: cluster.kubectl(*ready, check=False).returncode == 0, 120, f"{name} to be Ready"
        )


def test_a_pod_waits_with_a_warning_after_the_last_node_with_its_network_is_deleted(
    uneven_cluster: Cluster, uneven_namespace: str
) -> None:
    """The setting ``networks`` names the network, as for node groups that scale to zero.

    No Node has a label of the network then. The pod runs after the node has registered again.
    """
    with listed_networks(uneven_cluster, "canal"):
        with deleted(uneven_cluster, BOTH):
            wait_until_warned(uneven_cluster, uneven_namespace)
            warned, reason = apply_unschedulable(
                uneven_cluster, uneven_namespace, "patient", "canal"
            )
            assert warned.strip() == ABSENT
            assert f"0/1 nodes are available: 1 node(s) {NO_MATCH}" in reason
        running = ("wait", "-n", uneven_namespace, "--for=condition=Ready", "pod/patient")
        uneven_cluster.kubectl(*running, "--timeout=170s")  # the agent reads its Node each minute
        assert interfaces(uneven_cluster, "patient", uneven_namespace)["eth0"].bridge == "canal0"


@pytest.mark.usefixtures("quick_agents")
def test_a_pod_is_scheduled_within_seconds_when_a_node_gets_its_network(
    uneven_cluster: Cluster, uneven_namespace: str
) -> None:
    """The waiting pod is placed within 5 seconds after the file arrives, and gets the network.

    The time of the scheduler's Event and the change time of the file count.
    """
    node = uneven_cluster.node(WEAVE_ONLY)
    conflist = json.dumps(NETWORKS["canal"].conflist(node.layout.number))
    with cordoned(uneven_cluster, BOTH):
        apply_unschedulable(uneven_cluster, uneven_namespace, "patient", "weave,canal@net1")
        try:
            node.run(["sh", "-c", f"cat > {CANAL_FILE}.new && mv {CANAL_FILE}.new {CANAL_FILE}"],
                     input=conflist)  # fmt: skip
            arrived_at = node.path(CANAL_FILE).stat().st_ctime
            wait_until_ready(uneven_cluster, uneven_namespace, "patient")
            assert scheduled_at(uneven_cluster, uneven_namespace, "patient") - arrived_at < 5
            assert uneven_cluster.node_of("patient", uneven_namespace).name == WEAVE_ONLY
            actual = interfaces(uneven_cluster, "patient", uneven_namespace)
            assert actual["net1"].bridge == "canal0"
            uneven_cluster.kubectl("delete", "pod", "patient", "-n", uneven_namespace)
        finally:
            node.run(["rm", "-f", CANAL_FILE])
        wait_until_unavailable(uneven_cluster, WEAVE_ONLY)
