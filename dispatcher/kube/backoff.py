"""A growing delay between retries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_DOUBLINGS = 64
"""A float would overflow after 1,023 doublings; any *longest* is reached before this one."""


@dataclass(slots=True)
class Backoff:
    """The delay before the next retry, in seconds: doubled by each failure, up to *longest*.

    *jitter* is called with the lower and the upper bound of a delay and returns one between them
    (``random.uniform``), so that replicas do not retry all at once. Without it, the delay is the
    upper bound.
    """

    first: float
    longest: float
    jitter: Callable[[float, float], float] | None = None
    failures: int = 0

    def fail(self) -> None:
        """Count a failure."""
        self.failures += 1

    def reset(self) -> None:
        """Forget the failures, after a success."""
        self.failures = 0

    def delay(self) -> float:
        """Return the seconds to wait before the next try; 0 if the last one succeeded."""
        if not self.failures:
            return 0.0

        doublings = min(self.failures - 1, _MAX_DOUBLINGS)
        delay = min(self.longest, self.first * 2.0**doublings)
        return self.jitter(delay / 2, delay) if self.jitter else delay
