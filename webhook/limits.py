"""Limits per pod: how many attachments it may have, and how many of one network.

One pod may otherwise take the addresses of a network from all others. The cluster's limits are
settings; annotations of a namespace win over them. The policy ``cni-genie-pod-limits`` enforces the
same while the webhook is down.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from dispatcher import keys
from dispatcher.annotation import (
    INVALID,
    REQUIRED,
    TOO_MANY,
    InvalidAnnotationError,
    normalise,
    quote,
)
from webhook.decision import Cause, warning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from webhook.snapshot import Namespace

MAX_LIMIT = 32
"""The largest limit that a setting or a namespace may have."""

_LIMIT = re.compile("[1-9]|[12][0-9]|3[0-2]")


class Limits(NamedTuple):
    """What one pod may have; ``are_enforced`` False: more is only warned of."""

    attachments: int = 4
    per_network: int = 2
    are_enforced: bool = True

    def of(self, namespace: Namespace) -> Limits:
        """Return the limits of *namespace*, whose annotations win over these."""
        return self._replace(
            attachments=namespace.max_attachments or self.attachments,
            per_network=namespace.max_per_network or self.per_network,
        )


CLUSTER = Limits()

OVER_LIMIT = "over-limit"
"""Why a pod is refused, or, while limits only warn, the reason that its decision is counted with.
Also the key of the audit annotation that says by how much."""


class Excess(NamedTuple):
    """One limit that a value is over; ``network`` is the repeated one, empty for all together."""

    key: str
    limit: int
    actual: int
    network: str = ""

    @property
    def rule(self) -> str:
        """The limit, as a refusal says it."""
        plural = "" if self.limit == 1 else "s"
        if not self.network:
            return f"must have at most {self.limit} network{plural}"
        return f"must have at most {self.limit} attachment{plural} of network {quote(self.network)}"

    @property
    def brief(self) -> str:
        """The same in few words, for a warning."""
        found = f"{self.actual} of {quote(self.network)}" if self.network else f"{self.actual}"
        return f"{self.key.partition('/')[2]} is {self.limit}, has {found}"


def parse_limit(value: str) -> int | None:
    """Return the limit that *value* spells, None where it is no whole number from 1 to 32."""
    return int(value) if _LIMIT.fullmatch(value) else None


def excesses(normal: str, limits: Limits) -> Iterator[Excess]:
    """Yield the limits that a value in normal form is over."""
    names = [item.partition("@")[0] for item in normal.split(",")]

    if len(names) > limits.attachments:
        yield Excess(keys.MAX_ATTACHMENTS, limits.attachments, len(names))

    for name, count in Counter(names).items():
        if count > limits.per_network:
            yield Excess(keys.MAX_PER_NETWORK, limits.per_network, count, name)


def pod_excesses(normal: str, namespace: Namespace, limits: Limits) -> list[Excess]:
    """Return the limits that a pod with this value is over, none where the value is the default.

    A default is validated when it is written: no pod is refused for what its namespace gave it.
    """
    found = list(excesses(normal, limits.of(namespace)))
    return [] if found and normal == _normal(namespace.default) else found


def pod_cause(excess: Excess, namespace_name: str, field: str) -> Cause:
    """Return why a pod is refused."""
    message = (
        f"Too many: {excess.rule} in namespace {quote(namespace_name)} (has {excess.actual}); "
        f"ask an administrator to raise the namespace's annotation {quote(excess.key)}"
    )
    return Cause(TOO_MANY, message, field)


def pod_warning(excess: Excess, field: str) -> str:
    """Return what the author of a pod over a limit reads while limits only warn."""
    return warning(f"{field}: over the limit: {excess.brief}")


def limit_faults(annotations: Mapping[str, str], changed: set[str]) -> Iterator[Cause]:
    """Yield the annotations of a namespace that were changed to what is no limit."""
    for key in keys.LIMIT_KEYS:
        value = annotations.get(key)
        if key in changed and value is not None and parse_limit(value) is None:
            rule = f"must be a whole number from 1 to {MAX_LIMIT}"
            yield Cause(INVALID, f"Invalid value: {quote(value)}: {rule}", _field(key))


def default_faults(
    annotations: Mapping[str, str], facts: Namespace, limits: Limits, changed: set[str]
) -> Iterator[Cause]:
    """Yield where a namespace's default is over a limit, at the annotation that was changed.

    *limits* are the cluster's. A limit that is none is not compared: that is what is wrong with it.
    """
    for excess in excesses(_normal(facts.default), limits.of(facts)):
        written = annotations.get(excess.key)
        if keys.ANNOTATION in changed:
            message = (
                f"Too many: {excess.rule} (has {excess.actual}); "
                f"set {quote(excess.key)} to at least {excess.actual}"
            )
            yield Cause(TOO_MANY, message, _field(keys.ANNOTATION))
        elif excess.key in changed and (written is None or parse_limit(written)):
            yield _too_low(excess, written)


def _too_low(excess: Excess, written: str | None) -> Cause:
    words = "Required value" if written is None else f"Invalid value: {quote(written)}"
    default = f"names {quote(excess.network)} {excess.actual} times"
    if not excess.network:
        default = f"has {excess.actual} networks"
    message = f"{words}: must be at least {excess.actual}: the default of the namespace {default}"
    return Cause(REQUIRED if written is None else INVALID, message, _field(excess.key))


def _field(key: str) -> str:
    return f"metadata.annotations[{key}]"


def _normal(value: str) -> str:
    try:
        return normalise(value)
    except InvalidAnnotationError:
        return ""
