"""What the webhook decided about one review, and the few ways to say it.

A decision is always a whole sentence for someone: causes for the person who typed
``kubectl apply``, warnings for the same person when nothing is refused, audit annotations
for the cluster's auditors, ``outcome`` and ``reason`` for the metrics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

UNPROCESSABLE = 422
FORBIDDEN_CODE = 403

FORBIDDEN = "FieldValueForbidden"
"""The cause of what is well formed and yet not permitted (metav1.CauseType)."""

MAX_WARNING = 256
"""Characters of a warning. API servers may cut longer ones."""


class NoDecisionError(Exception):
    """There is no answer now. It becomes HTTP 503, so that ``failurePolicy`` decides."""


class Cause(NamedTuple):
    """One fault, in the form of metav1.StatusCause."""

    reason: str
    message: str
    field: str


class Decision(NamedTuple):
    """The answer to one review; ``reason`` is one word for metrics and logs."""

    allowed: bool = True
    reason: str = "nothing-to-do"
    code: int = 200
    causes: tuple[Cause, ...] = ()
    patch: Sequence[Mapping[str, Any]] = ()
    warnings: tuple[str, ...] = ()
    audit: Mapping[str, str] = {}

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
    """Return a refusal: 403 if all that is wrong is a lack of permission, else 422.

    Without a *reason* it is that of the first cause.
    """
    causes = tuple(causes)
    forbidden = all(cause.reason == FORBIDDEN for cause in causes)
    reason = reason or _WORDS.get(causes[0].reason, "invalid")
    return Decision(
        allowed=False,
        reason=reason,
        code=FORBIDDEN_CODE if forbidden else UNPROCESSABLE,
        causes=causes,
        audit={**(audit or {}), "reason": reason},
    )


_WORDS = {FORBIDDEN: "not-allowed", "FieldValueNotSupported": "unknown-network"}


def warning(text: str) -> str:
    """Return *text* as the API server takes it: printable, and not too long."""
    shown = "".join(char if char.isprintable() else "?" for char in text)
    return shown if len(shown) <= MAX_WARNING else shown[: MAX_WARNING - 1] + "…"
