"""Drive a release of the chart with the real Helm, and find what an uninstall leaves."""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
from typing import TYPE_CHECKING

import yaml

from tests.cluster.support.agents import DAEMONSET, rolled_out
from tests.devcluster import helm
from tests.devcluster.commands import run
from tests.devcluster.genie import (
    DEFAULT_NETWORK,
    NAMESPACE,
    chart_values,
    import_genie,
    wait_until_working,
)
from tests.workers import Workers

if TYPE_CHECKING:
    import subprocess
    import threading
    from collections.abc import Iterator
    from pathlib import Path

    from tests.devcluster.cluster import Cluster
    from tests.devcluster.node.node import Node

CREATED_KINDS = ("controllerrevision", "endpointslice", "pod", "replicaset")
"""What controllers create in the release's namespace, besides the chart's kinds."""

KUBERNETES_OWN = ("configmap/kube-root-ca.crt", "serviceaccount/default")
"""What Kubernetes itself puts into every namespace."""

NEXT_VERSION = "99.0.0"
"""The version of the chart to which tests upgrade."""

FILES = (
    "/etc/cni/net.d/00-genie.conflist",
    "/opt/cni/bin/genie",
    "/opt/cni/bin/.genie",
)

EMPTIED = ("/var/lib/cni/genie", "/run/genie")
"""Directories that stay, without files."""


def command(cluster: Cluster, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run helm on the release's namespace."""
    words = (*words, "--namespace", NAMESPACE)
    return run([helm.helm(), *words], env=cluster.environment, check=check, timeout=300)


def install(cluster: Cluster) -> None:
    """Install the chart by `helm install`, with short deadlines, for which tests wait."""
    chosen = {
        **chart_values(import_genie(cluster), DEFAULT_NETWORK),
        "agent": {"settingsDelaySeconds": 0},
        "webhook": {"settings": {"GENIE_DRAIN_SECONDS": "1"}},
    }
    run(
        [
            *(helm.helm(), "install", helm.RELEASE, helm.CHART, "--values", "-"),
            *("--namespace", NAMESPACE, "--create-namespace"),
        ],
        input=json.dumps(chosen),
        env=cluster.environment,
    )
    short = ("GENIE_DEADLINE_SECONDS=30", "GENIE_REAP_LOOK_SECONDS=2")
    cluster.kubectl("set", "env", DAEMONSET, "-n", NAMESPACE, *short)
    rolled_out(cluster)
    wait_until_working(cluster, DEFAULT_NETWORK)


def upgrade(cluster: Cluster, *changed: str, chart: Path = helm.CHART) -> None:
    """Run `helm upgrade` with the release's own values, and those that are *changed*."""
    command(cluster, "upgrade", helm.RELEASE, str(chart), "--reset-then-reuse-values", *changed)


def next_version(folder: Path) -> Path:
    """Return a copy of the chart with NEXT_VERSION, below *folder*."""
    copy = folder / "chart"
    shutil.copytree(helm.CHART, copy)
    chart = yaml.safe_load((copy / "Chart.yaml").read_text())
    (copy / "Chart.yaml").write_text(yaml.safe_dump({**chart, "version": NEXT_VERSION}))
    return copy


@contextlib.contextmanager
def settings_arrive_soon(cluster: Cluster) -> Iterator[list[str]]:
    """Let changed settings reach the agents within seconds; yield the modes that were set."""
    modes = [mode(cluster)]

    def follow(stopping: threading.Event) -> None:
        while not stopping.wait(0.5):
            current = mode(cluster)
            if current and current != modes[-1]:
                modes.append(current)
                # After a change of a pod, kubelet updates its volumes now, not within a minute.
                of_agents = ("-n", NAMESPACE, "-l", "app.kubernetes.io/name=genie-agent")
                mark = f"tests.cni-genie.io/mode={current}"
                cluster.kubectl("annotate", "pods", *of_agents, "--overwrite", mark, check=False)

    with Workers(follow):
        yield modes


def mode(cluster: Cluster) -> str:
    """Return the mode in the ConfigMap; "" if there is none."""
    of_map = ("configmap", "genie", "-n", NAMESPACE, "--ignore-not-found")
    return cluster.kubectl("get", *of_map, "-o", "jsonpath={.data.mode}").stdout


def left_on(cluster: Cluster, node: Node) -> list[str]:
    """Return what a node, and its Node object, have of Genie's."""
    files = [file for file in FILES if node.path(file).exists()]
    state = [str(file) for folder in EMPTIED for file in node.path(folder).glob("*")]
    metadata = cluster.get("node", node.name)["metadata"]
    keys = [*metadata.get("labels", {}), *metadata.get("annotations", {})]
    return files + state + [key for key in keys if "cni-genie.io" in key]


def pods_on(cluster: Cluster, node: str) -> list[str]:
    """Return Genie's own pods on a node, also those that are ending."""
    pods = cluster.get("pods", "-n", NAMESPACE)["items"]
    return [pod["metadata"]["name"] for pod in pods if pod["spec"].get("nodeName") == node]


def left_in(cluster: Cluster) -> list[str]:
    """Return the objects of Genie's that the cluster has, of the chart, its hooks and others."""
    places = chart_places() | {(kind, NAMESPACE) for kind in CREATED_KINDS}
    return [
        f"{kind}/{name}"
        for kind, namespace in sorted(places)
        for name in _names(cluster, kind, namespace)
        # The release has its namespace for itself; elsewhere are objects of others, too.
        if ("genie" in name if namespace != NAMESPACE else f"{kind}/{name}" not in KUBERNETES_OWN)
    ]


@functools.cache
def chart_places() -> frozenset[tuple[str, str]]:
    """Return the kinds of the chart's objects and their namespaces; "": of the cluster.

    Hooks have objects as well, and in another namespace than the release's.
    """
    return frozenset(
        (each["kind"].lower(), each["metadata"].get("namespace", ""))
        for webhook in (True, False)
        for each in helm.render(
            {"image": {"repository": "cni-genie"}, "webhook": {"enabled": webhook}}
        )
    )


def _names(cluster: Cluster, kind: str, namespace: str) -> list[str]:
    place = ("-n", namespace) if namespace else ()
    return [each["metadata"]["name"] for each in cluster.get(kind, *place)["items"]]
