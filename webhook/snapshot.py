"""What a decision may know: the facts of one namespace and the networks of the cluster.

Both are read from object metadata alone. They are values: a decision keeps the ones it
started with, whatever the caches do meanwhile.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from dispatcher import keys
from dispatcher.annotation import BLANKS, is_network_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SCHEDULING_MODES = ("required", "preferred", "off")

MAX_PER_NODE = 256
"""Networks that one node may make known. Its own kubelet can give it thousands of labels."""

MAX_KNOWN = 1024
"""Networks that all nodes together may make known: those that the most nodes have."""


class Namespace(NamedTuple):
    """A namespace's wishes. ``allowed`` None: any network; ``default`` empty: none.

    ``default`` is as written, not normalised; ``labelled`` tells whether the label for the
    webhook's selector is there; ``scheduling`` is empty where the annotation is missing.
    """

    name: str = ""
    default: str = ""
    allowed: tuple[str, ...] | None = None
    scheduling: str = ""
    labelled: bool = False
    terminating: bool = False

    @property
    def label_is_right(self) -> bool:
        """Whether the label says what the annotation says."""
        return self.labelled == bool(self.default)

    def scheduling_or(self, setting: str) -> str:
        """Return the namespace's wish, or *setting*; so too for a word written while we were down.

        To take a word that means nothing for "off" would schedule pods to where they cannot start.
        """
        return self.scheduling if self.scheduling in SCHEDULING_MODES else setting


class Networks(NamedTuple):
    """The networks of the cluster: ``known`` by label or setting, ``present`` on some node.

    ``dropped`` is how many were left out, because the nodes name more than :data:`MAX_KNOWN`.
    """

    known: frozenset[str] = frozenset()
    present: frozenset[str] = frozenset()
    dropped: int = 0


class NodeNetworks(NamedTuple):
    """The networks of one node: ``pairs`` of a name and whether it is attachable now.

    ``dropped`` is how many were left out, because the node names more than :data:`MAX_PER_NODE`.
    """

    pairs: frozenset[tuple[str, bool]]
    dropped: int = 0


def namespace_facts(found: Mapping[str, Any]) -> Namespace:
    """Return the facts of a Namespace object (its metadata is enough)."""
    metadata = found.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    default = annotations.get(keys.ANNOTATION) or ""
    allowed = annotations.get(keys.ALLOWED)
    return Namespace(
        name=metadata.get("name") or "",
        default=default if default.strip(BLANKS) else "",
        allowed=None if allowed is None else parse_allowed(allowed),
        scheduling=(annotations.get(keys.SCHEDULING) or "").strip(BLANKS),
        labelled=(metadata.get("labels") or {}).get(keys.DEFAULTED) == "true",
        terminating=bool(metadata.get("deletionTimestamp")),
    )


def parse_allowed(value: str) -> tuple[str, ...]:
    """Return the names in an allow-list, in order, without blanks and empty items."""
    return tuple(filter(None, (name.strip(BLANKS) for name in value.split(","))))


def node_networks(found: Mapping[str, Any]) -> NodeNetworks:
    """Return the networks that a Node's labels name; of too many, the attachable ones first."""
    labels = (found.get("metadata") or {}).get("labels") or {}
    prefix = keys.NETWORK_LABEL
    pairs = [
        (key[len(prefix) :], value == "true")
        for key, value in labels.items()
        if key.startswith(prefix) and is_network_name(key[len(prefix) :])
    ]
    if len(pairs) > MAX_PER_NODE:
        pairs.sort(key=lambda pair: (not pair[1], pair[0]))
    return NodeNetworks(frozenset(pairs[:MAX_PER_NODE]), max(0, len(pairs) - MAX_PER_NODE))


def all_networks(nodes: Iterable[NodeNetworks], listed: Iterable[str] = ()) -> Networks:
    """Return the union of what *nodes* have and the setting *listed* names."""
    # Nodes of one kind have equal sets: thousands of nodes are a handful of them.
    kinds = Counter(node.pairs for node in nodes)
    pairs = frozenset[tuple[str, bool]]().union(*kinds)
    named = frozenset(name for name, _ in pairs)
    known = named if len(named) <= MAX_KNOWN else _most_common(kinds)
    return Networks(
        known=known | frozenset(listed),
        present=frozenset(name for name, there in pairs if there and name in known),
        dropped=len(named) - len(known),
    )


def _most_common(kinds: Mapping[frozenset[tuple[str, bool]], int]) -> frozenset[str]:
    """Return the names that the most nodes have: a node with invented ones displaces no other's."""
    count = Counter[str]()
    for pairs, nodes in kinds.items():
        for name, _ in pairs:
            count[name] += nodes
    ranked = sorted(count, key=lambda name: (-count[name], name))
    return frozenset(ranked[:MAX_KNOWN])
