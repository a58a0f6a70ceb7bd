"""Decide all attachments of a pod from its annotations: one plan for every reader of them.

    plan    = primary, other items of ``cni``, items of ``k8s.v1.cni.cncf.io/networks`` in order
    primary = the item of ``v1.multus-cni.io/default-network``, else the item of ``cni`` on eth0,
              else that of the default: the namespace's, else the cluster's

``default-network`` has one item, on eth0, and excludes a ``cni`` that is not blank. It takes the
place of the default, with all its items. While the webhook observes, it fills in the default all
the same, because nodes attach that one then. So a ``cni`` counts as blank beside a primary that
``cni-genie.io/attachments`` names: the mode ``enforce`` would refuse the pod otherwise.

A selection without a namespace means a definition of the pod's own namespace; that of
``default-network`` means one of Multus' namespace, as it does there (:func:`namespace_of`).

An item of ``networks`` without an interface gets ``net<position>``, or the next free ``net<n>``
above the last position if the plan has that name elsewhere. In the whole plan an interface stands
once, one item has ``default-route``, and there are at most
:data:`~dispatcher.nad.grammar.MAX_ITEMS` attachments.

Rules of this file: pure. A refusal holds all faults of all annotations, each with its annotation.
"""

from __future__ import annotations

from dispatcher import annotation, keys
from dispatcher.annotation import BLANKS, DUPLICATE, INVALID, TOO_MANY, quote
from dispatcher.nad import attachments, grammar
from dispatcher.nad.faults import InvalidSelectionsError, SelectionFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dispatcher.annotation import Fault, Selection
    from dispatcher.nad.selection import NetworkSelection


