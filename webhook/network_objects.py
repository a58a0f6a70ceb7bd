"""The objects ``networks.cni-genie.io``: what each should say, and what has to be written for it.

Pure functions. :func:`statuses` counts nodes, :func:`changes` compares the result with the objects
at the API server.

An example: weave on two nodes of three, of which one can attach it now:

    metadata: {name: weave}
    spec: {network: weave, description: "written by an administrator, never by the webhook"}
    status:
      readyNodes: 1
      configuredNodes: 2
      totalNodes: 3
      default: false
      pluginTypes: [weave-net, portmap]
      columns: {ready: 1/3, plugins: "weave-net,portmap"}

Rules:

- A network that a pod may name has an object; any other object is deleted, unless somebody has
  described it.
- The object's name follows from the network's (:func:`object_name`).
- Nodes may publish different plugin types for a network: those of most nodes count, so one node
  cannot change what the cluster reads.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from dispatcher import keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from webhook.snapshot import NodeNetworks

NETWORKS = f"/apis/{keys.NETWORKS_GROUP}/{keys.NETWORKS_VERSION}/networks"
"""Path of the collection."""

HASH_LENGTH = 10
"""Hexadecimal digits of the hash in a name."""

_LABEL = re.compile("[a-z0-9]([-a-z0-9]*[a-z0-9])?")


class NetworkStatus(NamedTuple):
    """What is known of one network: numbers of nodes, and the plugin types of its chain.

    ``configured`` nodes have the network, ``ready`` ones can attach it now.
    """

    ready: int = 0
    configured: int = 0
    total: int = 0
    is_default: bool = False
    plugin_types: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the object's ``status``."""
        return {
            "readyNodes": self.ready,
            "configuredNodes": self.configured,
            "totalNodes": self.total,
            "default": self.is_default,
            "pluginTypes": list(self.plugin_types),
            # kubectl prints one field per column, and of a list its first item.
            "columns": {
                "ready": f"{self.ready}/{self.total}",
                "plugins": ",".join(self.plugin_types),
            },
        }


class NetworkObject(NamedTuple):
    """An object at the API server; ``status`` as it is there, None if there is none."""

    name: str
    network: str
    is_described: bool
    status: Any


class CreateObject(NamedTuple):
    """Create the object of a network, then set its status."""

    name: str
    network: str
    status: NetworkStatus


class SetStatus(NamedTuple):
    """Replace the status of an object."""

    name: str
    status: NetworkStatus


class DeleteObject(NamedTuple):
    """Delete an object."""

    name: str


NetworkChange = CreateObject | SetStatus | DeleteObject


def object_name(network: str) -> str:
    """Return the name of the object of *network*, a valid DNS-1123 name.

    A network whose name is a DNS-1123 label has an object of that name. For any other the name is
    a slug, a dot and a hash; no label contains a dot, so the two cannot be equal.
    """
    if _LABEL.fullmatch(network):
        return network
    slug = network.lower().replace(".", "-").replace("_", "-")
    return f"{slug}.{hashlib.sha256(network.encode()).hexdigest()[:HASH_LENGTH]}"


def parse_object(item: Mapping[str, Any]) -> NetworkObject:
    """Return what is needed of an object of the API server."""
    spec = item.get("spec") or {}
    return NetworkObject(
        str(item["metadata"]["name"]),
        str(spec.get("network") or ""),
        bool(spec.get("description")),
        item.get("status"),
    )


def statuses(
    nodes: Iterable[NodeNetworks], names: Iterable[str], default: str
) -> dict[str, NetworkStatus]:
    """Return the status of each network in *names*; *default* is the cluster's, or empty."""
    # Most nodes are equal: thousands of nodes have a handful of different values.
    distinct = Counter(nodes)
    ready, configured = Counter[str](), Counter[str]()
    chains: defaultdict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for node, number in distinct.items():
        for name, is_attachable in node.pairs:
            configured[name] += number
            ready[name] += number * is_attachable
        for name, types in node.chains:
            chains[name][types] += number

    total = distinct.total()
    return {
        name: NetworkStatus(
            ready[name], configured[name], total, name == default, _most_common(chains.get(name))
        )
        for name in names
    }


def _most_common(chains: Mapping[tuple[str, ...], int] | None) -> tuple[str, ...]:
    return min(chains, key=lambda chain: (-chains[chain], chain)) if chains else ()


def names(known: Iterable[str], objects: Iterable[NetworkObject]) -> frozenset[str]:
    """Return the networks that have an object: the *known* ones, and those that are described."""
    described = (
        each.network
        for each in objects
        if each.is_described and each.name == object_name(each.network)
    )
    return frozenset(known).union(described)


def changes(
    wanted: Mapping[str, NetworkStatus], objects: Mapping[str, NetworkObject]
) -> list[NetworkChange]:
    """Return the changes that bring *objects* to the *wanted* networks, in order of their names."""
    # Two networks with one hash would take turns in one object: the first by name has it.
    networks = {object_name(network): network for network in sorted(wanted, reverse=True)}
    needed: list[NetworkChange] = [
        CreateObject(name, network, wanted[network])
        for name, network in networks.items()
        if name not in objects
    ]
    for name, found in objects.items():
        if networks.get(name) == found.network:
            status = wanted[found.network]
            if found.status != status.to_json():
                needed.append(SetStatus(name, status))
        elif not found.is_described:
            needed.append(DeleteObject(name))
    return sorted(needed, key=lambda change: change.name)
