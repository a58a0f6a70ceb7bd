"""The cluster of the benchmarks that need a real Kubernetes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from tests.devcluster import state
from tests.devcluster.cluster import ONE_NODE, Cluster
from tests.devcluster.genie import install_genie

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


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


def is_ready(value: Mapping[str, Any]) -> bool:
    """Return whether a node or a pod has the condition Ready."""
    conditions = value["status"].get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
