"""Two nodes that differ: pods go where their networks are, and wait where there is none.

node1 has canal and weave, node2 only weave. Everything a person does goes through kubectl or is
a file that someone puts on a node; placement is the real scheduler's, and what it says is read
from the pods' own conditions.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from datetime import datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.support.agents import agent_settings, label
from tests.cluster.support.observe import http_status, interfaces
from tests.cluster.support.pods import pod_ips, pod_manifest, pod_on_node, wait_until_ready
from tests.devcluster.genie import NAMESPACE
from tests.devcluster.network.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster
    from tests.devcluster.node.node import Node

BOTH, WEAVE_ONLY = "node1", "node2"
CANAL_FILE = f"/etc/cni/net.d/{NETWORKS['canal'].file}"
ASIDE = "/var/cache/canal.json"  # a folder of the node's own
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


def refusal_to_schedule(cluster: Cluster, namespace: str, pod: str) -> str:
    """Return the scheduler's own words on why it cannot place a pod, or nothing."""
    status = cluster.get("pod", pod, "-n", namespace)["status"]
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition["message"])
    return ""


def apply_and_see_it_wait(cluster: Cluster, namespace: str, pod: str, cni: str) -> tuple[str, str]:
    """Apply a pod that no node can take; returns what kubectl and the scheduler said.

    The scheduler has tried by then, and the pod is Pending still a while later.
    """
    applied = cluster.apply(pod_manifest(pod, cni), "-n", namespace)
    cluster.wait_for(lambda: refusal_to_schedule(cluster, namespace, pod), 15, "the scheduler")
    time.sleep(3)
    stored = cluster.get("pod", pod, "-n", namespace)
    assert stored["status"]["phase"] == "Pending"
    assert "nodeName" not in stored["spec"]
    return applied.stderr, refusal_to_schedule(cluster, namespace, pod)


def scheduled_at(cluster: Cluster, namespace: str, pod: str) -> float:
    """Return when the scheduler placed a pod, in seconds of the epoch."""
    query = f"involvedObject.name={pod},reason=Scheduled"
    [event] = cluster.get("events", "-n", namespace, "--field-selector", query)["items"]
    return datetime.fromisoformat(event["eventTime"]).timestamp()


def wait_until_gone(cluster: Cluster, node: str) -> None:
    """Wait until a node's label says that canal is gone."""
    cluster.wait_for(
        lambda: label(cluster, node, "canal") == "false", 20, f"the label of canal on {node}"
    )


@contextmanager
def cordoned(cluster: Cluster, node: str) -> Iterator[None]:
    cluster.kubectl("cordon", node)
    try:
        yield
    finally:
        cluster.kubectl("uncordon", node)


@contextmanager
def without_canal(node: Node) -> Iterator[None]:
    """Take canal's configuration from a node for a while, as an uninstaller would."""
    node.run(["mv", CANAL_FILE, ASIDE])
    try:
        yield
    finally:
        node.run(["mv", ASIDE, CANAL_FILE])


@pytest.fixture(scope="module")
def quick_agents(uneven_cluster: Cluster) -> Iterator[None]:
    """Let a label turn ``"false"`` after 2 seconds; as shipped that takes 60."""
    with agent_settings(uneven_cluster, gone_seconds=2, start_seconds=0):
        yield


def test_pods_that_ask_for_canal_land_only_on_the_node_that_has_it(
    uneven_cluster: Cluster, uneven_namespace: str
) -> None:
    """Pods of a Deployment and bare ones, canal first or second; weave's go to both nodes."""
    namespace = uneven_namespace
    for name in ("canal", "weave"):
        uneven_cluster.apply(deployment(name, name, replicas=6), "-n", namespace)
    for name, cni in (("first", "canal,weave"), ("second", "weave,canal@net1")):
        uneven_cluster.apply(
            pod_manifest(name, cni, labels={"app": "bare"}), "-n", namespace
        )  # fmt: skip
    for name in ("canal", "weave"):
        rollout = ("rollout", "status", f"deployment/{name}", "-n", namespace, "--timeout=90s")
        uneven_cluster.kubectl(*rollout)
    wait_until_ready(uneven_cluster, namespace, "first", "second")
    assert nodes_of(uneven_cluster, namespace, "app=canal") == [BOTH] * 6
    assert nodes_of(uneven_cluster, namespace, "app=bare") == [BOTH] * 2
    assert set(nodes_of(uneven_cluster, namespace, "app=weave")) == {BOTH, WEAVE_ONLY}
    found = interfaces(uneven_cluster, "second", namespace)
    assert {name: found[name].bridge for name in found} == {"eth0": "weave0", "net1": "canal0"}


def test_pods_of_different_nodes_and_networks_reach_one_another(
    uneven_cluster: Cluster, uneven_namespace: str
) -> None:
    """HTTP between every two of three pods, over IPv4, and over IPv6 where both have it."""
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


def test_where_the_only_node_is_cordoned_a_pod_waits_with_the_schedulers_words(
    uneven_cluster: Cluster, uneven_namespace: str
) -> None:
    """Genie says nothing, since the network is there; the pod runs once the node is back."""
    with cordoned(uneven_cluster, BOTH):
        warned, reason = apply_and_see_it_wait(uneven_cluster, uneven_namespace, "patient", "canal")
        assert warned == ""
        assert "0/2 nodes are available" in reason
        assert "1 node(s) were unschedulable" in reason
        assert f"1 node(s) {NO_MATCH}" in reason
    wait_until_ready(uneven_cluster, uneven_namespace, "patient")
    assert uneven_cluster.node_of("patient", uneven_namespace).name == BOTH


