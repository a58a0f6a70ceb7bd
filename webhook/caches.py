"""Namespaces and nodes, as the decisions see them: from watch caches of metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from dispatcher.kube.cache import WatchCache
from webhook.snapshot import (
    MAX_PER_NODE,
    Namespace,
    Networks,
    NodeNetworks,
    all_networks,
    namespace_facts,
    node_networks,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from dispatcher.kube.client import KubeClient

NAMESPACES = "/api/v1/namespaces"
NODES = "/api/v1/nodes"

MAX_INTERNED = 1024
"""Kinds of nodes that are remembered: a node that changes for ever fills no memory."""

log = structlog.get_logger("caches")


class Caches:
    """What is known of the cluster. ``listed`` are the networks of the setting.

    ``on_namespace(name, facts)`` is called after each change, from the cache's thread.
    """

    def __init__(
        self,
        kube: KubeClient,
        listed: tuple[str, ...],
        on_namespace: Callable[[str, Namespace | None], None] | None = None,
    ) -> None:
        self._listed = listed
        self._interned: dict[NodeNetworks, NodeNetworks] = {}
        self.namespaces_cache = WatchCache(
            kube, NAMESPACES, keep=namespace_facts, on_change=on_namespace
        )
        self.nodes_cache = WatchCache(kube, NODES, keep=self._keep_node)
        self._networks_of: Mapping[str, NodeNetworks] | None = None
        self._networks = Networks()

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
    def networks(self) -> Networks:
        """The networks of the cluster, computed again after the nodes have changed."""
        nodes = self.nodes_cache.items
        if nodes is not self._networks_of:
            self._networks = all_networks(nodes.values(), self._listed)
            self._networks_of = nodes
        return self._networks

    @property
    def dropped(self) -> int:
        """How many networks were left out because a node, or all together, name too many."""
        nodes = self.nodes_cache.items.values()
        return self.networks.dropped + sum(node.dropped for node in nodes)

    def _keep_node(self, node: dict[str, Any]) -> NodeNetworks:
        # Nodes of one kind have the same networks; the cache then holds one set for all.
        found = node_networks(node)
        if found in self._interned:
            return self._interned[found]
        if found.dropped:
            log.warning(
                "a node names too many networks",
                node=(node.get("metadata") or {}).get("name"),
                limit=MAX_PER_NODE,
                dropped=found.dropped,
            )
        if len(self._interned) >= MAX_INTERNED:
            self._interned.clear()
        return self._interned.setdefault(found, found)
