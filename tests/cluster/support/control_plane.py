"""The API server that is away, and etcd that is restored from a backup."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster


@contextlib.contextmanager
def api_server_down(cluster: Cluster) -> Iterator[None]:
    """Stop the API server until the end of the block."""
    cluster.control_plane.stop("kube-apiserver")
    try:
        yield
    finally:
        cluster.control_plane.start("kube-apiserver")


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
