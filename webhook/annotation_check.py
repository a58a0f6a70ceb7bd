"""Validate a value of ``cni``: well formed, known, and allowed in its namespace.

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
"""Limit of the names that a message lists."""

HINT = f"; to list networks, try: kubectl get {keys.NETWORKS_RESOURCE}"
"""Ends a refusal of an unknown network. "try", because a cluster may not have that resource, or its
administrator may not let everyone read it."""

MAX_SUGGESTIONS = 32
"""Limit of the cached suggestions for unknown names; enough for the networks of two pods.

Few, because each keeps the set of all known names alive, and a node that changes its labels again
and again makes new sets.
"""


class Finding(NamedTuple):
    """One fault of a value: its cause, and the same in few words for a warning.

    ``position`` counts items from 1; 0 stands for the whole value. A doubtful fault depends on the
    cluster, and may disappear: unknown networks, networks that the namespace does not allow, and
    networks that no node can attach together. ``hint`` ends a refusal.
    """

    position: int
    cause: Cause
    is_doubtful: bool
    brief: str
    hint: str = ""

    def refusal(self, origin: str = "") -> Cause:
        """Return the cause of a refusal; *origin* says where the value comes from."""
        return self.cause._replace(message=f"{self.cause.message}{origin}{self.hint}")


class ValidationResult(NamedTuple):
    """The result for one value.

    ``normal`` is the normal form, empty for a value that does not follow the grammar. ``networks``
    has the distinct names in order. ``findings`` are in the order of the items. ``warnings`` are
    for faults on some nodes only.
    """

    normal: str
    networks: tuple[str, ...]
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...] = ()


def validate_annotation(
    value: str, namespace: Namespace, networks: ClusterNetworks, field: str
) -> ValidationResult:
    """Validate *value*, the annotation at *field*, for a pod in the namespace.

    While no network is known at all, none is reported as unknown.
    """
    parsed = _parse(value)
    findings = list(_cluster_findings(parsed.items, namespace, networks.known, field))
    for fault in parsed.faults:
        cause = Cause(fault.reason, str(fault), field)
        findings.append(Finding(fault.position, cause, is_doubtful=False, brief=str(fault)))
    combination = combine(parsed.selections, networks)
    findings += _conflicts(combination, field)

    findings.sort(key=attrgetter("position"))
    return ValidationResult(parsed.normal, parsed.networks, tuple(findings), combination.warnings)


def networks_of(value: str) -> tuple[str, ...]:
    """Return the distinct networks of *value*, in order; none for an invalid value."""
    return _parse(value).networks


def names_in(value: str) -> tuple[str, ...]:
    """Return the distinct valid names in *value*, in order, also those of an invalid value."""
    return tuple(name for _, name in _parse(value).items)


def combination_of(value: str, networks: ClusterNetworks) -> Combination:
    """Return the conflicts between the networks of *value* on the nodes."""
    return combine(_parse(value).selections, networks)


class _Parsed(NamedTuple):
    """A parsed value; ``items`` has positions and names, also of an invalid value."""

    normal: str = ""
    selections: tuple[Selection, ...] = ()
    networks: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    items: tuple[tuple[int, str], ...] = ()


def _parse(value: str) -> _Parsed:
    # Do not cache longer values: they are refused, and a thousand of them would fill the memory.
    return _parse_cached(value) if len(value) <= MAX_BYTES else _parse_uncached(value)


def _parse_uncached(value: str) -> _Parsed:
    items = tuple(_items(value))
    try:
        selections = parse(value)
        names = dict.fromkeys(selection.network for selection in selections)
        return _Parsed(normalise(value), selections, tuple(names), items=items)
    except InvalidAnnotationError as error:
        return _Parsed(faults=error.faults, items=items)


# All pods of a workload have the same value, and so do the retries after a refusal.
_parse_cached = lru_cache(maxsize=1024)(_parse_uncached)


@lru_cache(maxsize=MAX_SUGGESTIONS)
def suggestion(name: str, usable: frozenset[str]) -> str:
    """Return the most similar of the *usable* names as a question, or an empty string."""
    near = closest_name(name, usable)
    return f" (did you mean {quote(near)}?)" if near else ""


@lru_cache(maxsize=MAX_SUGGESTIONS)
def _expected(name: str, usable: frozenset[str]) -> str:
    return f"supported values: {format_names(usable)}{suggestion(name, usable)}"


def _items(value: str) -> Iterator[tuple[int, str]]:
    """Yield position and name of every item with a valid network name, each name once.

    Items beyond the limit are ignored: suggestions for hundreds of unknown names would keep the
    API server waiting.
    """
    if len(value) > MAX_BYTES:
        return
    seen: set[str] = set()
    for position, item in enumerate(value.split(",", MAX_ITEMS)[:MAX_ITEMS], 1):
        name = item.partition("@")[0].strip(BLANKS)
        if is_network_name(name) and name not in seen:
            seen.add(name)
            yield position, name


def _cluster_findings(
    items: Iterable[tuple[int, str]], namespace: Namespace, known: Collection[str], field: str
) -> Iterator[Finding]:
    """Yield a finding for each unknown or forbidden network in *items* (positions, names)."""
    allowed = namespace.allowed
    for position, name in items:
        if known and name not in known:
            usable = frozenset(known)
            if allowed is not None:
                usable = usable.intersection(allowed)
            fault = Fault(UNSUPPORTED, position, name, _expected(name, usable))
            cause = Cause(UNSUPPORTED, str(fault), field)
            brief = f"unknown network {quote(name)}{suggestion(name, usable)}"
            yield Finding(position, cause, is_doubtful=True, brief=brief, hint=HINT)
        elif allowed is not None and name not in allowed:
            message = _forbidden(position, name, namespace.name, allowed)
            brief = f"network {quote(name)} is not allowed in this namespace"
            yield Finding(position, Cause(FORBIDDEN, message, field), is_doubtful=True, brief=brief)


def _conflicts(combination: Combination, field: str) -> Iterator[Finding]:
    for fault, brief in zip(combination.faults, combination.briefs, strict=True):
        cause = Cause(fault.reason, str(fault), field)
        yield Finding(fault.position, cause, is_doubtful=True, brief=brief)


def _forbidden(position: int, name: str, namespace_name: str, allowed: Collection[str]) -> str:
    return (
        f"Forbidden: item {position}: network {quote(name)} is not allowed in namespace "
        f"{quote(namespace_name)} (allowed: {format_names(allowed)}); "
        f"ask a cluster administrator to add it to the namespace's annotation {quote(keys.ALLOWED)}"
    )


def format_names(names: Collection[str]) -> str:
    """Return *names* sorted and quoted: the first ten, and the number of the others."""
    shown = ", ".join(map(quote, nsmallest(SHOWN, names)))  # of perhaps a hundred thousand
    more = len(names) - SHOWN
    return (shown or "none") + (f" and {more} more" if more > 0 else "")
