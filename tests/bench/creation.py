"""Measure what admission adds to the creation of a pod through the real API server.

Pairs of creations by one client over one connection, in alternating order: the same pod, which
names two networks, once in a namespace where Genie judges it and once in ``kube-system``, which the
webhook's entries and the policies leave out. Both are stored, and neither is ever scheduled. What
counts is the paired difference: both halves of a pair see the same machine at nearly one moment.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from typing import TYPE_CHECKING

from tests.bench.cluster import running
from tests.cluster.support.admission import api, pod, spaces
from tests.devcluster.commands import step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from dispatcher.kube.client import Kube
    from tests.devcluster.cluster import Cluster

SPACE = "bench-creation"
WITH, WITHOUT = (f"/api/v1/namespaces/{name}/pods" for name in (SPACE, "kube-system"))
MARK = {"bench": "creation"}
AIM = 5.0
"""Target for the median of the added time, in milliseconds."""

WARM_UP = 20
"""First pairs, which do not count: connections are opened and expressions compiled."""


def measure(name: str, pairs: int) -> str:
    """Return the figures as Markdown. Raises :class:`~tests.devcluster.commands.ClusterError`.

    A cluster *name* that exists keeps running; otherwise one is started for the measurement.
    """
    with running(name) as cluster, step(f"{pairs} pairs of pods"), _room(cluster) as kube:
        return _table(_times(kube, pairs))


@contextlib.contextmanager
def _room(cluster: Cluster) -> Iterator[Kube]:
    kube = api(cluster)
    with spaces(cluster, {SPACE: {}}):
        try:
            yield kube
        finally:
            for path in (WITH, WITHOUT):
                kube.delete(f"{path}?labelSelector=bench%3Dcreation&gracePeriodSeconds=0")


def _times(kube: Kube, pairs: int) -> list[tuple[float, float]]:
    """Return milliseconds with and without Genie's admission, for each pair."""
    made = pod(" weave , canal ", schedulerName="nobody")
    made["metadata"]["labels"] = MARK
    found = []
    for number in range(WARM_UP + pairs):
        order = (WITH, WITHOUT) if number % 2 else (WITHOUT, WITH)
        took = {path: _create(kube, path, made) for path in order}
        found.append((took[WITH], took[WITHOUT]))
    return found[WARM_UP:]


def _create(kube: Kube, path: str, made: dict[str, Any]) -> float:
    started = time.perf_counter()
    stored = kube.create(path, made)
    took = (time.perf_counter() - started) * 1000
    expected = "weave,canal" if path == WITH else " weave , canal "
    assert stored["metadata"]["annotations"]["cni"] == expected, "the pair is no pair"
    return took


def _table(times: list[tuple[float, float]]) -> str:
    ours, bare = (sorted(side) for side in zip(*times, strict=True))
    added = sorted(mine - other for mine, other in times)
    rows = (("with Genie", ours), ("without", bare), ("added, in pairs", added))
    load = os.getloadavg()[0]
    machine = f"all of Kubernetes on {os.cpu_count()} processors; load average {load:.1f}"
    met = "yes" if statistics.median(added) <= AIM else "no"
    return "\n".join(
        [
            "| one pod creation | median, ms | p95, ms |",
            "|---|---|---|",
            *(
                f"| {name} | {statistics.median(side):.1f} | {side[int(len(side) * 0.95)]:.1f} |"
                for name, side in rows
            ),
            "",
            f"- Aim: at most {AIM:g} ms added in the median; met: {met}.",
            f"- {len(times)} pairs; {machine}.",
        ]
    )
