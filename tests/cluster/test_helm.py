"""The life of a release with the real Helm: install, upgrade, rollback, test, uninstall.

One cluster of two nodes. The tests run in order, and each begins where the one before ended: a
release is installed once, then node2 dies, and in the end nothing of the release is left elsewhere.
"""

from __future__ import annotations

import itertools
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.support import release
from tests.cluster.support.churn import failures, leftovers
from tests.cluster.support.pods import (
    pod_manifest,
    pod_on_node,
    temporary_namespace,
    wait_until_ready,
)
from tests.devcluster.cluster import BOTH_NETWORKS
from tests.devcluster.commands import run
from tests.devcluster.genie import DEFAULT_NETWORK, wait_until_working
from tests.devcluster.helm import RELEASE
from tests.workers import Workers

if TYPE_CHECKING:
    import subprocess
    import threading
    from collections.abc import Iterator
    from pathlib import Path

    from tests.devcluster.cluster import Cluster

MANY = 20
"""Pods that must start after a refusal."""

NEEDY = "weave,canal@net1"
"""Two networks, which only Genie can release."""

UNREACHABLE = "node.kubernetes.io/unreachable"


@pytest.fixture(scope="module")
def installed(helm_cluster: Cluster) -> Cluster:
    """Return the cluster with a release."""
    release.install(helm_cluster)
    return helm_cluster


@pytest.fixture(scope="module")
def namespace(helm_cluster: Cluster) -> Iterator[str]:
    """Yield the namespace of all pods; the drain deletes them."""
    yield from temporary_namespace(helm_cluster)


def apply(cluster: Cluster, namespace: str, pods: list[dict[str, Any]]) -> None:
    """Create *pods*, and wait until all are Ready."""
    cluster.apply({"apiVersion": "v1", "kind": "List", "items": pods}, "-n", namespace)
    wait_until_ready(cluster, namespace, *(pod["metadata"]["name"] for pod in pods))


