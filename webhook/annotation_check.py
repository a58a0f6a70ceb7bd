"""Tell whether a value of ``cni`` is well formed, known, and allowed in its namespace.

Pods, workload templates and the defaults of namespaces use :func:`validate_annotation`, which
reports every fault of a value at once.
"""

from __future__ import annotations

from functools import lru_cache
from heapq import nsmallest
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from dispatcher import keys
from dispatcher.annotation import (
    BLANKS,
    MAX_BYTES,
    MAX_ITEMS,
    UNSUPPORTED,
    Fault,
    InvalidAnnotationError,
    closest_name,
    is_network_name,
    normalise,
    parse,
    quote,
)
from webhook.combinations import combine
from webhook.decision import FORBIDDEN, Cause

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from dispatcher.annotation import Selection
    from webhook.combinations import Combination
    from webhook.snapshot import ClusterNetworks, Namespace

SHOWN = 10
"""Names that a message lists before it says how many more there are."""

MAX_SUGGESTIONS = 32
"""Answers on unknown names that are remembered, enough for the tries of two pods. Few: each
keeps the set of all known names alive, and a node that changes its labels makes ever new sets."""


class Finding(NamedTuple):
    """One fault: its cause, whether it may mend itself, and the same in few words for a warning.

    ``position`` counts items from 1; 0 is the value as a whole.
    """

    position: int
    cause: Cause
    is_doubtful: bool
    brief: str


class ValidationResult(NamedTuple):
    """What is right or wrong with one value.

    ``normal`` is the normal form (empty for a value that is not of the grammar), ``networks``
    the distinct names in order. ``findings`` are in the order of the items; the doubtful ones
    (unknown networks, networks that the namespace does not allow, or that no node can attach
    together) depend on the cluster. ``warnings`` tell of what is no fault everywhere.
    """

    normal: str
    networks: tuple[str, ...]
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...] = ()


def validate_annotation(
    value: str, namespace: Namespace, networks: ClusterNetworks, field: str
) -> ValidationResult:
    """Check *value*, which stands at *field*, for a pod in the namespace.

    While no network at all is known, none is called unknown.
    """
    read = _read(value)
    findings = list(_doubts(read.items, namespace, networks.known, field))
    for fault in read.faults:
        cause = Cause(fault.reason, str(fault), field)
        findings.append(Finding(fault.position, cause, is_doubtful=False, brief=str(fault)))
    combination = combine(read.selections, networks)
    findings += _conflicts(combination, field)
    findings.sort(key=attrgetter("position"))
    return ValidationResult(read.normal, read.networks, tuple(findings), combination.warnings)


def networks_of(value: str) -> tuple[str, ...]:
    """Return the distinct networks of *value*, in order; none for an invalid value."""
    return _read(value).networks


def combination_of(value: str, networks: ClusterNetworks) -> Combination:
    """Return what the nodes say of the networks of *value* together."""
    return combine(_read(value).selections, networks)


class _Read(NamedTuple):
    normal: str = ""
    selections: tuple[Selection, ...] = ()
    networks: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    items: tuple[tuple[int, str], ...] = ()


def _read(value: str) -> _Read:
    # A longer value is refused and may have megabytes: a thousand of them would fill the memory.
    return _read_once(value) if len(value) <= MAX_BYTES else _read_anew(value)


def _read_anew(value: str) -> _Read:
    items = tuple(_items(value))
    try:
        selections = parse(value)
        names = dict.fromkeys(selection.network for selection in selections)
        return _Read(normalise(value), selections, tuple(names), items=items)
    except InvalidAnnotationError as error:
        return _Read(faults=error.faults, items=items)


# The pods of one workload come with one value, and so do the tries after a refusal.
_read_once = lru_cache(maxsize=1024)(_read_anew)


@lru_cache(maxsize=MAX_SUGGESTIONS)
def suggestion(name: str, usable: frozenset[str]) -> str:
    """Return which of the *usable* names was probably meant, in brackets; nothing if none was."""
    near = closest_name(name, usable)
    return f" (did you mean {quote(near)}?)" if near else ""


@lru_cache(maxsize=MAX_SUGGESTIONS)
def _expected(name: str, usable: frozenset[str]) -> str:
    return f"supported values: {format_names(usable)}{suggestion(name, usable)}"


def _items(value: str) -> Iterator[tuple[int, str]]:
    """Yield position and name of every item whose network is well formed, once a name.

    Only of the items that a value may have: looking for what was meant by hundreds of unknown
    names would keep the API server waiting.
    """
    if len(value) > MAX_BYTES:
        return
    seen: set[str] = set()
    for position, item in enumerate(value.split(",", MAX_ITEMS)[:MAX_ITEMS], 1):
        name = item.partition("@")[0].strip(BLANKS)
        if is_network_name(name) and name not in seen:
            seen.add(name)
            yield position, name


def _doubts(
    items: Iterable[tuple[int, str]], namespace: Namespace, known: Collection[str], field: str
) -> Iterator[Finding]:
    """Yield what depends on the cluster, of *items* (positions and names)."""
    allowed = namespace.allowed
    for position, name in items:
        if known and name not in known:
            usable = frozenset(known)
            if allowed is not None:
                usable = usable.intersection(allowed)
            fault = Fault(UNSUPPORTED, position, name, _expected(name, usable))
            cause = Cause(UNSUPPORTED, str(fault), field)
            brief = f"unknown network {quote(name)}{suggestion(name, usable)}"
            yield Finding(position, cause, is_doubtful=True, brief=brief)
        elif allowed is not None and name not in allowed:
            message = _forbidden(position, name, namespace.name, allowed)
            brief = f"this namespace does not allow {quote(name)}"
            yield Finding(position, Cause(FORBIDDEN, message, field), is_doubtful=True, brief=brief)


def _conflicts(combination: Combination, field: str) -> Iterator[Finding]:
    for fault, brief in zip(combination.faults, combination.briefs, strict=True):
        cause = Cause(fault.reason, str(fault), field)
        yield Finding(fault.position, cause, is_doubtful=True, brief=brief)


def _forbidden(position: int, name: str, namespace_name: str, allowed: Collection[str]) -> str:
    return (
        f"Forbidden: item {position}: network {quote(name)} is not allowed in namespace "
        f"{quote(namespace_name)} (allowed: {format_names(allowed)}); "
        f"ask an administrator to add it to the namespace's annotation {quote(keys.ALLOWED)}"
    )


def format_names(names: Collection[str]) -> str:
    """Return *names* sorted and quoted, the first ten of them and how many more there are."""
    shown = ", ".join(map(quote, nsmallest(SHOWN, names)))  # of perhaps a hundred thousand
    more = len(names) - SHOWN
    return (shown or "none") + (f" and {more} more" if more > 0 else "")