class InvalidPlanError(ValueError):
    """The annotations are invalid; ``faults`` has pairs of an annotation's key and a fault."""

    def __init__(self, faults: Sequence[tuple[str, Fault]]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{key}: {fault}" for key, fault in faults))


class PlannedAttachment:
    """One attachment of a plan, on ``interface``.

    ``source`` is the annotation that asks for it; it is ``cni`` for a default, too. ``selection``
    is its item: of ``cni`` a network of the node, of the others a NetworkAttachmentDefinition.
    """

    __slots__ = ("interface", "selection", "source")

    def __init__(
        self, source: str, interface: str, selection: Selection | NetworkSelection
    ) -> None:
        self.source = source
        self.interface = interface
        self.selection = selection

    @property
    def is_primary(self) -> bool:
        """Whether the result of this attachment is the pod's result."""
        return self.interface == keys.PRIMARY_INTERFACE


def plan_pod(annotations: Mapping[str, str], default: str) -> list[PlannedAttachment]:
    """Return the attachments of a pod, the primary first.

    *default* is a value of ``cni`` for a pod that chooses no primary; without one such a pod has
    no primary in the plan. Raises :class:`InvalidPlanError`.
    """
    faults: list[tuple[str, Fault]] = []
    written = annotations.get(keys.ANNOTATION, "")
    primary = _selections(annotations, keys.DEFAULT_NETWORK, faults)
    if primary and attachments.names_default_network(annotations.get(keys.ATTACHMENTS, "")):
        written = ""
    is_chosen = bool(primary or faults)  # an empty list chooses nothing, and a blank neither
    selected = _selections(annotations, keys.NETWORKS, faults)
    own = written if written.strip(BLANKS) or is_chosen else default
    # An annotation with a fault counts as empty below, so that the others' faults are reported too.
    items = _items(own, faults)

    # The order of "cni" is that of its attachments; only the primary comes to the front.
    items.sort(key=lambda item: not item.is_primary)
    plan = [PlannedAttachment(keys.DEFAULT_NETWORK, keys.PRIMARY_INTERFACE, s) for s in primary]
    plan += (PlannedAttachment(keys.ANNOTATION, item.interface, item) for item in items)
    first = len(plan)
    names = _interfaces(selected, {each.interface for each in plan})
    plan += (
        PlannedAttachment(keys.NETWORKS, name, selection)
        for name, selection in zip(names, selected, strict=True)
    )

    faults += _default_network_faults(annotations, primary, has_cni=bool(items))
    faults += ((keys.NETWORKS, fault) for fault in _network_faults(annotations, plan, first))
    if faults:
        raise InvalidPlanError(faults)
    return plan


def namespace_of(planned: PlannedAttachment, own: str, multus_namespace: str) -> str:
    """Return the namespace of the definition that *planned* selects, for a pod of namespace *own*.

    *multus_namespace* is that of Multus' default networks.
    """
    selection: NetworkSelection = planned.selection  # type: ignore[assignment]
    is_default = planned.source == keys.DEFAULT_NETWORK
    return selection.namespace or (multus_namespace if is_default else own)


def _selections(
    annotations: Mapping[str, str], key: str, faults: list[tuple[str, Fault]]
) -> tuple[NetworkSelection, ...]:
    try:
        return grammar.parse(annotations.get(key, ""))
    except InvalidSelectionsError as error:
        faults += ((key, fault) for fault in error.faults)
        return ()


def _items(value: str, faults: list[tuple[str, Fault]]) -> list[Selection]:
    try:
        return list(annotation.parse(value))
    except annotation.InvalidAnnotationError as error:
        faults += ((keys.ANNOTATION, fault) for fault in error.faults)
        return []


def _interfaces(selected: Sequence[NetworkSelection], used: set[str]) -> Iterator[str]:
    """Yield the interface of each of *selected*; *used* are those of the rest of the plan."""
    named = used.union(each.interface for each in selected)
    spare = len(selected)
    for position, selection in enumerate(selected, 1):
        name = selection.interface or f"net{position}"
        while not selection.interface and name in named:
            spare += 1
            name = f"net{spare}"
        named.add(name)
        yield name


def _default_network_faults(
    annotations: Mapping[str, str], primary: Sequence[NetworkSelection], *, has_cni: bool
) -> Iterator[tuple[str, Fault]]:
    key = keys.DEFAULT_NETWORK
    value = annotations.get(key, "")
    if len(primary) > 1:
        expected = f"must have one network (has {len(primary)}): a pod has one primary"
        yield key, SelectionFault(TOO_MANY, 0, None, expected, value, 0)
    if primary and has_cni:
        expected = (
            f"cannot be combined with {quote(keys.ANNOTATION)}, because both choose the primary: "
            "remove one of them"
        )
        yield key, SelectionFault(INVALID, 0, None, expected, value, 0)
    for each in primary[:1]:
        if each.interface not in {"", keys.PRIMARY_INTERFACE}:
            offset = grammar.offset_of(value, (0, "interface"))
            expected = f'the primary is on "{keys.PRIMARY_INTERFACE}": leave the interface out'
            yield key, SelectionFault(INVALID, 1, each.interface, expected, value, offset)


def _network_faults(
    annotations: Mapping[str, str], plan: Sequence[PlannedAttachment], first: int
) -> Iterator[Fault]:
    """Yield the faults that items of ``networks``, from number *first* of *plan*, have in it."""
    value = annotations.get(keys.NETWORKS, "")
    users = {each.interface: quote(each.source) for each in plan[:first]}
    users[keys.PRIMARY_INTERFACE] = "the primary"  # also of a plan that has none yet
    has_route = any(_has_route(each) for each in plan[:first])
    for position, each in enumerate(plan[first:], 1):
        path = position - 1
        if each.interface in users:
            where = users[each.interface]
            expected = f"the interface is already used by {where}: choose another"
            offset = grammar.offset_of(value, (path, "interface"))
            yield SelectionFault(DUPLICATE, position, each.interface, expected, value, offset)
        users.setdefault(each.interface, f"item {position}")
        if has_route and _has_route(each):
            expected = (
                f'"default-route": the item of {quote(keys.DEFAULT_NETWORK)} has it: remove one'
            )
            offset = grammar.offset_of(value, (path, "default-route"))
            yield SelectionFault(DUPLICATE, position, None, expected, value, offset)

    if len(plan) > grammar.MAX_ITEMS:
        expected = f"a pod must have at most {grammar.MAX_ITEMS} networks (has {len(plan)} in all)"
        yield SelectionFault(TOO_MANY, 0, None, expected, value, 0)


def _has_route(planned: PlannedAttachment) -> bool:
    return getattr(planned.selection, "default_route", None) is not None
