"""Tell whether a value of ``cni`` is well formed, known, and allowed in its namespace.

One function, :func:`judge`, for pods, workload templates and the defaults of namespaces. It
finds every fault of a value at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dispatcher import keys
from dispatcher.annotation import (
    BLANKS,
    MAX_BYTES,
    UNSUPPORTED,
    Fault,
    InvalidAnnotation,
    is_network_name,
    nearest,
    normalise,
    parse,
    quote,
)
from webhook.decision import FORBIDDEN, CannotDecide, Cause

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from webhook.snapshot import Namespace, Networks

SHOWN = 10
"""Names that a message lists before it says how many more there are."""


class Verdict(NamedTuple):
    """What is right or wrong with one value.

    ``normal`` is the normal form (empty if ``invalid``), ``networks`` the distinct names in
    order. ``invalid`` can never become right; ``doubtful`` (unknown networks, networks that
    the namespace does not allow) can, when the cluster changes.
    """

    normal: str
    networks: tuple[str, ...]
    invalid: tuple[Cause, ...]
    doubtful: tuple[Cause, ...]

    @property
    def causes(self) -> tuple[Cause, ...]:
        """All faults."""
        return self.invalid + self.doubtful


def judge(value: str, namespace: Namespace, networks: Networks, field: str) -> Verdict:
    """Judge *value*, which stands at *field*, for a pod in the namespace.

    Raises :class:`CannotDecide` when the value names a network and none at all is known.
    """
    named = list(_names(value))
    if named and not networks.known:
        raise CannotDecide("no network is known yet: no node has been labelled by an agent")
    doubtful = [
        cause
        for position, name in named
        if (cause := _doubt(position, name, namespace, networks.known, field))
    ]
    try:
        normal, names = normalise(value), tuple(dict.fromkeys(s.network for s in parse(value)))
        invalid: tuple[Cause, ...] = ()
    except InvalidAnnotation as error:
        normal, names = "", ()
        invalid = tuple(Cause(fault.reason, str(fault), field) for fault in error.faults)
    return Verdict(normal, names, invalid, tuple(doubtful))


def _names(value: str) -> Iterator[tuple[int, str]]:
    """Yield position and name of every item whose network is well formed, once a name."""
    if len(value) > MAX_BYTES:
        return
    seen: set[str] = set()
    for position, item in enumerate(value.split(","), 1):
        name = item.partition("@")[0].strip(BLANKS)
        if is_network_name(name) and name not in seen:
            seen.add(name)
            yield position, name


def _doubt(
    position: int, name: str, namespace: Namespace, known: Collection[str], field: str
) -> Cause | None:
    allowed = namespace.allowed
    if name not in known:
        usable = known if allowed is None else [one for one in known if one in allowed]
        return Cause(
            UNSUPPORTED, str(Fault(UNSUPPORTED, position, name, _instead(name, usable))), field
        )
    if allowed is None or name in allowed:
        return None
    return Cause(FORBIDDEN, _forbidden(position, name, namespace.name, allowed), field)


def _instead(name: str, usable: Collection[str]) -> str:
    if not usable:
        return "no network that this namespace allows is known"
    near = nearest(name, usable)
    hint = f" (did you mean {quote(near)}?)" if near else ""
    return f"supported values: {listing(usable)}{hint}"


def _forbidden(position: int, name: str, namespace_name: str, allowed: Collection[str]) -> str:
    return (
        f"Forbidden: item {position}: network {quote(name)} is not allowed in namespace "
        f"{quote(namespace_name)} (allowed: {listing(allowed)}); ask an administrator to add it "
        f"to the namespace's annotation {quote(keys.ALLOWED)}"
    )


def listing(names: Collection[str]) -> str:
    """Return *names* sorted and quoted, the first ten of them and how many more there are."""
    shown = ", ".join(quote(name) for name in sorted(names)[:SHOWN])
    more = len(names) - SHOWN
    return (shown or "none") + (f" and {more} more" if more > 0 else "")
