"""Back off from configurations whose caBundle another program also writes.

Two writers that answer each other at once would keep the API server busy for nothing: a replica
and cert-manager's injector, for example, or a replica that an update has not reached yet. A bundle
that is overwritten now and then is written back at once; one that is overwritten again and again is
written back after a growing delay, up to :data:`LONGEST`. Other configurations do not wait.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from dispatcher.kube.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger("certs")

FREE = 2
"""Writes in a series without a delay: a rotation and a person's mistake may coincide."""

SHORTEST, LONGEST = 0.2, 15.0
"""Seconds before the first write that is delayed, and before any later one at most."""

SERIES_GAP = 4 * LONGEST
"""A write more than so many seconds after the last one begins a new series."""


@dataclass(frozen=True, slots=True)
class WriteSeries:
    """Writes of one configuration in close succession; *last* is when the last one was."""

    count: int
    last: float

    @property
    def due(self) -> float:
        """When the next write may come."""
        failures = max(0, self.count - FREE + 1)
        return self.last + Backoff(SHORTEST, LONGEST, failures=failures).delay()


class WriteBackoff:
    """Decides which configurations may be written now; times are *monotonic*'s.

    *on_overwritten_write* is called for every write that follows too many others.
    """

    def __init__(
        self, monotonic: Callable[[], float], on_overwritten_write: Callable[[], None]
    ) -> None:
        self._monotonic = monotonic
        self._on_overwritten_write = on_overwritten_write
        self._series: dict[str, WriteSeries] = {}

    def may_write(self, name: str) -> bool:
        """Tell whether the configuration *name* may be written now."""
        return name not in self._series or self._series[name].due <= self._monotonic()

    def record_write(self, name: str) -> None:
        """Record a write of *name*.

        Counts each write that follows too many others, and logs the first of them in a series.
        """
        now = self._monotonic()
        series = self._series.get(name)
        count = series.count + 1 if series and now - series.last <= SERIES_GAP else 1
        self._series[name] = WriteSeries(count, now)

        if count > FREE:
            self._on_overwritten_write()
        if count == FREE + 1:
            log.warning("another program keeps overwriting this caBundle", configuration=name)

    def seconds_to_next_write(self) -> float:
        """Return the seconds until the first delayed write may come; infinity: none is delayed."""
        now = self._monotonic()
        delays = [series.due - now for series in self._series.values() if series.due > now]
        return min(delays, default=math.inf)