@pytest.mark.usefixtures("quick_agents")
def test_where_the_last_node_has_lost_the_network_a_pod_is_warned_about_and_waits(
    uneven_cluster: Cluster, uneven_namespace: str
) -> None:
    """Warned about at apply, Pending after; it runs once the network is back."""
    with without_canal(uneven_cluster.node(BOTH)):
        wait_until_gone(uneven_cluster, BOTH)
        warned, reason = apply_and_see_it_wait(
            uneven_cluster, uneven_namespace, "patient", "weave,canal@net1"
        )
        assert warned.strip() == ABSENT
        assert f"2 node(s) {NO_MATCH}" in reason
    wait_until_ready(uneven_cluster, uneven_namespace, "patient")
    assert interfaces(uneven_cluster, "patient", uneven_namespace)["net1"].bridge == "canal0"


@contextmanager
def listed_networks(cluster: Cluster, value: str) -> Iterator[None]:
    """Give the webhook's setting ``networks`` for a while, as an administrator would."""
    target = ("deployment/genie-webhook", "-n", NAMESPACE)
    cluster.kubectl("set", "env", *target, f"GENIE_NETWORKS={value}")
    try:
        cluster.kubectl("rollout", "status", *target, "--timeout=90s")
        yield
    finally:
        cluster.kubectl("set", "env", *target, "GENIE_NETWORKS-")
        cluster.kubectl("rollout", "status", *target, "--timeout=90s")


@contextmanager
def deleted(cluster: Cluster, name: str) -> Iterator[None]:
    """Delete a Node while its kubelet is away, for a while; it then registers anew."""
    node = cluster.node(name)
    node.stop("kubelet")
    try:
        cluster.kubectl("delete", "node", name)
        yield
    finally:
        node.start("kubelet")
        ready = ("wait", "--for=condition=Ready", f"node/{name}", "--timeout=10s")
        cluster.wait_for(
            lambda: cluster.kubectl(*ready, check=False).returncode == 0, 90, f"{name} to be Ready"
        )


def test_where_the_last_node_with_the_network_is_deleted_a_pod_is_warned_about_and_waits(
    uneven_cluster: Cluster, uneven_namespace: str
) -> None:
    """With the network in the setting ``networks``, as for node groups that scale to zero.

    No label of the network is left then; the pod runs once the node has registered again.
    """
    attempt = ("-n", uneven_namespace, "--dry-run=server")

    def answer() -> str:
        manifest = pod_manifest("probe", "canal")
        return uneven_cluster.apply(manifest, *attempt, check=False).stderr

    with listed_networks(uneven_cluster, "canal"):
        with deleted(uneven_cluster, BOTH):
            uneven_cluster.wait_for(lambda: ABSENT in answer(), 15, "the webhook to know")
            warned, reason = apply_and_see_it_wait(
                uneven_cluster, uneven_namespace, "patient", "canal"
            )
            assert warned.strip() == ABSENT
            assert f"0/1 nodes are available: 1 node(s) {NO_MATCH}" in reason
        running = ("wait", "-n", uneven_namespace, "--for=condition=Ready", "pod/patient")
        uneven_cluster.kubectl(*running, "--timeout=110s")  # the agent reads its Node each minute
        assert interfaces(uneven_cluster, "patient", uneven_namespace)["eth0"].bridge == "canal0"


@pytest.mark.usefixtures("quick_agents")
def test_a_network_that_comes_to_a_node_at_run_time_is_schedulable_there_within_seconds(
    uneven_cluster: Cluster, uneven_namespace: str
) -> None:
    """A waiting pod is placed there within 5 seconds of the file, and gets that network.

    The scheduler's Event says when it was placed, and the file when it came; how soon the test
    notices is no matter.
    """
    node = uneven_cluster.node(WEAVE_ONLY)
    conflist = json.dumps(NETWORKS["canal"].conflist(node.layout.number))
    with cordoned(uneven_cluster, BOTH):
        apply_and_see_it_wait(uneven_cluster, uneven_namespace, "patient", "weave,canal@net1")
        try:
            node.run(["sh", "-c", f"cat > {CANAL_FILE}.new && mv {CANAL_FILE}.new {CANAL_FILE}"],
                     input=conflist)  # fmt: skip
            arrived_at = node.path(CANAL_FILE).stat().st_ctime
            wait_until_ready(uneven_cluster, uneven_namespace, "patient")
            assert scheduled_at(uneven_cluster, uneven_namespace, "patient") - arrived_at < 5
            assert uneven_cluster.node_of("patient", uneven_namespace).name == WEAVE_ONLY
            found = interfaces(uneven_cluster, "patient", uneven_namespace)
            assert found["net1"].bridge == "canal0"
            uneven_cluster.kubectl("delete", "pod", "patient", "-n", uneven_namespace)
        finally:
            node.run(["rm", "-f", CANAL_FILE])
        wait_until_gone(uneven_cluster, WEAVE_ONLY)
