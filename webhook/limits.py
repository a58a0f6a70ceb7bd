"""Limits per pod: how many attachments it may have, and how many of one network.

Without limits, one pod could use up the addresses of a network. The cluster's limits are settings,
and a namespace can override them by annotations. The policy ``cni-genie-pod-limits`` enforces the
same limits, also while no webhook runs.
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
"""Maximum of a limit, in settings and on namespaces."""

_LIMIT = re.compile("[1-9]|[12][0-9]|3[0-2]")


class Limits(NamedTuple):
    """What one pod may have. If ``are_enforced`` is False, a pod with more gives a warning."""

    attachments: int = 4
    per_network: int = 2
    are_enforced: bool = True

    def of(self, namespace: Namespace) -> Limits:
        """Return the limits of *namespace*, whose annotations override these."""
        if namespace.max_attachments is namespace.max_per_network is None:
            return self
        return self._replace(
            attachments=namespace.max_attachments or self.attachments,
            per_network=namespace.max_per_network or self.per_network,
        )


CLUSTER = Limits()

OVER_LIMIT = "over-limit"
"""Reason of a decision on a pod over a limit, also while limits only warn.

Also the key of the audit annotation that says which limit.
"""


class Excess(NamedTuple):
    """A limit that a value exceeds; ``network`` is the repeated one, empty if it has too many."""

    key: str
    limit: int
    actual: int
    network: str = ""

    @property
    def rule(self) -> str:
        """The limit, worded for a refusal."""
        plural = "" if self.limit == 1 else "s"
        if not self.network:
            return f"must have at most {self.limit} network{plural}"
        return f"must have at most {self.limit} attachment{plural} of network {quote(self.network)}"

    def brief(self, namespace_name: str) -> str:
        """Return the excess in few words, for a warning."""
        has = f"{self.actual} networks"
        if self.network:
            has = f"{self.actual} attachments of network {quote(self.network)}"
        verb = "is" if self.limit == 1 else "are"
        return (
            f"{has}, but at most {self.limit} {verb} allowed in namespace "
            f"{quote(namespace_name)} (annotation {self.key})"
        )


def parse_limit(value: str) -> int | None:
    """Return the limit in *value*; None unless it is a whole number from 1 to 32."""
    return int(value) if _LIMIT.fullmatch(value) else None


def excesses(normal: str, limits: Limits) -> Iterator[Excess]:
    """Yield the limits that *normal*, a value in normal form, exceeds."""
    names = [item.partition("@")[0] for item in normal.split(",")]

    if len(names) > limits.attachments:
        yield Excess(keys.MAX_ATTACHMENTS, limits.attachments, len(names))

    if len(names) <= limits.per_network:
        return
    for name, count in Counter(names).items():
        if count > limits.per_network:
            yield Excess(keys.MAX_PER_NETWORK, limits.per_network, count, name)


def pod_excesses(normal: str, namespace: Namespace, limits: Limits) -> list[Excess]:
    """Return the limits that a pod with this value exceeds; none for the namespace's default.

    A default is validated when it is written: no pod is refused for what its namespace gave it.
    """
    exceeded = list(excesses(normal, limits.of(namespace)))
    return [] if exceeded and is_default(normal, namespace) else exceeded


def is_default(normal: str, namespace: Namespace) -> bool:
    """Tell whether *normal*, a value in normal form, is what the namespace gives its pods."""
    return normal == _normal(namespace.default)


def pod_cause(excess: Excess, namespace_name: str, field: str) -> Cause:
    """Return the cause of a pod's refusal."""
    message = (
        f"Too many: {excess.rule} in namespace {quote(namespace_name)} (has {excess.actual}); "
        f"ask a cluster administrator to set the namespace's annotation {quote(excess.key)} "
        f"to {excess.actual}"
    )
    return Cause(TOO_MANY, message, field)


def pod_warning(excess: Excess, namespace_name: str, field: str) -> str:
    """Return the warning for a pod over a limit, while limits only warn."""
    return warning(f"{field}: over the limit: {excess.brief(namespace_name)}")


def limit_faults(annotations: Mapping[str, str], changed: set[str]) -> Iterator[Cause]:
    """Yield a cause for each annotation of a namespace that was changed to an invalid limit."""
    for key in keys.LIMIT_KEYS:
        value = annotations.get(key)
        if key in changed and value is not None and parse_limit(value) is None:
            rule = f"must be a whole number from 1 to {MAX_LIMIT}"
            yield Cause(INVALID, f"Invalid value: {quote(value)}: {rule}", _field(key))


def default_faults(
    annotations: Mapping[str, str], namespace: Namespace, limits: Limits, changed: set[str]
) -> Iterator[Cause]:
    """Yield a cause for each limit that a namespace's default exceeds.

    The cause is at the annotation that was changed: the default or the limit. *limits* are the
    cluster's. An invalid limit is not compared: :func:`limit_faults` reports it.
    """
    for excess in excesses(_normal(namespace.default), limits.of(namespace)):
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
    prefix = "Required value" if written is None else f"Invalid value: {quote(written)}"
    has = f"has {excess.actual} networks"
    if excess.network:
        has = f"names {quote(excess.network)} {excess.actual} times"
    message = f"{prefix}: must be at least {excess.actual}: the default of the namespace {has}"
    return Cause(REQUIRED if written is None else INVALID, message, _field(excess.key))


def _field(key: str) -> str:
    return f"metadata.annotations[{key}]"


def _normal(value: str) -> str:
    try:
        return normalise(value)
    except InvalidAnnotationError:
        return ""
