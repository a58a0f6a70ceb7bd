"""A cluster moves from Multus to Genie, by the commands of docs/from-multus.md in their order.

Multus is installed by its published manifest, and serves two nodes with workloads that select
NetworkAttachmentDefinitions. A thread watches the workloads from the first step to the last: no
workload has fewer replicas than its budget, no pod is unschedulable, and no container restarts.
After each step the interfaces of all pods are read from inside.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import keys
from tests.cluster.support.definitions import definition
from tests.cluster.support.names import name_of
from tests.cluster.support.observe import interfaces
from tests.cluster.support.pods import create_namespace, pod_manifest, wait_until_ready
from tests.devcluster import helm
from tests.devcluster.build.imagebuild import PROJECT
from tests.devcluster.cluster import BOTH_NETWORKS, Cluster
from tests.devcluster.commands import run
from tests.devcluster.credentials import write_kubeconfig
from tests.devcluster.genie import chart_values, import_genie
from tests.devcluster.network.multus import CONF, install_multus
from tests.devcluster.network.networks import NETWORKS
from tests.shell_blocks import DOCS, section, to_run
from tests.workers import Workers

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from pathlib import Path

PAGE = (DOCS / "from-multus.md").read_text()
SPACE = "shop"
NODES = ("node1", "node2")
GENIE_CONF = "/etc/cni/net.d/00-genie.conflist"
GENIE_FILE, MULTUS_FILE = (conf.rpartition("/")[2] for conf in (GENIE_CONF, CONF))
BLUE = {
    "cniVersion": "1.0.0",
    "type": "bridge",
    "bridge": "blue0",
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/24"}]]},
}
BY_NAME = "blue"
AS_JSON = json.dumps([{"name": "blue", "interface": "data"}])
BRIDGES = {
    "web": {"eth0": "canal0", "net1": "blue0"},
    "api": {"eth0": "canal0", "data": "blue0"},
    "plain": {"eth0": "canal0"},
    "probe": {"eth0": "canal0", "net1": "blue0"},
}
"""What each workload has, whoever attached it."""
REPLICAS, BUDGET = 3, 2
"""More replicas than nodes, and how many of them a drain must leave."""


def workload(kind: str, name: str, networks: str | None, **spec: Any) -> dict[str, Any]:
    """Return a workload whose pods select *networks*."""
    annotations = {} if networks is None else {keys.NETWORKS: networks}
    pod = pod_manifest("", None, annotations=annotations, labels={"app": name})
    del pod["metadata"]["name"]
    template = {"metadata": pod["metadata"], "spec": pod["spec"]}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template, **spec},
    }


def budget(name: str) -> dict[str, Any]:
    """Return what keeps a drain from taking too many replicas of a workload."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name},
        "spec": {"minAvailable": BUDGET, "selector": {"matchLabels": {"app": name}}},
    }


