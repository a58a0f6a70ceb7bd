"""The pods that everyone starts with, and pods like them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[3] / "manifests" / "examples"


def seed_manifest(network: str) -> str:
    """Return the text of the seed's pod for *network*, field for field."""
    return (EXAMPLES / f"nginx-{network}-master.yaml").read_text()


def pod_manifest(name: str, cni: str | None, **metadata: Any) -> dict[str, Any]:
    """Return a pod like the seed's, with the annotation *cni* (None: without one)."""
    annotations = {} if cni is None else {"annotations": {"cni": cni}}
    container = {"name": "web", "image": "nginx:latest", "imagePullPolicy": "IfNotPresent"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **annotations, **metadata},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
    }
