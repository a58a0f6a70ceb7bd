"""Change the settings of a cluster's agents; read labels, Events and metrics of a node."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from tests.devcluster.genie import DEFAULT_NETWORK, NAMESPACE, wait_until_working
from tests.devcluster.helm import PLAIN, render

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster

DAEMONSET = "daemonset/genie-agent"
CONFLIST = "/etc/cni/net.d/00-genie.conflist"
LAUNCHER = "/opt/cni/bin/genie"
STATUS = "k8s.v1.cni.cncf.io/network-status"


def agent_pod(cluster: Cluster, node: str) -> str:
    """Return the name of the agent's pod on *node*."""
    pods = cluster.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=genie-agent")
    [name] = [
        pod["metadata"]["name"]
        for pod in pods["items"]
        if pod["spec"].get("nodeName") == node and not pod["metadata"].get("deletionTimestamp")
    ]
    return str(name)


def rolled_out(cluster: Cluster) -> None:
    """Wait until every agent has the latest settings and is ready."""
    cluster.kubectl("rollout", "status", DAEMONSET, "-n", NAMESPACE, "--timeout=120s")


@contextlib.contextmanager
def agent_settings(cluster: Cluster, **settings: object) -> Iterator[None]:
    """Set environment variables of the agents; restore them at the end of the block."""
    names = [f"GENIE_{name.upper()}" for name in settings]
    variables = [f"{name}={value}" for name, value in zip(names, settings.values(), strict=True)]
    _set(cluster, variables)
    try:
        yield
    finally:
        _set(cluster, [f"{name}-" for name in names])
        wait_until_working(cluster, DEFAULT_NETWORK)


def fresh_agents(cluster: Cluster) -> None:
    """Restart all agents, so that none has any history."""
    cluster.kubectl("rollout", "restart", DAEMONSET, "-n", NAMESPACE)
    rolled_out(cluster)


def _set(cluster: Cluster, changes: list[str]) -> None:
    cluster.kubectl("set", "env", DAEMONSET, "-n", NAMESPACE, *changes)
    rolled_out(cluster)


def set_mode(cluster: Cluster, mode: str) -> None:
    """Change the cluster-wide mode as described in docs/settings.md."""
    patch = json.dumps({"data": {"mode": mode}})
    cluster.kubectl("patch", "configmap", "genie", "-n", NAMESPACE, "--type=merge", "-p", patch)
    cluster.kubectl("rollout", "restart", DAEMONSET, "-n", NAMESPACE)


@contextlib.contextmanager
def removal_confirmed(cluster: Cluster, node: str) -> Iterator[None]:
    """Let a Node apply the mode "remove --force" until the end of the block."""
    cluster.kubectl("annotate", "node", node, "--overwrite", "cni-genie.io/confirm-remove=force")
    try:
        yield
    finally:
        cluster.kubectl("annotate", "node", node, "cni-genie.io/confirm-remove-")


def wait_for_default(cluster: Cluster, network: str) -> None:
    """Wait until every node's runtime calls Genie with *network* as the default."""
    conflists = [node.path(CONFLIST) for node in cluster.nodes.values()]
    setting = f'"default": "{network}"'
    cluster.wait_for(
        lambda: all(file.exists() and setting in file.read_text() for file in conflists),
        120,
        f"the conflists with the default {network}",
    )


def label(cluster: Cluster, node: str, network: str) -> str | None:
    """Return the value of a node's label for *network*."""
    labels = cluster.get("node", node)["metadata"]["labels"]
    value: str | None = labels.get(f"network.cni-genie.io/{network}")
    return value


def node_events(cluster: Cluster, node: str, reason: str) -> list[str]:
    """Return the messages of a Node's Events with *reason*."""
    query = f"involvedObject.kind=Node,involvedObject.name={node},reason={reason}"
    events: list[dict[str, Any]] = cluster.get("events", "--field-selector", query)["items"]
    return [event["message"] for event in events]


def network_status(cluster: Cluster, namespace: str, pod: str) -> str:
    """Return the annotation network-status of a pod, empty if it has none."""
    metadata = cluster.get("pod", pod, "-n", namespace)["metadata"]
    return str(metadata["annotations"].get(STATUS, ""))


def metrics(cluster: Cluster, node: str) -> str:
    """Return the metrics of the agent on *node*, read on the node's loopback."""
    return cluster.node(node).run(["curl", "-sS", "http://127.0.0.1:9471/metrics"]).stdout


def pod_events(cluster: Cluster, namespace: str, pod: str, reason: str) -> list[str]:
    """Return the messages of a pod's Events with *reason*."""
    query = f"involvedObject.kind=Pod,involvedObject.name={pod},reason={reason}"
    events = cluster.get("events", "-n", namespace, "--field-selector", query)["items"]
    return [event["message"] for event in events]


def rights_for_old_runtimes() -> list[Any]:
    """Return a JSON patch of the agent's ClusterRole: the rules of the value oldRuntimes."""
    [rules] = [
        each["rules"]
        for each in render({**PLAIN, "oldRuntimes": True})
        if (each["kind"], each["metadata"]["name"]) == ("ClusterRole", "genie-agent")
    ]
    return [{"op": "replace", "path": "/rules", "value": rules}]


@contextlib.contextmanager
def granted(cluster: Cluster, changes: list[Any]) -> Iterator[None]:
    """Patch the agent's ClusterRole; restore it at the end of the block."""
    before = cluster.get("clusterrole", "genie-agent")["rules"]
    patch = ("patch", "clusterrole", "genie-agent", "--type=json", "-p")
    cluster.kubectl(*patch, json.dumps(changes))
    try:
        yield
    finally:
        back = [{"op": "replace", "path": "/rules", "value": before}]
        cluster.kubectl(*patch, json.dumps(back))


def restarts(cluster: Cluster) -> list[tuple[str, str, int]]:
    """Return each container of Genie, by its pod's UID and its name, and how often it restarted.

    Pods that terminate do not count: a rollout of an earlier test may still remove one.
    """
    return sorted(
        (pod["metadata"]["uid"], each["name"], each["restartCount"])
        for pod in cluster.get("pods", "-n", NAMESPACE)["items"]
        if "deletionTimestamp" not in pod["metadata"]
        for each in pod["status"]["containerStatuses"]
    )
