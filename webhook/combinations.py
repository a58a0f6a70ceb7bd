"""Networks that known plugins cannot attach to one pod, as the nodes' plugin types tell.

The node decides: its plugin refuses such a pod, in the same words. The webhook refuses only what
every node that has the networks would refuse, so that no single node can keep the cluster's pods
from being created. What only some nodes would refuse is a warning.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from dispatcher import plugin_rules

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dispatcher.annotation import Fault, Selection
    from dispatcher.plugin_rules import Conflict
    from webhook.snapshot import PluginTypes

_ORDER = itemgetter(1, 0, 2)
"""Of conflicts: by the item that is at fault, like all faults of a value."""


class Combination(NamedTuple):
    """What is wrong with the networks of one pod together.

    ``faults`` are those on which every node agrees, each with its ``briefs`` for a warning;
    ``warnings`` tell of what only some nodes say, and of what works without being of use.
    """

    faults: tuple[Fault, ...] = ()
    briefs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def combine(selections: Sequence[Selection], nodes: Sequence[PluginTypes]) -> Combination:
    """Return what *nodes*, one for each kind of node, say of a pod with *selections*."""
    if len(selections) < 2 or not nodes:  # noqa: PLR2004 - one network conflicts with nothing
        return Combination()
    names = [selection.network for selection in selections]
    refused_by = [(node, frozenset(_conflicts(names, node))) for node in nodes]

    agreed: list[Conflict] = []
    disputed: list[Conflict] = []
    for conflict in sorted(frozenset().union(*(found for _, found in refused_by)), key=_ORDER):
        concerned = {names[conflict[0] - 1], names[conflict[1] - 1]}
        able = [found for node, found in refused_by if concerned <= node.keys()]
        (agreed if all(conflict in found for found in able) else disputed).append(conflict)

    warnings = [
        f"some nodes will refuse the pod: {plugin_rules.brief(conflict, names)}"
        for conflict in disputed
    ]
    return Combination(
        tuple(plugin_rules.fault(conflict, names) for conflict in agreed),
        tuple(plugin_rules.brief(conflict, names) for conflict in agreed),
        (*warnings, *_primary_only_warnings(selections, nodes)),
    )


def _conflicts(names: Sequence[str], node: PluginTypes) -> list[Conflict]:
    return plugin_rules.conflicts([node.get(name, ()) for name in names])


def _primary_only_warnings(
    selections: Sequence[Selection], nodes: Sequence[PluginTypes]
) -> Iterator[str]:
    secondaries = dict.fromkeys(each.network for each in selections if not each.primary)
    for network in secondaries:
        found = {plugin_type for node in nodes for plugin_type in node.get(network, ())}
        for plugin_type in sorted(found & plugin_rules.PRIMARY_ONLY.keys()):
            yield plugin_rules.primary_only_warning(network, plugin_type)
