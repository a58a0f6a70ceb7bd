"""The objects ``networks.cni-genie.io``, which follow the nodes' labels and the default network.

Every :data:`INTERVAL` seconds, the replica that holds the Lease compares the objects with the
informer caches, and writes what differs. So an object that was deleted or changed by hand is
restored, and no network is written more often, however often its nodes change. A new object takes
two requests, because its status is a subresource.

While the custom resource does not exist or may not be read, nothing happens until it does.
Admission does not depend on any of this: readiness does not wait for the caches of this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from dispatcher import keys
from dispatcher.annotation import BLANKS
from dispatcher.kube import json_patch
from dispatcher.kube.cache import WatchCache
from dispatcher.kube.client import object_path
from dispatcher.kube.errors import CONFLICT, NOT_FOUND, KubeError
from webhook.network_objects import (
    NETWORKS,
    CreateObject,
    DeleteObject,
    changes,
    names,
    parse_object,
    statuses,
)
from webhook.node_index import merge_nodes
from webhook.reconcile_loop import ReconcileLoop

if TYPE_CHECKING:
    from collections.abc import Callable

    from dispatcher.kube.client import KubeClient
    from dispatcher.kube.lease import Lease
    from webhook.network_objects import NetworkChange, NetworkStatus
    from webhook.snapshot import NodeNetworks

INTERVAL = 10.0
"""Seconds between two reconciliations, at least."""

WRITE_INTERVAL = 0.05
"""Seconds between writes: 20 a second, also if a node invents hundreds of networks."""

SYNC_INTERVAL = 0.5
"""Seconds between two looks at whether the caches have been filled."""

STOP_SECONDS = 2.0
"""Seconds to wait for the thread at the end, before the Lease is released."""

SETTINGS = "genie"
"""Name of the ConfigMap with the cluster's settings, in Genie's namespace."""

DEFAULT_KEY = "default-network"

KIND = "Network"

STALE = frozenset({NOT_FOUND, CONFLICT})
"""Statuses of a write that another writer made superfluous, or the end of the custom resource."""

log = structlog.get_logger("networks")


class NetworkReconciler:
    """Reconciles the objects, in a thread of its own.

    *nodes* is the cache of nodes, *listed* the setting ``networks``. ``count(result)`` is called
    for each change, with ``done``, ``stale`` (the object has changed since) or ``failed``, which
    also counts a Lease that can be neither read nor written.
    """

    def __init__(
        self,
        kube: KubeClient,
        nodes: WatchCache[NodeNetworks],
        lease: Lease,
        *,
        namespace: str,
        listed: tuple[str, ...],
        count: Callable[[str], None],
    ) -> None:
        self._kube = kube
        self._nodes = nodes
        self._listed = listed
        self._lease = lease
        self._count = count
        self._objects = WatchCache(kube, NETWORKS, keep=parse_object, metadata_only=False)
        self._defaults = WatchCache(
            kube,
            f"/api/v1/namespaces/{namespace}/configmaps",
            keep=_default_network,
            query={"fieldSelector": f"metadata.name={SETTINGS}"},
            metadata_only=False,
        )
        self._reconciled: tuple[Any, ...] = ()
        self._loop = ReconcileLoop("networks", self.reconcile, interval=(INTERVAL, 1.2 * INTERVAL))

    def start(self) -> None:
        """Start the thread and the caches."""
        self._objects.start()
        self._defaults.start()
        self._loop.wake()
        self._loop.start()

    def stop(self) -> None:
        """End the thread, and let another replica continue."""
        self._loop.stop()
        self._objects.stop()
        self._defaults.stop()
        self._loop.join(STOP_SECONDS)
        try:
            self._lease.release()
        except KubeError as error:
            log.warning("cannot release the Lease", error=str(error))

    @property
    def is_writer(self) -> bool:
        """Whether this replica holds the Lease."""
        return self._lease.is_held

    @property
    def default_network(self) -> str:
        """The cluster's default network; empty while it is unknown."""
        return next(iter(self._defaults.items.values()), "")

    def reconcile(self) -> None:
        """Bring the objects to what nodes and settings say, if this replica holds the Lease."""
        while not all(cache.synced for cache in (self._nodes, self._objects, self._defaults)):
            if self._loop.pause(SYNC_INTERVAL):
                return
        # A replica that cannot read the objects leaves the Lease to one that can.
        if self._objects.error is not None or not self._hold():
            return

        # A cache replaces its mapping when it changes: with the same three, nothing is to be done.
        inputs = (self._nodes.items, self._objects.items, self._defaults.items)
        if all(map(_is_same, inputs, self._reconciled or (None,) * len(inputs))):
            return

        self._reconciled = ()
        if self._write_all(self._changes()):
            self._reconciled = inputs

    def _hold(self) -> bool:
        try:
            return self._lease.hold()
        except KubeError as error:
            self._count("failed")
            log.warning("cannot hold the Lease, so no network is written", error=str(error))
            return False

    def _changes(self) -> list[NetworkChange]:
        nodes = self._nodes.items.values()
        known = merge_nodes(nodes, self._listed).known
        objects = self._objects.items
        wanted = statuses(nodes, names(known, objects.values()), self.default_network)
        return changes(wanted, objects)

    def _write_all(self, needed: list[NetworkChange]) -> bool:
        """Write *needed*; return whether all went well. Ends early if the Lease is lost."""
        succeeded = True
        for change in needed:
            if not self._hold():
                return False
            succeeded = self._write(change) and succeeded
            if self._loop.pause(WRITE_INTERVAL):
                return False
        return succeeded

    def _write(self, change: NetworkChange) -> bool:
        try:
            self._apply(change)
        except KubeError as error:
            is_stale = error.status in STALE
            self._count("stale" if is_stale else "failed")
            if not is_stale:
                log.warning("cannot write network", network=change.name, error=str(error))
            return False

        self._count("done")
        log.debug("network written", network=change.name, change=type(change).__name__)
        return True

    def _apply(self, change: NetworkChange) -> None:
        path = object_path(NETWORKS, change.name)
        if isinstance(change, DeleteObject):
            self._kube.delete(path)
            return
        if isinstance(change, CreateObject):
            self._kube.create(NETWORKS, _new_object(change))
        self._set_status(path, change.status)

    def _set_status(self, path: str, status: NetworkStatus) -> None:
        # One operation replaces all of it: nothing that somebody added remains.
        self._kube.patch(f"{path}/status", [json_patch.add("/status", status.to_json())])


def _new_object(change: CreateObject) -> dict[str, Any]:
    return {
        "apiVersion": f"{keys.NETWORKS_GROUP}/{keys.NETWORKS_VERSION}",
        "kind": KIND,
        "metadata": {"name": change.name},
        "spec": {"network": change.network},
    }


def _default_network(settings: dict[str, Any]) -> str:
    return str((settings.get("data") or {}).get(DEFAULT_KEY) or "").strip(BLANKS)


def _is_same(one: object, other: object) -> bool:
    return one is other
