"""Run the webhook as a process of this machine, for clusters without nodes.

Everything else comes from the chart: the ServiceAccount, with whose token the process logs in, the
Service (without its selector: an EndpointSlice points to the process), the webhook configurations,
whose caBundle the process writes, and the policies.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from tests.cluster.support.admission import wait_for_webhook
from tests.devcluster import helm
from tests.devcluster.build.imagebuild import PROJECT
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.devcluster.cluster import Cluster

NAMESPACE = "genie-system"
NAME = "genie-webhook"


def apply_chart(
    cluster: Cluster, *patches: dict[str, Any], values: Mapping[str, Any] | None = None
) -> None:
    """Apply the chart, rendered with *values*, with these patches."""
    overlay = cluster.layout.state / "admission"
    overlay.mkdir(exist_ok=True)
    content = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["genie.yaml"],
        "patches": [{"patch": json.dumps(patch)} for patch in patches],
    }
    (overlay / "kustomization.yaml").write_text(json.dumps(content))
    (overlay / "genie.yaml").write_text(helm.render_text({**helm.PLAIN, **(values or {})}))
    cluster.kubectl("apply", "-k", os.fspath(overlay))


@contextlib.contextmanager
def running_webhook(
    cluster: Cluster, values: Mapping[str, Any] | None = None, **settings: str
) -> Iterator[int]:
    """Apply the chart and run the webhook; yield the port of its probes once it is called.

    *values* are those of the chart, *settings* the environment variables of the process.
    """
    selectorless = {"$patch": "replace"}
    apply_chart(
        cluster,
        _patch("v1", "Service", {"selector": selectorless}),
        _patch("apps/v1", "Deployment", {"replicas": 0}),
        values=values,
    )
    port, probes = free_port(), free_port()
    cluster.apply(_endpoints(cluster.layout.host_ipv4, port))
    environment = {
        **os.environ,
        **cluster.environment,
        "KUBECONFIG": os.fspath(webhook_kubeconfig(cluster)),
        "GENIE_PORT": str(port),
        "GENIE_PROBE_PORT": str(probes),
        **settings,
    }
    with (cluster.layout.state / "webhook.log").open("wb") as log:
        process = subprocess.Popen(
            ending_with_this([sys.executable, "-m", "webhook"]),
            env=environment,
            stderr=log,
            cwd=PROJECT,
        )
        try:
            cluster.wait_for(lambda: _is_ready(process, probes), 120, "the webhook to be ready")
            wait_for_webhook(cluster)
            yield probes
        finally:
            process.terminate()
            process.wait(30)


def _patch(version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": NAME, "namespace": NAMESPACE}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _endpoints(address: str, port: int) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{NAME}-outside",
            "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": NAME},
        },
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
    }


def webhook_kubeconfig(cluster: Cluster) -> Path:
    """Write a kubeconfig with the token of the webhook's own ServiceAccount."""
    token = cluster.kubectl("create", "token", NAME, "-n", NAMESPACE).stdout.strip()
    content = json.loads(cluster.kubectl("config", "view", "--raw", "-o", "json").stdout)
    for user in content["users"]:
        user["user"] = {"token": token}
    path = cluster.layout.state / "webhook.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(content))
    return path


def _is_ready(process: subprocess.Popen[bytes], probes: int) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"the webhook ended with exit code {process.returncode}")
    with contextlib.suppress(OSError, urllib.error.URLError):
        url = f"http://127.0.0.1:{probes}/readyz"
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    return False


def ending_with_this(argv: list[str]) -> list[str]:
    """Return a command line whose program the kernel kills when this process ends.

    Start it from the main thread, since the kernel acts when the starting thread ends.
    """
    return ["setpriv", "--pdeathsig", "KILL", *argv]