def kubectl_genie(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", "uninstall", *words]
    return run(command, env=cluster.environment, check=False, timeout=300)


def test_an_upgrade_and_a_rollback_fail_no_pod(
    installed: Cluster, namespace: str, tmp_path: Path
) -> None:
    """The agents roll twice; pods start and end meanwhile, and those that run keep running."""
    apply(installed, namespace, [pod_on_node("stays", NEEDY, "node1")])
    turns = itertools.count(1)

    def come_and_go(stopping: threading.Event) -> None:
        while not stopping.is_set():
            turn = next(turns)
            pods = [pod_manifest(f"churn-{turn}-{n}", NEEDY) for n in range(3)]
            apply(installed, namespace, pods)
            names = [pod["metadata"]["name"] for pod in pods]
            installed.kubectl("delete", "pod", *names, "-n", namespace, "--wait=true")

    chart = release.next_version(tmp_path)
    with Workers(come_and_go):
        changed = ("--set", "maxAttachments=5", "--set", "agent.attachedEvents=true")
        release.upgrade(installed, *changed, chart=chart)
        wait_until_working(installed, DEFAULT_NETWORK)
        release.command(installed, "rollback", RELEASE, "1")
        wait_until_working(installed, DEFAULT_NETWORK)

    assert next(turns) > 2  # it began a second time, at least
    assert failures(installed, namespace) == []
    [stays] = installed.get("pods", "-n", namespace)["items"]
    assert stays["status"]["containerStatuses"][0]["restartCount"] == 0
    history = json.loads(release.command(installed, "history", RELEASE, "-o", "json").stdout)
    first, second, third = (each["chart"] for each in history)
    assert (first, second) == (third, f"cni-genie-{release.NEXT_VERSION}")


@pytest.fixture(scope="module")
def node_failing(installed: Cluster) -> Cluster:
    """Stop the kubelet of node2. The control plane notices after 50 seconds.

    Until then it would assign pods to the node: nothing does so to a node that is cordoned.
    """
    installed.kubectl("cordon", "node2")
    installed.node("node2").stop("kubelet")
    return installed


def test_helm_test_attaches_pods_and_sees_one_refused(node_failing: Cluster) -> None:
    """Its log says what it saw, and nothing of it stays; a node that fails does not disturb it."""
    cluster = node_failing
    result = release.command(cluster, "test", RELEASE)
    text = result.stdout + result.stderr
    assert "ok      genie-test-default: cni: canal: " in text
    assert "ok      genie-test-two: cni: weave,canal@net1: " in text
    assert "ok      genie-test-refused: cni: genie-test-no-such-network: refused: " in text
    assert cluster.get("pods", "-n", "default")["items"] == []
    # Helm does not wait for the pod of the hook's Job, which the garbage collector deletes.
    cluster.wait_for(
        lambda: not [each for each in release.left_in(cluster) if "genie-test" in each],
        120,
        "the objects of the test to go",
    )


@pytest.fixture(scope="module")
def node_down(node_failing: Cluster) -> Cluster:
    """Wait until the control plane has noticed that the kubelet of node2 does not answer.

    That is so when the node has its taint: before, a hook's pod could be assigned to it.
    """

    def is_down() -> bool:
        taints = node_failing.get("node", "node2")["spec"].get("taints", [])
        return (UNREACHABLE, "NoExecute") in {(each["key"], each["effect"]) for each in taints}

    node_failing.wait_for(is_down, 120, "node2 to be down")
    return node_failing


def test_a_refusal_names_pods_and_nodes_and_leaves_everything_working(
    node_down: Cluster, namespace: str
) -> None:
    """Helm shows the sentences; new pods are attached afterwards. Repeated, it refuses again."""
    cluster = node_down
    refused = release.command(cluster, "uninstall", RELEASE, check=False)
    assert refused.returncode != 0
    text = refused.stdout + refused.stderr
    assert f"node1: Genie is needed by {namespace}/stays" in text
    assert "node2: the node is not ready" in text
    assert "Genie is not removed. Nothing was changed." in text
    assert "helm rollback genie 1 --namespace genie-system" in text
    assert release.mode(cluster) == "install"

    apply(cluster, namespace, [pod_manifest(f"after-{n}", NEEDY) for n in range(MANY)])
    assert failures(cluster, namespace) == []

    again = kubectl_genie(cluster)
    assert again.returncode == 1
    assert f"Genie is needed by {namespace}/after-0, " in again.stdout
    assert "node2: the node is not ready" in again.stdout


@pytest.fixture(scope="module")
def uninstalled(node_down: Cluster) -> Cluster:
    """Drain node1, leave node2 out, and uninstall the release.

    Helm upgrades no release after a refused uninstall, until a rollback to what it is.
    """
    cluster = node_down
    release.command(cluster, "rollback", RELEASE, "1")
    release.upgrade(cluster, "--set", "uninstall.ignoreNodes={node2}")
    drain = ("drain", "node1", "--ignore-daemonsets", "--force", "--delete-emptydir-data")
    cluster.kubectl(*drain, "--disable-eviction", "--timeout=120s")
    with release.settings_arrive_soon(cluster) as modes:
        release.command(cluster, "uninstall", RELEASE, "--timeout", "4m")
    assert modes == ["install", "disable", "remove"]
    return cluster


def test_after_a_drain_an_uninstall_leaves_nothing(uninstalled: Cluster) -> None:
    """On the node: files, state, labels and annotations, addresses, results, links, rules.

    In the cluster: every kind of object that the chart has, once the kubelet of the node that was
    left out has ended its pods.
    """
    node = uninstalled.node("node1")
    # Helm does not wait for the agent's pod to end, which removes its socket last.
    uninstalled.wait_for(lambda: not release.pods_on(uninstalled, "node1"), 120, "the agent's end")
    assert release.left_on(uninstalled, node) == []
    assert leftovers(node) == {}
    assert [node.addresses(network) for network in BOTH_NETWORKS] == [[], []]

    uninstalled.node("node2").start("kubelet")
    uninstalled.wait_for(lambda: release.left_in(uninstalled) == [], 120, "the last pods to end")


def test_an_ignored_node_keeps_what_it_has_and_is_named(uninstalled: Cluster) -> None:
    """Until it is ignored again: then there is nothing left to do."""
    assert release.left_on(uninstalled, uninstalled.node("node2"))

    again = kubectl_genie(uninstalled)
    assert again.returncode == 1
    assert "node2: the node has labels or annotations of Genie's" in again.stdout
    assert kubectl_genie(uninstalled, "--ignore-nodes", "node2").returncode == 0
