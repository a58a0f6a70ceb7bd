"""Networks that known plugins cannot attach to one pod, as the nodes' plugin types tell.

The node decides: its plugin refuses such a pod, in the same words. The webhook refuses only what
every node with the networks' labels would refuse, also those nodes that cannot attach them at
present, and only networks that the setting ``networks`` does not promise for nodes to come. So a
single node keeps no pod from being created that another one could run. All else is a warning.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from dispatcher import plugin_rules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dispatcher.annotation import Fault, Selection
    from dispatcher.plugin_rules import Conflict
    from webhook.snapshot import ClusterNetworks

    Plan = tuple[tuple[str, ...] | None, ...]
    """What some nodes say of the networks of a pod, item by item; None: they lack the network."""

MAX_REMEMBERED = 128
"""Answers that are kept: the pods of one workload come with one value."""

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


class _Answers:
    """Answers for the nodes as they are; forgotten when the nodes change."""

    def __init__(self) -> None:
        self._networks: ClusterNetworks | None = None
        self._kept: dict[tuple[Selection, ...], Combination] = {}

    def get(self, selections: tuple[Selection, ...], networks: ClusterNetworks) -> Combination:
        """Return what :func:`_combine` says, from memory where possible."""
        if networks is not self._networks or len(self._kept) >= MAX_REMEMBERED:
            self._networks, self._kept = networks, {}

        if selections not in self._kept:
            self._kept[selections] = _combine(selections, networks)
        return self._kept[selections]


_answers = _Answers()


def combine(selections: tuple[Selection, ...], networks: ClusterNetworks) -> Combination:
    """Return what the cluster's nodes say of a pod with *selections*."""
    if len(selections) < 2 or not networks.plugin_types:  # noqa: PLR2004 - one conflicts with nothing
        return Combination()
    return _answers.get(selections, networks)


def _combine(selections: Sequence[Selection], networks: ClusterNetworks) -> Combination:
    names = [selection.network for selection in selections]
    # Of hundreds of kinds of nodes, most say the same of these few networks.
    plans: set[Plan] = {tuple(map(node.get, names)) for node in networks.plugin_types}
    refused_by = {plan: frozenset(_conflicts(plan)) for plan in plans}

    agreed: list[Conflict] = []
    disputed: list[Conflict] = []
    for conflict in sorted(frozenset().union(*refused_by.values()), key=_ORDER):
        first, second = conflict[0] - 1, conflict[1] - 1
        having = [plan for plan in plans if None not in {plan[first], plan[second]}]
        is_promised = not networks.promised.isdisjoint({names[first], names[second]})
        is_agreed = not is_promised and all(conflict in refused_by[plan] for plan in having)
        (agreed if is_agreed else disputed).append(conflict)

    warnings = [
        f"some nodes will refuse the pod: {plugin_rules.conflict_summary(conflict, names)}"
        for conflict in disputed
    ]
    return Combination(
        tuple(plugin_rules.conflict_fault(conflict, names) for conflict in agreed),
        tuple(plugin_rules.conflict_summary(conflict, names) for conflict in agreed),
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
