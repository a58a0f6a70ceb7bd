"""The API server that is away, and etcd that is restored from a backup."""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from typing import TYPE_CHECKING

from tests.cluster.support.admission import replica_metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster


@contextlib.contextmanager
def api_server_down(cluster: Cluster) -> Iterator[None]:
    """Stop the API server until the end of the block; see also `_wait_for_contact`."""
    cluster.control_plane.stop("kube-apiserver")
    try:
        yield
    finally:
        cluster.control_plane.start("kube-apiserver")
        _wait_for_contact(cluster)


@contextlib.contextmanager
def etcd_restored(cluster: Cluster) -> Iterator[None]:
    """Make a backup of etcd, and restore it after the block.

    As etcd's documentation asks, all components of Kubernetes are restarted with it. Genie's are
    not.
    """
    control_plane = cluster.control_plane
    data = cluster.layout.control_plane / "etcd"
    backup = data.with_name("etcd-backup")
    control_plane.stop("etcd")
    shutil.copytree(data, backup)
    control_plane.start("etcd")
    control_plane.wait_until_ready()
    try:
        yield
    finally:
        for name in ("kube-apiserver", "etcd"):
            control_plane.stop(name)
        shutil.rmtree(data)
        backup.rename(data)
        for name in ("etcd", "kube-apiserver"):
            control_plane.start(name)
        for name in ("kube-controller-manager", "kube-scheduler"):
            control_plane.stop(name)
            control_plane.start(name)
        for node in cluster.nodes.values():
            for service in ("kube-proxy", "kubelet"):
                node.restart(service)
        _wait_for_contact(cluster)


def _wait_for_contact(cluster: Cluster) -> None:
    """Wait until the webhook follows the API server again, which has just returned.

    Before that it cannot look up a new namespace, and leaves its pods to the policies.
    """
    returned = time.monotonic()
    ages = [f"genie_webhook_{kind}_cache_age_seconds" for kind in ("namespace", "node")]

    def is_followed() -> bool:
        elapsed = time.monotonic() - returned
        metrics = replica_metrics(cluster)
        return all(each.get(age, math.inf) < elapsed for each in metrics for age in ages)

    cluster.wait_for(is_followed, 120, "the webhook to follow the API server")
