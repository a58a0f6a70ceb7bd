"""The networks of all nodes, counted: one node that changes costs the same in any cluster.

A cluster of 5,000 nodes changes all the time, and a decision needs the networks of all nodes. So
:class:`NodeIndex` counts on how many nodes something is, and a change of a node subtracts its old
values and adds its new ones. :attr:`NodeIndex.networks` reads the counts: its cost depends on the
number of networks, not of nodes. :func:`merge_nodes` is the same for a list of nodes, all at once.

Rules:

- The order of the changes does not matter: an index always equals one of the nodes that remain.
- A cache that has listed its nodes anew replaces all counts at once. Half a list would lack
  networks, and pods that name them would be refused.
- The cache's thread changes the index, and reviews read it, so both hold a lock. It is held for
  one change, or for one pass over the networks.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from webhook.snapshot import MAX_KNOWN, MULTUS, ClusterNetworks, NodeCount, NodeNetworks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TypeVar

    from webhook.snapshot import PluginTypes

    T = TypeVar("T")

Limited = tuple[tuple[str, tuple[str, ...]], ...]
"""Of one node, the networks for which there are rules, in order, with these plugin types."""


class NodeIndex:
    """The counts; *listed* are the networks of the setting. Safe to use from several threads."""

    def __init__(self, listed: Iterable[str] = ()) -> None:
        self._listed = tuple(listed)
        self._lock = threading.Lock()
        self._counts = _Counts()
        self._networks: ClusterNetworks | None = None

    def replace(self, nodes: Iterable[NodeNetworks]) -> None:
        """Count *nodes* instead of all others."""
        counts = _Counts()
        for node, number in Counter(nodes).items():
            counts.add(node, number)
        with self._lock:
            self._counts, self._networks = counts, None

    def change(self, old: NodeNetworks | None, new: NodeNetworks | None) -> None:
        """Count *new* instead of *old*. None stands for a node that does not exist."""
        with self._lock:
            if old is not None:
                self._counts.add(old, -1)
            if new is not None:
                self._counts.add(new, 1)
            self._networks = None

    @property
    def networks(self) -> ClusterNetworks:
        """The networks of the cluster: the same value until a node changes."""
        with self._lock:
            if self._networks is None:
                self._networks = self._counts.networks(self._listed)
            return self._networks


def merge_nodes(nodes: Iterable[NodeNetworks], listed: Iterable[str] = ()) -> ClusterNetworks:
    """Return the networks of all *nodes*, and those in *listed*, the setting."""
    index = NodeIndex(listed)
    index.replace(nodes)
    return index.networks


class _Counts:
    """On how many nodes something is. What is on none has no entry."""

    def __init__(self) -> None:
        self._nodes = Counter[NodeNetworks]()
        self._labelled = Counter[str]()
        self._attachable = Counter[str]()
        self._multus = Counter[str]()
        self._dropped = Counter[str]()
        self._limited = Counter[str]()
        """Networks that some node attaches with a plugin for which there are rules."""

        self._plugin_types = Counter[Limited]()
        self._counted_for = frozenset[str]()
        """The networks that the keys of ``_plugin_types`` contain."""

    def add(self, node: NodeNetworks, number: int) -> None:
        """Add *number* nodes that are equal to *node*; a negative number removes them."""
        _add(self._nodes, (node,), number)
        _add(self._labelled, (name for name, _ in node.pairs), number)
        _add(self._attachable, (name for name, is_ready in node.pairs if is_ready), number)
        _add(self._multus, node.multus, number)
        _add(self._dropped, node.dropped, number)
        _add(self._limited, (name for name, _ in node.plugin_types), number)
        _add(self._plugin_types, (_limited_of(node, self._counted_for),), number)

    def networks(self, listed: Iterable[str]) -> ClusterNetworks:
        """Return what is known of the nodes, and the networks in *listed*."""
        named = self._labelled.keys()
        known = self._most_common() if len(named) > MAX_KNOWN else frozenset(named)
        limited = known & self._limited.keys()
        known_or_listed = known.union(listed)
        beyond = (named | self._dropped.keys()) - known_or_listed
        return ClusterNetworks(
            known=known_or_listed,
            present=known & self._attachable.keys(),
            plugin_types=self._types_of(limited),
            promised=limited.intersection(listed),
            multus=frozenset({MULTUS} - named).union(self._multus),
            dropped_count=len(beyond),
            nodes={name: NodeCount(self._attachable[name], self._labelled[name]) for name in known},
        )

    def _types_of(self, limited: frozenset[str]) -> tuple[PluginTypes, ...]:
        """Return the *limited* networks, for which there are rules, of each set of equal nodes."""
        if limited != self._counted_for:  # a network has come or gone: rare
            self._counted_for = limited
            self._plugin_types.clear()
            for node, number in self._nodes.items():
                _add(self._plugin_types, (_limited_of(node, limited),), number)
        return tuple(dict(each) for each in sorted(self._plugin_types) if each)

    def _most_common(self) -> frozenset[str]:
        """Return the names that most nodes have: invented names of one displace no others."""
        count: Mapping[str, int] = self._labelled
        ranked = sorted(count, key=lambda name: (-count[name], name))
        return frozenset(ranked[:MAX_KNOWN])


def _add(counter: Counter[T], items: Iterable[T], number: int) -> None:
    for item in items:
        counter[item] += number
        if not counter[item]:
            del counter[item]


def _limited_of(node: NodeNetworks, limited: frozenset[str]) -> Limited:
    if not limited:
        return ()
    types = dict(node.plugin_types)
    names = sorted(name for name, _ in node.pairs if name in limited)
    return tuple((name, types.get(name, ())) for name in names)
