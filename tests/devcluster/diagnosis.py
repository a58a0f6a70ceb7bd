"""What one wants to read when a test on a cluster has failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.devcluster.commands import CommandError
from tests.devcluster.genie import NAMESPACE

if TYPE_CHECKING:
    from tests.devcluster.cluster import Cluster

_LINES = 25


def describe(cluster: Cluster, namespace: str | None) -> str:
    """Return pods, events and the ends of all logs; what cannot be had is left out."""
    commands = {
        "pods": ["get", "pods", "-A", "-o", "wide"],
        "nodes": ["get", "nodes", "--show-labels"],
        "agent": _pod_logs("daemonset/genie-agent"),
        "webhook": _pod_logs("deployment/genie-webhook"),
    }
    if namespace:
        commands["events"] = ["get", "events", "-n", namespace, "--sort-by=.lastTimestamp"]
    parts = [f"--- {title}\n{_say(cluster, command)}" for title, command in commands.items()]
    parts += [f"--- {s.name} ({s.log})\n{s.tail(_LINES)}" for s in cluster.services()]
    return "\n".join(parts)


def _say(cluster: Cluster, command: list[str]) -> str:
    try:
        return cluster.kubectl(*command, check=False, timeout=20).stdout
    except CommandError:  # logs of a workload without pods wait for them
        return ""


def _pod_logs(workload: str) -> list[str]:
    return ["logs", "-n", NAMESPACE, workload, "--all-pods", "--prefix", f"--tail={_LINES}"]
