"""Describe a cluster on which a test has failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.devcluster.commands import CommandError
from tests.devcluster.genie import NAMESPACE

if TYPE_CHECKING:
    from tests.devcluster.cluster import Cluster

_LINES = 25


def describe(cluster: Cluster, namespace: str | None) -> str:
    """Return pods, nodes, Events and the last lines of all logs, as far as available."""
    commands = {
        "pods": ["get", "pods", "-A", "-o", "wide"],
        "nodes": ["get", "nodes", "--show-labels"],
        "agent": _pod_logs("daemonset/genie-agent"),
        "webhook": _pod_logs("deployment/genie-webhook"),
    }
    if namespace:
        commands["events"] = ["get", "events", "-n", namespace, "--sort-by=.lastTimestamp"]
    parts = [f"--- {title}\n{_output(cluster, command)}" for title, command in commands.items()]
    parts += [f"--- {s.name} ({s.log})\n{s.tail(_LINES)}" for s in cluster.services()]
    return "\n".join(parts)


def _output(cluster: Cluster, command: list[str]) -> str:
    try:
        return cluster.kubectl(*command, check=False, timeout=20).stdout
    except CommandError:  # kubectl waits for the pods of a workload that has none
        return ""


def _pod_logs(workload: str) -> list[str]:
    return ["logs", "-n", NAMESPACE, workload, "--all-pods", "--prefix", f"--tail={_LINES}"]
