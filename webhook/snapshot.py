"""What a decision may know: the facts of one namespace and the networks of the cluster.

Both are read from object metadata alone. They are values: a decision keeps the ones it
started with, whatever the caches do meanwhile.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from dispatcher import keys, plugin_rules, plugin_types
from dispatcher.annotation import BLANKS, is_network_name, split_list
from webhook.limits import parse_limit

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

    PluginTypes = Mapping[str, tuple[str, ...]]
    """Of one kind of node: its networks, each with those plugin types that have rules.

    A network that it cannot attach at present has none.
    """

MULTUS = "multus"
"""Plugin type of Multus, and the name of its network where no node says what its plugin is."""

SCHEDULING_MODES = ("required", "preferred", "off")

MAX_PER_NODE = 256
"""Networks that one node may make known. Its own kubelet can give it thousands of labels."""

MAX_KNOWN = 1024
"""Networks that all nodes together may make known: those that the most nodes have."""


class Namespace(NamedTuple):
    """A namespace's wishes. ``allowed`` None: any network; ``default`` empty: none.

    ``default`` is as written, not normalised; ``labelled`` tells whether the label for the
    webhook's selector is there; ``scheduling`` is empty where the annotation is missing;
    ``max_attachments`` and ``max_per_network`` are None where the cluster's limits count.
    """

    name: str = ""
    default: str = ""
    allowed: tuple[str, ...] | None = None
    scheduling: str = ""
    labelled: bool = False
    terminating: bool = False
    max_attachments: int | None = None
    max_per_network: int | None = None

    @property
    def label_is_right(self) -> bool:
        """Whether the label says what the annotation says."""
        return self.labelled == bool(self.default)

    def scheduling_or(self, setting: str) -> str:
        """Return the namespace's wish, or *setting*; so too for a word written while we were down.

        To take a word that means nothing for "off" would schedule pods to where they cannot start.
        """
        return self.scheduling if self.scheduling in SCHEDULING_MODES else setting


class ClusterNetworks(NamedTuple):
    """The networks of the cluster: ``known`` by label or setting, ``present`` on some node.

    ``plugin_types`` has one entry for each kind of node, as far as the rules for plugins need it,
    and ``promised`` has those of its networks that the setting names, for nodes that are to come;
    ``multus`` are the networks that some node attaches with Multus;
    ``dropped`` is how many were left out, because one node or all together name too many.
    """

    known: frozenset[str] = frozenset()
    present: frozenset[str] = frozenset()
    plugin_types: tuple[PluginTypes, ...] = ()
    promised: frozenset[str] = frozenset()
    multus: frozenset[str] = frozenset({MULTUS})
    dropped: int = 0

    def have_multus(self, names: Iterable[str]) -> bool:
        """Tell whether one of *names* is a network of Multus, as far as the nodes tell."""
        return not self.multus.isdisjoint(names)


class NodeNetworks(NamedTuple):
    """The networks of one node: ``pairs`` of a name and whether it is attachable now.

    ``plugin_types`` has those of the attachable ones that use plugins for which there are rules;
    ``multus`` are those that use Multus, or perhaps do: named so, with no plugin type published;
    ``dropped`` are those left out because the node names more than :data:`MAX_PER_NODE`: as many
    more, so that they fill no memory either.
    """

    pairs: frozenset[tuple[str, bool]] = frozenset()
    plugin_types: frozenset[tuple[str, tuple[str, ...]]] = frozenset()
    multus: frozenset[str] = frozenset()
    dropped: frozenset[str] = frozenset()


def parse_namespace(found: Mapping[str, Any]) -> Namespace:
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
        max_attachments=parse_limit(annotations.get(keys.MAX_ATTACHMENTS) or ""),
        max_per_network=parse_limit(annotations.get(keys.MAX_PER_NETWORK) or ""),
    )


def parse_allowed(value: str) -> tuple[str, ...]:
    """Return the names in an allow-list, in order, without blanks and empty items."""
    return split_list(value)


def parse_node(found: Mapping[str, Any]) -> NodeNetworks:
    """Return the networks that a Node's labels name, with what its annotation says of them.

    Of too many, the attachable ones first.
    """
    labels = (found.get("metadata") or {}).get("labels") or {}
    prefix = keys.NETWORK_LABEL
    named = [
        (key[len(prefix) :], value == "true")
        for key, value in labels.items()
        if key.startswith(prefix) and is_network_name(key[len(prefix) :])
    ]
    if len(named) > MAX_PER_NODE:
        named.sort(key=lambda pair: (not pair[1], pair[0]))
    pairs = frozenset(named[:MAX_PER_NODE])
    text = ((found.get("metadata") or {}).get("annotations") or {}).get(keys.PLUGIN_TYPES) or ""
    types = plugin_types.decode(text)
    return NodeNetworks(
        pairs,
        _limited_types(types, {name for name, there in pairs if there}),
        frozenset(name for name, _ in pairs if MULTUS in types.get(name, (name,))),
        frozenset(name for name, _ in named[MAX_PER_NODE : 2 * MAX_PER_NODE]),
    )


def _limited_types(
    types: Mapping[str, Iterable[str]], attachable: Container[str]
) -> frozenset[tuple[str, tuple[str, ...]]]:
    limited = (
        (name, tuple(sorted(plugin_rules.LIMITED.intersection(types[name]))))
        for name in types
        if name in attachable
    )
    return frozenset((name, found) for name, found in limited if found)


def merge_nodes(nodes: Iterable[NodeNetworks], listed: Iterable[str] = ()) -> ClusterNetworks:
    """Return the union of what *nodes* have and the setting *listed* names."""
    # Nodes of one kind have equal values: thousands of nodes are a handful of them.
    kinds = Counter(nodes)
    pairs = frozenset[tuple[str, bool]]().union(*(kind.pairs for kind in kinds))
    named = frozenset(name for name, _ in pairs)
    known = named if len(named) <= MAX_KNOWN else _most_common(kinds)
    limited = known.intersection(name for kind in kinds for name, _ in kind.plugin_types)
    known_or_listed = known.union(listed)
    return ClusterNetworks(
        known=known_or_listed,
        present=frozenset(name for name, there in pairs if there and name in known),
        plugin_types=_plugin_types(kinds, limited),
        promised=limited.intersection(listed),
        multus=frozenset({MULTUS} - named).union(*(kind.multus for kind in kinds)),
        dropped=len(named.union(*(kind.dropped for kind in kinds)) - known_or_listed),
    )


def _plugin_types(
    kinds: Iterable[NodeNetworks], limited: frozenset[str]
) -> tuple[PluginTypes, ...]:
    """Return, once for each kind of node, its *limited* networks: some node has a rule for them."""
    seen = set()
    for kind in kinds if limited else ():
        types = dict(kind.plugin_types)
        names = sorted(name for name, _ in kind.pairs if name in limited)
        seen.add(tuple((name, types.get(name, ())) for name in names))
    return tuple(dict(each) for each in sorted(seen) if each)


def _most_common(kinds: Mapping[NodeNetworks, int]) -> frozenset[str]:
    """Return the names that the most nodes have: a node with invented ones displaces no other's."""
    count = Counter[str]()
    for kind, nodes in kinds.items():
        for name, _ in kind.pairs:
            count[name] += nodes
    ranked = sorted(count, key=lambda name: (-count[name], name))
    return frozenset(ranked[:MAX_KNOWN])