class Watch(Workers):
    """Reads the workloads twice a second, and keeps what must not happen."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(self._run)
        self.faults: set[str] = set()
        self.reads = 0
        self._cluster = cluster

    def _run(self, stopping: threading.Event) -> None:
        while not stopping.wait(0.5):
            self._read()
            self.reads += 1

    def _read(self) -> None:
        for each in self._cluster.get("deployments", "-n", SPACE)["items"]:
            available = each["status"].get("availableReplicas", 0)
            if available < min(BUDGET, each["spec"]["replicas"]):
                self.faults.add(f"{each['metadata']['name']} has {available} replicas available")
        for pod in self._cluster.get("pods", "-n", SPACE)["items"]:
            name, status = pod["metadata"]["name"], pod["status"]
            for condition in status.get("conditions", ()):
                if condition.get("reason") == "Unschedulable":
                    self.faults.add(f"{name}: {condition['message']}")
            for container in status.get("containerStatuses", ()):
                if container["restartCount"]:
                    self.faults.add(f"{name} restarted")


class Migration:
    """The cluster, and the page's commands on it."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self._folder = folder
        path = f"{cluster.layout.bin}:{helm.helm().parent}:{os.environ['PATH']}"
        self._env = {**cluster.environment, "PATH": path, "NAMESPACE": SPACE}

    def follow(self, title: str, node: str = "") -> str:
        """Run the commands of a section of the page; return what they print."""
        output = ""
        for block in to_run(section(PAGE, title)):
            done = run(
                ["bash", "-euo", "pipefail", "-c", block],
                env={**self._env, "NODE": node},
                cwd=self._folder,
                check=False,
                timeout=180.0,
            )
            assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
            output += done.stdout + done.stderr
        return output

    def settle(self) -> None:
        """Wait until each workload has all its replicas; check the networks of every pod."""
        for kind in ("deployment", "daemonset"):
            for each in self.cluster.get(kind, "-n", SPACE)["items"]:
                name = f"{kind}/{each['metadata']['name']}"
                self.cluster.kubectl("rollout", "status", name, "-n", SPACE, "--timeout=120s")
        for pod in self._pods():
            name = pod["metadata"]["name"]
            bridges = {i: each.bridge for i, each in interfaces(self.cluster, name, SPACE).items()}
            assert bridges == BRIDGES[pod["metadata"]["labels"]["app"]], name

    def restart(self, *workloads: str) -> None:
        """Replace all pods of workloads, and check the new ones."""
        self.cluster.kubectl("rollout", "restart", "-n", SPACE, *workloads)
        self.settle()

    def serving(self, node: str) -> str:
        """Return who attaches pods on a node."""
        files = [self.cluster.node(node).path(each) for each in (GENIE_CONF, CONF)]
        present = [file.name for file in files if file.exists()]
        assert len(present) == 1, f"{node} has {present}"
        return present[0]

    def attached_by_genie(self, node: str) -> set[str]:
        """Return the workloads of which Genie attached pods on a node, by its records."""
        command = ["/opt/cni/bin/genie", "attachments", "--output", "json"]
        records = json.loads(self.cluster.node(node).run(command).stdout)
        return {each["pod"].partition("-")[0] for each in records}

    def validated(self, name: str) -> set[str]:
        """Return the definitions that the webhook has validated for the pods of a workload."""
        values = [pod["metadata"]["annotations"][keys.ATTACHMENTS] for pod in self._pods(name)]
        return {value.partition(":")[0] for value in values}

    def replace_left_pods(self, node: str) -> None:
        """Delete the pods of the DaemonSet that a drain has left on a node."""
        left = [
            pod["metadata"]["name"]
            for pod in self._pods("probe")
            if pod["spec"]["nodeName"] == node
        ]
        self.cluster.kubectl("delete", "pod", *left, "-n", SPACE, "--timeout=60s")
        # The status of the DaemonSet, which settle() reads, may not show yet that a pod is missing.
        self.cluster.wait_for(
            lambda: len(self._pods("probe")) == len(NODES), 120, "the DaemonSet to replace them"
        )
        names = [pod["metadata"]["name"] for pod in self._pods("probe")]
        wait_until_ready(self.cluster, SPACE, *names)

    def attach_by_multus(self, node: str) -> None:
        """Start a pod on Multus as a network of Genie, and check its interfaces."""
        cluster, folder = self.cluster, "/etc/cni/genie.d"
        token = cluster.kubectl("create", "token", "multus", "-n", "kube-system").stdout.strip()
        kubeconfig = cluster.node(node).path(f"{folder}/multus.kubeconfig")
        credentials = cluster.control_plane.credentials
        write_kubeconfig(kubeconfig, cluster.layout, credentials, "multus", token)
        conf = {
            "cniVersion": "1.0.0",
            "name": "multus",
            "type": "multus",
            "kubeconfig": f"{folder}/multus.kubeconfig",
            "delegates": [NETWORKS["canal"].conflist(cluster.node(node).layout.number)],
        }
        file = cluster.node(node).path(f"{folder}/multus.conf")
        file.write_text(json.dumps(conf))
        wait = ("wait", "node", node, "--timeout=60s")
        cluster.kubectl(
            *wait, r"--for=jsonpath={.metadata.labels.network\.cni-genie\.io/multus}=true"
        )

        annotations = {"cni": "multus", keys.NETWORKS: BY_NAME}
        pod = pod_manifest("device", None, annotations=annotations)
        cluster.wait_for(  # the webhook reads the label, too
            lambda: cluster.apply(pod, "-n", SPACE, check=False).returncode == 0,
            30,
            "the webhook to know the network",
        )
        try:
            wait_until_ready(cluster, SPACE, "device")
            bridges = {i: each.bridge for i, each in interfaces(cluster, "device", SPACE).items()}
            assert bridges == {"eth0": "canal0", "net1": "blue0"}
            pod = cluster.get("pod", "device", "-n", SPACE)
            status = json.loads(pod["metadata"]["annotations"][keys.NETWORK_STATUS])
            assert [each["interface"] for each in status] == ["eth0", "net1"]
        finally:
            cluster.kubectl("delete", "pod", "device", "-n", SPACE, "--timeout=60s")
            file.unlink()

    def addresses(self) -> dict[str, int]:
        """Return how many addresses of the definition each node has given out."""
        return {name: len(node.addresses("blue")) for name, node in self.cluster.nodes.items()}

    def pods_with_addresses(self) -> dict[str, int]:
        """Return how many pods with the definition each node has."""
        nodes = [
            pod["spec"]["nodeName"]
            for pod in self._pods()
            if pod["metadata"]["labels"]["app"] != "plain"
        ]
        return {node: nodes.count(node) for node in self.cluster.nodes}

    def _pods(self, name: str = "") -> list[dict[str, Any]]:
        selector = ("-l", f"app={name}") if name else ()
        pods = self.cluster.get("pods", "-n", SPACE, *selector)["items"]
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


