"""The benchmarks that need a real Kubernetes: their cluster, and how each of them runs."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.bench import page
from tests.devcluster import state
from tests.devcluster.cluster import ONE_NODE, Cluster
from tests.devcluster.commands import ClusterError
from tests.devcluster.genie import install_genie

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Mapping


def run_benchmark(
    title: str,
    parser: argparse.ArgumentParser,
    measure: Callable[[Cluster, argparse.Namespace], tuple[str, bool]],
    *,
    name: str = "genie-bench",
    prepare: Callable[[Cluster], None] | None = None,
    values: Mapping[str, Any] | None = None,
) -> int:
    """Measure on a cluster, print the figures and write the page; return the exit code.

    *title* is that of the page's part. *measure* gets the cluster and the options of *parser*; it
    returns the figures in Markdown, and whether every aim is met. If one is not, and after a
    ClusterError, the code is 1. The option --name is the cluster (default: *name*); *prepare* and
    *values* are those of :func:`running`.
    """
    parser.add_argument("--name", default=name, help="cluster (default: %(default)s)")
    chosen = parser.parse_args()
    try:
        with running(chosen.name, prepare=prepare, values=values) as cluster:
            figures, is_met = measure(cluster, chosen)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1

    print(figures)
    page.show(title, figures)
    return 0 if is_met else 1


@contextlib.contextmanager
def running(
    name: str,
    *,
    prepare: Callable[[Cluster], None] | None = None,
    values: Mapping[str, Any] | None = None,
) -> Iterator[Cluster]:
    """Yield the cluster *name* with Genie on one node; take it down unless it existed before.

    *prepare* is called before Genie is installed, with these *values* of the chart besides.
    Raises :class:`~tests.devcluster.commands.ClusterError`.
    """
    existed = state.load(name) is not None
    cluster = Cluster.up(name, ONE_NODE)
    try:
        if prepare is not None:
            prepare(cluster)
        install_genie(cluster, values=values)
        yield cluster
    finally:
        if not existed:
            cluster.down()


def machine(load: float | None = None) -> str:
    """Return a remark on this machine; *load* is the load average (default: the present one)."""
    average = os.getloadavg()[0] if load is None else load
    return (
        f"{os.cpu_count()} processors, which the control plane shares; kernel "
        f"{platform.release()}; load average: {average:.1f}; date: {datetime.now(UTC).date()}"
    )


def is_ready(value: Mapping[str, Any]) -> bool:
    """Return whether a node or a pod has the condition Ready."""
    conditions = value["status"].get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
