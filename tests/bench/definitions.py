"""``python -m tests.bench.definitions``: measure a node of a cluster with many definitions.

In the mode ``enforce``, with a thousand NetworkAttachmentDefinitions: how long the agent takes to
copy them, how much memory agent and reaper have then, and how long after its ADD a pod has the
annotation ``k8s.v1.cni.cncf.io/network-status``.

An ADD ends with the last write of the pod's record, and the annotation is there when the API server
has answered the agent's patch, by its audit log. Both times are of this machine's clock. Pods start
through the real kubelet, one at a time unless asked otherwise. The part of docs/performance.md
between the two markers is written from it.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from tests.bench.agent import AIM_MEBIBYTES, NODE, processes
from tests.bench.cluster import machine, run_benchmark
from tests.bench.process_cost import memory, most_memory
from tests.cluster.support.definitions import (
    apply,
    bridge,
    copy_of,
    definition,
    definitions_enforced,
    selecting,
)
from tests.cluster.support.pods import create_namespace, wait_until_ready
from tests.devcluster.commands import step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.devcluster.cluster import Cluster

NAMESPACE = "bench"
REST = 20.0
"""Seconds between the last copy and the reading of the memory."""

AIM_MILLISECONDS = 200
"""From the end of an ADD to the annotation, for 99 of 100 pods."""


class Figures(NamedTuple):
    """What was measured.

    ``resident`` and ``most`` are MiB by process: at rest, and the most since its start. ``waits``
    are the milliseconds from each pod's ADD to its annotation, ascending.
    """

    seconds_to_copy: float
    resident: dict[str, float]
    most: dict[str, float]
    waits: Sequence[float]

    def wait(self, part: float) -> float:
        """Return a quantile of the waits."""
        return self.waits[min(len(self.waits) - 1, int(part * len(self.waits)))]

    @property
    def total(self) -> float:
        """The resident memory of both processes."""
        return sum(self.resident.values())


def main() -> int:
    """Measure on a cluster of its own; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description="Measure a node with many definitions.")
    parser.add_argument(
        "--definitions", type=int, default=1000, help="number of definitions (default: 1000)"
    )
    parser.add_argument("--pods", type=int, default=100, help="number of pods (default: 100)")
    parser.add_argument(
        "--at-once", type=int, default=1, help="pods that start at one moment (default: 1)"
    )
    return run_benchmark("definitions", parser, _figures)


def _figures(cluster: Cluster, chosen: argparse.Namespace) -> tuple[str, bool]:
    with definitions_enforced(cluster):
        figures = _measure(cluster, chosen.definitions, chosen.pods, chosen.at_once)
    is_met = figures.total <= AIM_MEBIBYTES and figures.wait(0.99) <= AIM_MILLISECONDS
    return _table(figures, chosen.definitions, chosen.at_once), is_met


def _measure(cluster: Cluster, definitions: int, pods: int, at_once: int) -> Figures:
    create_namespace(cluster, NAMESPACE)
    try:
        with step(f"copying {definitions} definitions, then waiting for {REST:.0f} s"):
            seconds = _copy(cluster, definitions)
            time.sleep(REST)
            pids = processes(cluster)
            resident = {name: memory(pid)[0] for name, pid in pids.items()}

        with step(f"starting {pods} pods, {at_once} at a time"):
            waits: list[float] = []
            while len(waits) < pods:
                waits += _start_pods(cluster, min(at_once, pods - len(waits)))
        assert processes(cluster) == pids, "one of them was started anew"
        most = {name: most_memory(pid) for name, pid in pids.items()}
        return Figures(seconds, resident, most, sorted(waits))
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE, timeout=300)


def _copy(cluster: Cluster, count: int) -> float:
    """Create definitions in one call; return the seconds until the node has the last copy."""
    begun = time.monotonic()
    conf = bridge("bench0", 77)
    every = (definition(NAMESPACE, f"d{number}", conf) for number in range(count))
    apply(cluster, *every, namespace=NAMESPACE)
    folder = copy_of(cluster.node(NODE), NAMESPACE, "d0").parent
    cluster.wait_for(
        lambda: folder.exists() and len(list(folder.iterdir())) == count, 120, "all copies"
    )
    return time.monotonic() - begun


def _start_pods(cluster: Cluster, count: int) -> list[float]:
    """Start pods, each with a definition; return the milliseconds from ADD to annotation."""
    names = [f"d{number}" for number in range(count)]
    before = len(cluster.control_plane.audit_entries())
    apply(cluster, *(selecting(name, name) for name in names), namespace=NAMESPACE)
    wait_until_ready(cluster, NAMESPACE, *names)
    attached = {name: _attached_at(cluster, name) for name in names}

    patched: dict[str, float] = {}

    def are_patched() -> bool:
        for entry in cluster.control_plane.audit_entries()[before:]:
            target = entry["objectRef"]
            if (entry["verb"], target["resource"]) == ("patch", "pods"):
                answered = datetime.fromisoformat(entry["stageTimestamp"])
                patched[target["name"]] = answered.timestamp()
        return patched.keys() >= attached.keys()

    cluster.wait_for(are_patched, 60, "the network-status of every pod")
    cluster.kubectl("delete", "pod", *names, "-n", NAMESPACE)
    return [1000 * (patched[name] - attached[name]) for name in names]


def _attached_at(cluster: Cluster, pod: str) -> float:
    """Return the time of the last write of the pod's record."""
    record = f"/var/lib/cni/genie/{cluster.sandbox_of(pod, NAMESPACE)}.json"
    return cluster.node(NODE).path(record).stat().st_mtime


def _table(figures: Figures, definitions: int, at_once: int) -> str:
    rows = [
        ("seconds from `kubectl apply` of all to the last copy", figures.seconds_to_copy, ""),
        *((f"{name}, resident, MiB", size, "") for name, size in figures.resident.items()),
        ("both", figures.total, f" {AIM_MEBIBYTES}"),
        *((f"{name}, most since its start, MiB", size, "") for name, size in figures.most.items()),
        ("from ADD to `network-status`, ms: median", figures.wait(0.5), ""),
        ("from ADD to `network-status`, ms: p99", figures.wait(0.99), f" {AIM_MILLISECONDS}"),
        ("from ADD to `network-status`, ms: most", figures.waits[-1], ""),
    ]
    return "\n".join([
        f"| with {definitions} definitions | measured | aim |",
        "|---|---|---|",
        *(f"| {what} | {figure:.0f} |{aim} |" for what, figure, aim in rows),
        "",
        f"- {len(figures.waits)} pods with one definition each, {at_once} at a time.",
        f"- {machine()}.",
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
