"""The example pods of the manifests, pods like them, and what tests ask about pods."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster

EXAMPLES = Path(__file__).parents[3] / "manifests" / "examples"
READY_WITHIN = 120
"""Seconds. It only ends a test that hangs: a machine may be many times slower than another."""


def example_manifest(network: str) -> str:
    """Return the text of the example pod for *network*."""
    return (EXAMPLES / f"nginx-{network}-master.yaml").read_text()


def pod_manifest(name: str, cni: str | None, **metadata: Any) -> dict[str, Any]:
    """Return a pod like the examples, with the annotation *cni* (None: without one)."""
    annotations = {} if cni is None else {"annotations": {"cni": cni}}
    container = {"name": "web", "image": "nginx:latest", "imagePullPolicy": "IfNotPresent"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **annotations, **metadata},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
    }


def ending_pods(cluster: Cluster, *query: str) -> list[str]:
    """Return the names of the pods of *query*, options of kubectl, that are being deleted."""
    metadata = [pod["metadata"] for pod in cluster.get("pods", *query)["items"]]
    return [each["name"] for each in metadata if "deletionTimestamp" in each]


def pod_on_node(name: str, cni: str | None, node: str, **metadata: Any) -> dict[str, Any]:
    """Return a pod that the scheduler may put only on *node*."""
    manifest = pod_manifest(name, cni, **metadata)
    manifest["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}
    return manifest


def wait_until_ready(cluster: Cluster, namespace: str, *pods: str) -> None:
    """Wait until all these pods are Ready. Raises CommandError after READY_WITHIN."""
    names = (f"pod/{pod}" for pod in pods)
    limit = f"--timeout={READY_WITHIN}s"
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", limit, *names)


def pod_ips(cluster: Cluster, namespace: str, pod: str) -> list[str]:
    """Return the addresses in a pod's status."""
    status = cluster.get("pod", pod, "-n", namespace)["status"]
    return [entry["ip"] for entry in status["podIPs"]]


def create_namespace(cluster: Cluster, name: str) -> None:
    """Create a namespace and wait until it accepts pods: until it has its service account."""
    cluster.kubectl("create", "namespace", name)
    cluster.wait_for(
        lambda: cluster.exists("serviceaccount", "default", "-n", name),
        120,
        f"the service account of namespace {name}",
    )


def temporary_namespace(cluster: Cluster) -> Iterator[str]:
    """Yield a new namespace; delete it and its pods afterwards. For fixtures."""
    name = f"test-{secrets.token_hex(4)}"
    create_namespace(cluster, name)
    yield name
    cluster.kubectl("delete", "pods", "--all", "-n", name, "--grace-period=1", "--wait=true")
    cluster.kubectl("delete", "namespace", name, "--wait=false")
