"""The decision on one review.

Causes and warnings are for the person who typed ``kubectl apply``, audit annotations for the
cluster's auditors, ``outcome`` and ``reason`` for metrics and logs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

UNPROCESSABLE = 422
FORBIDDEN_CODE = 403

FORBIDDEN = "FieldValueForbidden"
"""The reason of a cause that is well formed but not permitted (metav1.CauseType)."""

NOT_FOUND = "FieldValueNotFound"
"""The reason of a cause that names an object that does not exist."""

INTERNAL = "InternalError"
"""The reason of a cause that the API server could not be asked about."""

MAX_WARNING = 256
"""Limit of a warning, in characters. API servers may truncate longer ones."""


class NoDecisionError(Exception):
    """No decision is possible now. The answer is HTTP 503, so that ``failurePolicy`` decides."""


class Cause(NamedTuple):
    """One fault, in the form of metav1.StatusCause."""

    reason: str
    message: str
    field: str


class Decision(NamedTuple):
    """The decision on one review; ``reason`` is one word for metrics and logs.

    ``encoded`` is its part of the response if :func:`webhook.review.encode_once` encoded it.
    """

    allowed: bool = True
    reason: str = "nothing-to-do"
    code: int = 200
    causes: tuple[Cause, ...] = ()
    patch: Sequence[Mapping[str, Any]] = ()
    warnings: tuple[str, ...] = ()
    audit: Mapping[str, str] = {}
    encoded: bytes = b""

    @property
    def outcome(self) -> str:
        """``denied``, ``patched`` or ``allowed``."""
        if not self.allowed:
            return "denied"
        return "patched" if self.patch else "allowed"


ALLOWED = Decision()


def deny(
    causes: Iterable[Cause], audit: Mapping[str, str] | None = None, reason: str = ""
) -> Decision:
    """Return a refusal: 403 if every cause is a lack of permission, else 422.

    The default of *reason* is that of the first cause.
    """
    causes = tuple(causes)
    is_forbidden = all(cause.reason == FORBIDDEN for cause in causes)
    reason = reason or _REASONS.get(causes[0].reason, "invalid")

    return Decision(
        allowed=False,
        reason=reason,
        code=FORBIDDEN_CODE if is_forbidden else UNPROCESSABLE,
        causes=causes,
        audit={**(audit or {}), "reason": reason},
    )


_REASONS = {
    FORBIDDEN: "not-allowed",
    "FieldValueNotSupported": "unknown-network",
    NOT_FOUND: "unknown-definition",
    INTERNAL: "not-checked",
}


def warning(text: str) -> str:
    """Return *text* as API servers accept it: printable, and at most :data:`MAX_WARNING` long."""
    shown = "".join(char if char.isprintable() else "?" for char in text)
    return shown if len(shown) <= MAX_WARNING else shown[: MAX_WARNING - 1] + "…"
