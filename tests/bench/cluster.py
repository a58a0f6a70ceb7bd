"""The cluster of the benchmarks that need a real Kubernetes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from tests.devcluster import state
from tests.devcluster.cluster import ONE_NODE, Cluster
from tests.devcluster.genie import install_genie

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextlib.contextmanager
def running(name: str) -> Iterator[Cluster]:
    """Yield the cluster *name* with Genie on one node; take it down unless it existed before.

    Raises :class:`~tests.devcluster.commands.ClusterError`.
    """
    existed = state.load(name) is not None
    cluster = Cluster.up(name, ONE_NODE)
    try:
        install_genie(cluster)
        yield cluster
    finally:
        if not existed:
            cluster.down()


def is_ready(value: Mapping[str, Any]) -> bool:
    """Return whether a node or a pod has the condition Ready."""
    conditions = value["status"].get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
