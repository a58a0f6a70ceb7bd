"""Simulated nodes: Node objects whose Leases and status ``kwok`` maintains, as a kubelet would.

kwok sets a node Ready, renews its Lease, and writes its status again every five minutes, which is
what a kubelet does while nothing changes. No pod runs there.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.devcluster.build import gobuild

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.devcluster.cluster import Cluster

ANNOTATION = {"kwok.x-k8s.io/node": "fake"}
"""The annotation of a node that kwok maintains."""

_SELECTOR = ",".join(f"{key}={value}" for key, value in ANNOTATION.items())

LEASE_SECONDS = 600
"""Length of a Lease, of which kwok renews each in a quarter. A kubelet's is 40.

Longer here, because thousands of renewals a second would measure etcd.
"""

_HEARTBEAT = {"durationMilliseconds": 300_000, "jitterDurationMilliseconds": 360_000}
"""How often a kubelet writes a status in which nothing has changed: every 5 to 6 minutes."""

_READY_STATUS = """
{{ $now := Now | Quote }}
allocatable: {cpu: "8", memory: 32Gi, pods: "110"}
capacity: {cpu: "8", memory: 32Gi, pods: "110"}
conditions:
- type: Ready
  status: "True"
  reason: KubeletReady
  message: simulated
  lastHeartbeatTime: {{ $now }}
  lastTransitionTime: {{ $now }}
"""


def simulated_node(
    name: str, labels: Mapping[str, str] | None = None, annotations: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return a Node that kwok maintains, tainted so that no workload of the cluster runs there."""
    return {
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, **(labels or {})},
            "annotations": {**ANNOTATION, **(annotations or {})},
        },
        "spec": {"taints": [{"key": "simulated", "effect": "NoSchedule"}]},
    }


def _stage(name: str, operator: str, **more: Any) -> dict[str, Any]:
    """Return a step of kwok's: nodes whose readiness is (not) "True" get the status above."""
    ready = '.status.conditions.[] | select( .type == "Ready" ) | .status'
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Node"},
            "selector": {
                "matchExpressions": [{"key": ready, "operator": operator, "values": ["True"]}]
            },
            "next": {"statusTemplate": _READY_STATUS},
            **more,
        },
    }


def _configuration() -> str:
    stages = (_stage("start", "NotIn"), _stage("heartbeat", "In", delay=_HEARTBEAT))
    return "\n---\n".join(map(json.dumps, stages))


@contextlib.contextmanager
def maintained_nodes(cluster: Cluster) -> Iterator[Path]:
    """Maintain all nodes that carry :data:`ANNOTATION`; yield the path of kwok's log."""
    program = gobuild.build(gobuild.KWOK) / "kwok"
    with tempfile.TemporaryDirectory(prefix="genie-kwok-") as folder:
        config, log = Path(folder, "stages.yaml"), Path(folder, "kwok.log")
        config.write_text(_configuration())
        command = [
            os.fspath(program),
            f"--kubeconfig={cluster.layout.kubeconfig}",
            f"--config={config}",
            "--manage-all-nodes=false",
            f"--manage-nodes-with-annotation-selector={_SELECTOR}",
            f"--node-lease-duration-seconds={LEASE_SECONDS}",
        ]
        environ = {**os.environ, **cluster.environment}
        with log.open("wb") as output:
            kwok = subprocess.Popen(command, stdout=output, stderr=output, env=environ)
            try:
                yield log
            finally:
                kwok.terminate()
                kwok.wait(30)
