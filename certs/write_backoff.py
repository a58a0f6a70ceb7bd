"""Configurations that somebody else writes as often as we do.

Two who write the same field and answer each other at once would keep the API server busy for
nothing: cert-manager's injector and a replica that an update has not reached yet, for example. Who
takes a bundle away now and then has it back at once; who does so again and again waits longer each
time, up to :data:`LONGEST`. Other configurations wait for nothing.
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
"""So many writes in a row wait for nothing: a rotation and somebody's mistake may coincide."""

SHORTEST, LONGEST = 0.2, 15.0
"""Seconds before the write after those, and before any later one at most."""

ROW = 4 * LONGEST
"""Writes that are further apart than so many seconds are no row."""


@dataclass(frozen=True, slots=True)
class WriteSeries:
    """Writes of one configuration in a row."""

    count: int
    last: float

    @property
    def due(self) -> float:
        """When the next may come."""
        beyond = self.count - FREE
        if beyond < 0:
            return self.last
        return self.last + Backoff(SHORTEST, LONGEST, failures=beyond + 1).delay()


class WriteBackoff:
    """Says which configurations may be written now; times are *monotonic*'s."""

    def __init__(self, monotonic: Callable[[], float], contested: Callable[[], None]) -> None:
        self._monotonic = monotonic
        self._contested = contested
        self._rows: dict[str, WriteSeries] = {}

    def may_write(self, name: str) -> bool:
        """Tell whether the configuration *name* may be written now."""
        return name not in self._rows or self._rows[name].due <= self._monotonic()

    def record_write(self, name: str) -> None:
        """Note a write of *name*; a contested one is counted, the first of a row logged."""
        now = self._monotonic()
        row = self._rows.get(name)
        count = row.count + 1 if row and now - row.last <= ROW else 1
        self._rows[name] = WriteSeries(count, now)
        if count > FREE:
            self._contested()
        if count == FREE + 1:
            log.warning("somebody else writes this caBundle again and again", configuration=name)

    def seconds_to_next_write(self) -> float:
        """Return for how many seconds the first that has to wait has to."""
        now = self._monotonic()
        return min(
            (row.due - now for row in self._rows.values() if row.due > now), default=math.inf
        )
