"""Networks that known plugins cannot attach to the same pod, by the nodes' plugin types.

The node decides: the plugin there refuses such a pod, in the same words. The webhook refuses a pod
only if every node with the networks' labels would refuse it (nodes that cannot attach them at
present count as well), and if the setting ``networks`` has none of the networks, because that
promises other nodes. So one node never prevents a pod that another node could run. Everything else
is a warning.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from dispatcher import plugin_rules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dispatcher.annotation import Fault, Selection
    from dispatcher.plugin_rules import Conflict
    from webhook.snapshot import ClusterNetworks

    Plan = tuple[tuple[str, ...] | None, ...]
    """The plugin types of a pod's networks on some nodes, item by item; None: no such network."""

MAX_REMEMBERED = 128
"""Limit of the results in the cache: the pods of one workload have the same value."""

# A Conflict is (first item, second item, plugin type), items from 1.
_ORDER = itemgetter(1, 0, 2)
"""Order of conflicts: by the item at fault, like all faults of a value."""


class Combination(NamedTuple):
    """The conflicts between the networks of one pod.

    ``faults`` are the conflicts on every node, ``briefs`` the same in few words, for a warning.
    ``warnings`` are for conflicts on some nodes, and for attachments that work but are useless.
    """

    faults: tuple[Fault, ...] = ()
    briefs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class _Cache:
    """Results for the present networks of the cluster; cleared when these change."""

    def __init__(self) -> None:
        self._networks: ClusterNetworks | None = None
        self._results: dict[tuple[Selection, ...], Combination] = {}

    def get_or_compute(
        self, selections: tuple[Selection, ...], networks: ClusterNetworks
    ) -> Combination:
        """Return the result of :func:`_combine`, computed at most once."""
        if networks is not self._networks or len(self._results) >= MAX_REMEMBERED:
            self._networks, self._results = networks, {}

        if selections not in self._results:
            self._results[selections] = _combine(selections, networks)
        return self._results[selections]


_cache = _Cache()


def combine(selections: tuple[Selection, ...], networks: ClusterNetworks) -> Combination:
    """Return the conflicts between *selections* on the nodes of the cluster."""
    if len(selections) < 2 or not networks.plugin_types:  # noqa: PLR2004 - one alone has no conflict
        return Combination()
    return _cache.get_or_compute(selections, networks)


def combine_with(
    selections: tuple[Selection, ...],
    networks: ClusterNetworks,
    types: Mapping[str, tuple[str, ...]],
) -> Combination:
    """Return the conflicts of *selections*, of which some have the plugin *types* on every node.

    These are no networks of the nodes: definitions, by their full names.
    """
    if not any(types.values()):
        return combine(selections, networks)
    nodes = networks.plugin_types or ({},)
    known = tuple({**node, **types} for node in nodes)
    return _combine(selections, networks._replace(plugin_types=known))


def _combine(selections: Sequence[Selection], networks: ClusterNetworks) -> Combination:
    names = [selection.network for selection in selections]
    # Hundreds of different nodes have few different plans for these few networks.
    plans: set[Plan] = {tuple(map(node.get, names)) for node in networks.plugin_types}
    conflicts_by_plan = {plan: frozenset(_conflicts(plan)) for plan in plans}

    on_every_node: list[Conflict] = []
    on_some_nodes: list[Conflict] = []
    for conflict in sorted(frozenset().union(*conflicts_by_plan.values()), key=_ORDER):
        first, second = conflict[0] - 1, conflict[1] - 1
        plans_with_both = [plan for plan in plans if None not in {plan[first], plan[second]}]
        is_promised = not networks.promised.isdisjoint({names[first], names[second]})
        is_on_every_node = not is_promised and all(
            conflict in conflicts_by_plan[plan] for plan in plans_with_both
        )
        (on_every_node if is_on_every_node else on_some_nodes).append(conflict)

    warnings = [
        f"some nodes will refuse the pod: {plugin_rules.conflict_summary(conflict, names)}"
        for conflict in on_some_nodes
    ]
    return Combination(
        tuple(plugin_rules.conflict_fault(conflict, names) for conflict in on_every_node),
        tuple(plugin_rules.conflict_summary(conflict, names) for conflict in on_every_node),
        (*warnings, *_primary_only_warnings(selections, plans)),
    )


def _conflicts(plan: Plan) -> list[Conflict]:
    return plugin_rules.conflicts([plugin_types or () for plugin_types in plan])


def _primary_only_warnings(selections: Sequence[Selection], plans: Iterable[Plan]) -> Iterator[str]:
    secondaries: dict[str, set[str]] = {}
    for position, selection in enumerate(selections):
        if not selection.is_primary:
            plugin_types = secondaries.setdefault(selection.network, set())
            plugin_types.update(*(plan[position] or () for plan in plans))

    for network, plugin_types in secondaries.items():
        for plugin_type in sorted(plugin_types & plugin_rules.PRIMARY_ONLY.keys()):
            yield plugin_rules.primary_only_warning(network, plugin_type)
