"""Namespace and networks of the cluster, as values that a decision is made from.

Both are parsed from object metadata alone. They are immutable: a decision uses the ones that it
started with, whatever happens to the caches meanwhile.

An example: two nodes, and ``GENIE_NETWORKS=gpu``, a network of nodes that do not exist yet.

    node  labels ``network.cni-genie.io/…``  annotation ``cni-genie.io/plugin-types``
    n1    canal=true, weave=true             canal=calico;weave=weave-net
    n2    canal=true, weave=false            canal=calico;weave=weave-net

    ClusterNetworks(
        known={"canal", "weave", "gpu"},
        present={"canal", "weave"},
        plugin_types=({"canal": ("calico",), "weave": ()},
                      {"canal": ("calico",), "weave": ("weave-net",)}),
        promised={},
        multus={"multus"},
        dropped_count=0,
        nodes={"canal": NodeCount(2, 2), "weave": NodeCount(1, 2)},
    )

``weave`` is present because n1 can attach it; on n2 it has no plugin types at present. There are
rules for both plugins. ``gpu`` is not promised: there are no plugin types that it could conflict
with. No node has a network ``multus``, so that name would mean Multus.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from dispatcher import keys, plugin_rules, plugin_types
from dispatcher.annotation import BLANKS, is_network_name, split_list
from webhook.limits import parse_limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    PluginTypes = Mapping[str, tuple[str, ...]]
    """The networks of a node, each with its plugin types for which there are rules.

    A network that the node cannot attach at present has none. Equal nodes share one value.
    """

MULTUS = "multus"
"""Plugin type of Multus, and the name of its network where no node publishes its plugin type."""

SCHEDULING_MODES = ("required", "preferred", "off")

HOST_PORTS_MODES = ("allow", "deny")

MAX_PER_NODE = 256
"""Limit of the networks of one node, whose kubelet can give it thousands of labels."""

MAX_KNOWN = 1024
"""Limit of the networks of all nodes; those that most nodes have are kept."""


class Namespace(NamedTuple):
    """A namespace, as far as Genie is concerned.

    ``default`` is as written, not normalised; empty if there is none. So is ``choose``, the list of
    networks to choose from. For one pod, a choice may have become its ``default`` (``is_choice``),
    with a ``choice_warning``: see :mod:`webhook.network_choice`. ``allowed`` is None without
    an allow-list. ``labelled`` says whether the label for the webhook's selector is there.
    ``scheduling`` is empty without the annotation. ``max_attachments`` and ``max_per_network`` are
    None if the cluster's limits apply. ``allows_host_ports`` says whether pods may ask for port
    mappings of a NetworkAttachmentDefinition.
    """

    name: str = ""
    default: str = ""
    allowed: tuple[str, ...] | None = None
    scheduling: str = ""
    labelled: bool = False
    terminating: bool = False
    max_attachments: int | None = None
    max_per_network: int | None = None
    allows_host_ports: bool = False
    choose: str = ""
    is_choice: bool = False
    choice_warning: str = ""

    @property
    def choices(self) -> tuple[str, ...]:
        """The networks to choose from, in order."""
        return split_list(self.choose)

    @property
    def fills_in(self) -> bool:
        """Whether pods that name no network get one at admission."""
        return bool(self.default or self.choose)

    @property
    def label_is_right(self) -> bool:
        """Whether the label agrees with the annotations."""
        return self.labelled == self.fills_in

    def scheduling_or(self, setting: str) -> str:
        """Return the namespace's scheduling mode; *setting* if it has none, or an unknown one.

        An unknown word can be written while no webhook runs. To treat it as "off" would schedule
        pods to nodes where they cannot start.
        """
        return self.scheduling if self.scheduling in SCHEDULING_MODES else setting


class NodeCount(NamedTuple):
    """How many nodes can attach a network now, of those that have its label with any value."""

    attachable: int
    labelled: int


NO_NODES = NodeCount(0, 0)


class ClusterNetworks(NamedTuple):
    """The networks of the cluster: ``known`` by label or setting, ``present`` on some node.

    ``nodes`` has the number of nodes of each network that some node has.
    ``plugin_types`` has one entry for each set of equal nodes, reduced to the plugins for which
    there are rules. ``promised`` has those of these networks that the setting names: nodes that do
    not exist yet may attach them. ``multus`` are the networks that some node attaches with Multus.
    ``dropped_count`` is the number of networks beyond the limits.
    """

    known: frozenset[str] = frozenset()
    present: frozenset[str] = frozenset()
    plugin_types: tuple[PluginTypes, ...] = ()
    promised: frozenset[str] = frozenset()
    multus: frozenset[str] = frozenset({MULTUS})
    dropped_count: int = 0
    nodes: Mapping[str, NodeCount] = MappingProxyType({})

    def have_multus(self, names: Iterable[str]) -> bool:
        """Tell whether some node attaches one of *names* with Multus."""
        return not self.multus.isdisjoint(names)


class NodeNetworks(NamedTuple):
    """The networks of one node: ``pairs`` of a name and whether it is attachable now.

    ``plugin_types`` has the attachable networks that use plugins for which there are rules, with
    these plugins; ``chains`` has all attachable networks whose plugin types the node publishes.
    ``multus`` has the networks that use the plugin ``multus``, and a network named ``multus``
    whose plugin type is not published.
    ``dropped`` has the networks beyond :data:`MAX_PER_NODE`, at most as many again.
    """

    pairs: frozenset[tuple[str, bool]] = frozenset()
    plugin_types: frozenset[tuple[str, tuple[str, ...]]] = frozenset()
    multus: frozenset[str] = frozenset()
    dropped: frozenset[str] = frozenset()
    chains: frozenset[tuple[str, tuple[str, ...]]] = frozenset()


def parse_namespace(namespace: Mapping[str, Any]) -> Namespace:
    """Return what Genie needs of a Namespace object; its metadata is enough."""
    metadata = namespace.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    default = annotations.get(keys.ANNOTATION) or ""
    allowed = annotations.get(keys.ALLOWED)
    choose = annotations.get(keys.CHOOSE) or ""
    return Namespace(
        name=metadata.get("name") or "",
        default=default if default.strip(BLANKS) else "",
        allowed=None if allowed is None else split_list(allowed),
        scheduling=(annotations.get(keys.SCHEDULING) or "").strip(BLANKS),
        labelled=(metadata.get("labels") or {}).get(keys.DEFAULTED) == "true",
        terminating=bool(metadata.get("deletionTimestamp")),
        max_attachments=parse_limit(annotations.get(keys.MAX_ATTACHMENTS) or ""),
        max_per_network=parse_limit(annotations.get(keys.MAX_PER_NETWORK) or ""),
        choose=choose if choose.strip(BLANKS) else "",
        allows_host_ports=(annotations.get(keys.HOST_PORTS) or "").strip(BLANKS) == "allow",
    )


def parse_node(node: Mapping[str, Any]) -> NodeNetworks:
    """Return the networks in a Node's labels, with the plugin types of its annotation.

    If there are too many, the attachable ones are kept.
    """
    metadata = node.get("metadata") or {}
    labels = metadata.get("labels") or {}
    prefix = keys.NETWORK_LABEL
    named = [
        (key[len(prefix) :], value == "true")
        for key, value in labels.items()
        if key.startswith(prefix) and is_network_name(key[len(prefix) :])
    ]
    if len(named) > MAX_PER_NODE:
        named.sort(key=lambda pair: (not pair[1], pair[0]))
    pairs = frozenset(named[:MAX_PER_NODE])
    types = plugin_types.decode((metadata.get("annotations") or {}).get(keys.PLUGIN_TYPES) or "")
    chains = frozenset((name, types[name]) for name, ready in pairs if ready and name in types)
    return NodeNetworks(
        pairs,
        _limited_types(chains),
        frozenset(name for name, _ in pairs if MULTUS in types.get(name, (name,))),
        frozenset(name for name, _ in named[MAX_PER_NODE : 2 * MAX_PER_NODE]),
        chains,
    )


def _limited_types(
    chains: Iterable[tuple[str, tuple[str, ...]]],
) -> frozenset[tuple[str, tuple[str, ...]]]:
    limited = (
        (name, tuple(sorted(plugin_rules.LIMITED.intersection(types)))) for name, types in chains
    )
    return frozenset((name, limited_types) for name, limited_types in limited if limited_types)
