"""The columns and rows of the tables of ``networks``, ``pods`` and ``version`` (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.networks import published_reason, reason, shorten
from cli.table import Column

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cli.facts import PublishedNetwork
    from cli.networks import NetworkSummary
    from cli.pods import PodRow
    from cli.table import Cell
    from cli.versions import PartVersion

NETWORK_COLUMNS = (
    Column("NETWORK"),
    Column("READY"),
    Column("DEFAULT OF", rank=1),
    Column("PLUGINS", rank=2),
    Column("PROBLEM", is_sentence=True),
)

POD_COLUMNS = (
    Column("NAMESPACE"),
    Column("POD"),
    Column("ASKED FOR", rank=1),
    Column("ATTACHED"),
    Column("NODE", rank=2),
    Column("PROBLEM", is_sentence=True),
)

VERSION_COLUMNS = (
    Column("PART"),
    Column("VERSION"),
    Column("NODES"),
    Column("PROBLEM", is_sentence=True),
)


def network_row(network: NetworkSummary) -> tuple[str, ...]:
    """Return the row of a network whose nodes are known."""
    total = len(network.ready) + len(network.not_ready) + len(network.absent)
    cluster = ["the cluster"] if network.is_default else []
    namespaces = [shorten(network.default_of)] if network.default_of else []
    return (
        network.name,
        f"{len(network.ready)}/{total}",
        ", ".join([*cluster, *namespaces]),
        ",".join(network.types),
        reason(network),
    )


def published_row(network: PublishedNetwork) -> tuple[str, ...]:
    """Return the row of a network of which numbers of nodes are known."""
    return (
        network.name,
        f"{network.ready_nodes}/{network.total_nodes}",
        "the cluster" if network.is_default else "",
        ",".join(network.types),
        published_reason(network),
    )


def pod_row(row: PodRow) -> tuple[Cell, ...]:
    """Return the row of a pod; it has a line for each address."""
    attached = []
    for each in row.attached:
        first, *more = each.addresses or ("",)
        attached += [f"{each.network}@{each.interface}={first}", *(f"  {one}" for one in more)]
    return (row.namespace, row.name, row.asked, tuple(attached), row.node, row.problem)


def version_rows(parts: Iterable[PartVersion]) -> list[tuple[str, ...]]:
    """Return the rows of ``version``."""
    rows: list[tuple[str, ...]] = []
    for each in parts:
        nodes = f"{len(each.nodes)}: {shorten(each.nodes)}" if each.nodes else ""
        rows.append((each.part, each.version, nodes, each.problem))
    return rows
