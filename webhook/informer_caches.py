"""The informer caches of namespaces and nodes, which keep their metadata only."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from dispatcher.kube.cache import WatchCache
from webhook.node_index import NodeIndex
from webhook.snapshot import MAX_PER_NODE, Namespace, NodeNetworks, parse_namespace, parse_node

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dispatcher.kube.client import KubeClient
    from webhook.snapshot import ClusterNetworks

NAMESPACES = "/api/v1/namespaces"
NODES = "/api/v1/nodes"

_WHOLE_CLUSTER = ""
"""Stands for all nodes among the names of nodes with a log interval."""

MAX_INTERNED = 1024
"""Limit of the different sets of networks that are shared between nodes.

Without it a node that changes its labels again and again would fill the memory.
"""

LOG_INTERVAL = 3600.0
"""Seconds between two log lines about one node with too many networks, however often it changes."""

MAX_LOG_INTERVALS = 1024
"""Limit of the nodes whose last log line is remembered.

Node names are unbounded over time: an autoscaler gives every new node another one.
"""

NOT_SYNCED = "the informer caches of namespaces and nodes are not synced yet"

log = structlog.get_logger("caches")


class InformerCaches:
    """What the webhook knows of the cluster. ``listed`` has the networks of the setting.

    ``on_namespace(name, namespace)`` is called after each change, from the cache's thread.
    """

    def __init__(
        self,
        kube: KubeClient,
        listed: tuple[str, ...],
        on_namespace: Callable[[str, Namespace | None], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._interned: dict[NodeNetworks, NodeNetworks] = {}
        self._logged_at: dict[str, float] = {}
        self.namespaces_cache = WatchCache(
            kube, NAMESPACES, keep=parse_namespace, on_change=on_namespace
        )
        self._index = NodeIndex(listed)
        self.nodes_cache = WatchCache(kube, NODES, keep=self._keep_node, index=self._index)

    def start(self) -> None:
        """Begin to list and watch."""
        self.namespaces_cache.start()
        self.nodes_cache.start()

    def stop(self) -> None:
        """Stop to watch."""
        self.namespaces_cache.stop()
        self.nodes_cache.stop()

    @property
    def synced(self) -> bool:
        """Whether both caches have got their first complete list."""
        return self.namespaces_cache.synced and self.nodes_cache.synced

    def namespace(self, name: str) -> Namespace | None:
        """Return the namespace *name*; None if it is not in the cache (yet)."""
        return self.namespaces_cache.items.get(name)

    @property
    def networks(self) -> ClusterNetworks:
        """The networks of the cluster: the same value until a node changes.

        Logs that there are too many of them, at most once per :data:`LOG_INTERVAL`.
        """
        networks = self._index.networks
        if networks.dropped_count and self._start_log_interval(_WHOLE_CLUSTER):
            log.warning(
                "too many networks; some are unknown to the webhook",
                left_out=networks.dropped_count,
            )
        return networks

    def _keep_node(self, node: dict[str, Any]) -> NodeNetworks:
        networks = parse_node(node)
        name = (node.get("metadata") or {}).get("name") or ""
        if networks.dropped and self._start_log_interval(name):
            log.warning("a node has labels for too many networks", node=name, limit=MAX_PER_NODE)

        # Most nodes have the same networks: all of them share one value.
        if networks in self._interned:
            return self._interned[networks]
        if len(self._interned) >= MAX_INTERNED:
            self._interned.clear()
        return self._interned.setdefault(networks, networks)

    def _start_log_interval(self, name: str) -> bool:
        """Tell whether *name* is due for a log line, and start its interval."""
        now = self._clock()
        if now - self._logged_at.get(name, float("-inf")) < LOG_INTERVAL:
            return False
        if len(self._logged_at) >= MAX_LOG_INTERVALS:
            self._logged_at.clear()
        self._logged_at[name] = now
        return True
