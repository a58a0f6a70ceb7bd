"""Which network is on which nodes: one row per network, and the nodes that lack it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dispatcher import annotation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cli.facts import NodeFacts, PublishedNetwork
    from webhook.snapshot import Namespace

SHOWN_NODES = 3
"""Nodes that a row names; a cluster may have thousands that lack a network."""


class NetworkSummary(NamedTuple):
    """One network of the cluster, over all nodes."""

    name: str
    ready: tuple[str, ...]
    """Nodes that can attach it."""
    not_ready: tuple[str, ...]
    """Nodes that have it, but cannot attach it at present."""
    absent: tuple[str, ...]
    """Nodes without a configuration of this name."""
    types: tuple[str, ...]
    """Plugin types of its chain, where nodes publish them."""
    is_default: bool
    """Whether pods that ask for nothing get it."""
    default_of: tuple[str, ...]
    """Namespaces whose default names it first."""
    allowed_in: tuple[str, ...] | None
    """Namespaces that allow it by name; None where no namespace limits its networks."""


def summarise(
    nodes: Iterable[NodeFacts], namespaces: Iterable[Namespace], default: str
) -> list[NetworkSummary]:
    """Return the networks of *nodes*, in lexical order. *default* is the cluster's, or empty."""
    nodes, namespaces = list(nodes), list(namespaces)
    names = sorted({name for node in nodes for name in node.networks})
    return [_network(name, nodes, namespaces, default) for name in names]


def _network(
    name: str, nodes: list[NodeFacts], namespaces: list[Namespace], default: str
) -> NetworkSummary:
    types = next((node.types[name] for node in nodes if node.types.get(name)), ())
    limited = [each for each in namespaces if each.allowed is not None]
    # None was left out above; "or ()" is for mypy, which does not see that.
    allowed_in = tuple(each.name for each in limited if name in (each.allowed or ()))
    return NetworkSummary(
        name=name,
        ready=tuple(node.name for node in nodes if node.networks.get(name) is True),
        not_ready=tuple(node.name for node in nodes if node.networks.get(name) is False),
        absent=tuple(node.name for node in nodes if name not in node.networks),
        types=types,
        is_default=name == default,
        default_of=tuple(each.name for each in namespaces if _first_network(each.default) == name),
        allowed_in=allowed_in if limited else None,
    )


def _first_network(default: str) -> str | None:
    """Return the first network of a namespace's default; None if it is blank or invalid."""
    try:
        selections = annotation.parse(default)
    except annotation.InvalidAnnotationError:
        return None
    return selections[0].network if selections else None


def reason(network: NetworkSummary) -> str:
    """Say on which nodes pods cannot have *network*, and why; empty where all can."""
    parts = []
    if network.not_ready:
        parts.append(f"not attachable on {shorten(network.not_ready)}")
    if network.absent:
        parts.append(f"no configuration on {shorten(network.absent)}")
    return "; ".join(parts)


def published_reason(network: PublishedNetwork) -> str:
    """Say on how many nodes pods cannot have *network*; empty where all can."""
    not_ready = network.configured_nodes - network.ready_nodes
    absent = network.total_nodes - network.configured_nodes
    parts = [f"not attachable on {_count(not_ready)}"] if not_ready else []
    parts += [f"no configuration on {_count(absent)}"] if absent else []
    return "; ".join(parts)


def _count(nodes: int) -> str:
    return f"{nodes} node" if nodes == 1 else f"{nodes} nodes"


def shorten(names: tuple[str, ...]) -> str:
    """Return the first of *names*, and how many more there are."""
    shown = ", ".join(names[:SHOWN_NODES])
    more = len(names) - SHOWN_NODES
    return f"{shown} and {more} more" if more > 0 else shown