@pytest.fixture(scope="module")
def multus_cluster() -> Iterator[Cluster]:
    """Yield two nodes that Multus serves, without Genie."""
    cluster = Cluster.up(name_of("multus"), dict.fromkeys(NODES, BOTH_NETWORKS))
    try:
        install_multus(cluster)
        create_namespace(cluster, SPACE)
        cluster.apply(definition(SPACE, "blue", BLUE))
        for each in (
            workload("Deployment", "web", BY_NAME, replicas=REPLICAS),
            workload("Deployment", "api", AS_JSON, replicas=REPLICAS),
            workload("Deployment", "plain", None, replicas=REPLICAS),
            workload("DaemonSet", "probe", BY_NAME),
            workload("Deployment", "wrong", "blu", replicas=0),
            *(budget(name) for name in ("web", "api", "plain")),
        ):
            cluster.apply(each, "-n", SPACE)
        yield cluster
    finally:
        cluster.down()


@pytest.fixture
def migration(multus_cluster: Cluster, tmp_path: Path) -> Migration:
    """Return the cluster with the files that the page's commands need."""
    values = chart_values(import_genie(multus_cluster), "canal")
    # Agents copy definitions as soon as they start; they wait for up to 30 seconds otherwise.
    values["agent"] = {"settingsDelaySeconds": 0}
    (tmp_path / "values.yaml").write_text(json.dumps(values))
    (tmp_path / "manifests").symlink_to(PROJECT / "manifests")
    return Migration(multus_cluster, tmp_path)


def test_a_cluster_moves_node_by_node_and_back(migration: Migration) -> None:
    """Workloads keep their replicas and networks in every mode, on either kind of node."""
    cluster, watch = migration.cluster, Watch(migration.cluster)
    migration.settle()
    with watch:
        migration.follow("Before you begin")
        migration.follow("Let a label decide which nodes Multus serves")
        migration.follow("Install Genie on no node")
        assert cluster.get("nodes", "-l", "node.cni-genie.io/attachments")["items"] == []
        migration.restart("deployment/web")

        output = migration.follow("Observe")
        assert 'did you mean "blue"' in output
        cluster.kubectl("delete", "deployment", "wrong", "-n", SPACE)
        migration.restart("deployment/web")
        assert migration.validated("web") == {f"{SPACE}/blue"}

        migration.follow("Enforce")
        migration.restart("deployment/web", "deployment/api")
        assert [migration.serving(node) for node in NODES] == [MULTUS_FILE] * 2

        migration.follow("Move a node", "node1")
        assert [migration.serving(node) for node in NODES] == [GENIE_FILE, MULTUS_FILE]
        migration.replace_left_pods("node1")
        migration.restart("deployment/web", "deployment/api", "deployment/plain")
        assert migration.attached_by_genie("node1") >= {"web", "api", "plain", "probe"}

        migration.attach_by_multus("node1")

        migration.follow("Go back", "node1")
        assert [migration.serving(node) for node in NODES] == [MULTUS_FILE] * 2
        migration.replace_left_pods("node1")
        migration.restart("deployment/web")

        for node in NODES:
            migration.follow("Move a node", node)
            migration.replace_left_pods(node)
            migration.settle()
        migration.follow("Remove Multus")
        migration.restart("deployment/web", "deployment/api")
    assert [migration.serving(node) for node in NODES] == [GENIE_FILE] * 2
    assert cluster.get("net-attach-def", "blue", "-n", SPACE)["spec"]["config"]
    cluster.wait_for(  # pods of before the restart may still be ending
        lambda: migration.addresses() == migration.pods_with_addresses(), 120, "free addresses"
    )
    assert watch.faults == set()
    assert watch.reads > len(NODES)
