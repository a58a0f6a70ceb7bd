"""Namespaces and nodes, as the decisions see them: from watch caches of metadata."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from dispatcher.kube.cache import WatchCache
from webhook.snapshot import (
    MAX_PER_NODE,
    ClusterNetworks,
    Namespace,
    NodeNetworks,
    merge_nodes,
    parse_namespace,
    parse_node,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from dispatcher.kube.client import KubeClient

NAMESPACES = "/api/v1/namespaces"
NODES = "/api/v1/nodes"

MAX_INTERNED = 1024
"""Kinds of nodes that are remembered: a node that changes for ever fills no memory."""

LOGGED_AGAIN_SECONDS = 3600.0
"""How long a node that names too many networks is not logged again, however often it changes."""

log = structlog.get_logger("caches")


class InformerCaches:
    """What is known of the cluster. ``listed`` are the networks of the setting.

    ``on_namespace(name, facts)`` is called after each change, from the cache's thread.
    """

    def __init__(
        self,
        kube: KubeClient,
        listed: tuple[str, ...],
        on_namespace: Callable[[str, Namespace | None], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listed = listed
        self._clock = clock
        self._interned: dict[NodeNetworks, NodeNetworks] = {}
        self._logged_at: dict[str, float] = {}
        self.namespaces_cache = WatchCache(
            kube, NAMESPACES, keep=parse_namespace, on_change=on_namespace
        )
        self.nodes_cache = WatchCache(kube, NODES, keep=self._keep_node)
        self._networks_of: Mapping[str, NodeNetworks] | None = None
        self._networks = ClusterNetworks()

    def start(self) -> None:
        """Begin to fill the caches."""
        self.namespaces_cache.start()
        self.nodes_cache.start()

    def stop(self) -> None:
        """Stop following the API server."""
        self.namespaces_cache.stop()
        self.nodes_cache.stop()

    @property
    def synced(self) -> bool:
        """Whether both collections have been read completely once."""
        return self.namespaces_cache.synced and self.nodes_cache.synced

    def namespace(self, name: str) -> Namespace | None:
        """Return the facts of the namespace *name*, None if it is not cached (yet)."""
        return self.namespaces_cache.items.get(name)

    @property
    def networks(self) -> ClusterNetworks:
        """The networks of the cluster, computed again after the nodes have changed."""
        nodes = self.nodes_cache.items
        if nodes is not self._networks_of:
            self._networks = merge_nodes(nodes.values(), self._listed)
            self._networks_of = nodes
            if self._networks.dropped and self._may_log(""):
                log.warning("networks are unknown", left_out=self._networks.dropped)
        return self._networks

    def _keep_node(self, node: dict[str, Any]) -> NodeNetworks:
        found = parse_node(node)
        name = (node.get("metadata") or {}).get("name") or ""
        if found.dropped and self._may_log(name):
            log.warning("a node names too many networks", node=name, limit=MAX_PER_NODE)
        # Nodes of one kind have the same networks; the cache then holds one set for all.
        if found in self._interned:
            return self._interned[found]
        if len(self._interned) >= MAX_INTERNED:
            self._interned.clear()
        return self._interned.setdefault(found, found)

    def _may_log(self, name: str) -> bool:
        """Tell whether *name* was not logged in the last hour, and remember that it is now."""
        now = self._clock()
        if now - self._logged_at.get(name, float("-inf")) < LOGGED_AGAIN_SECONDS:
            return False
        if len(self._logged_at) >= MAX_INTERNED:
            self._logged_at.clear()
        self._logged_at[name] = now
        return True
