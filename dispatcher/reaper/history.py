"""What the reaper remembers from one pass to the next. Nothing here touches the node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher.kube.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Collection

REQUIRED_ABSENCES = 2
"""Passes in a row in which the runtime must not list a sandbox before it counts as absent."""

FIRST_RETRY_SECONDS = 600.0
"""Time before a DEL that failed is tried again; doubled by each failure."""

LONGEST_RETRY_SECONDS = 86_400.0


class Absences:
    """In how many passes in a row the runtime did not list a container that has a record."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def count(self, containers: Collection[str], listed: Collection[str]) -> None:
        """Count a pass: the runtime *listed* these sandboxes; *containers* have a record."""
        absent = [each for each in containers if each not in listed]
        self._counts = {each: self._counts.get(each, 0) + 1 for each in absent}

    def clear(self) -> None:
        """Start again: a runtime that does not answer may have forgotten its sandboxes."""
        self._counts.clear()

    @property
    def absent_twice(self) -> list[str]:
        """The containers absent in :data:`REQUIRED_ABSENCES` passes in a row, in lexical order."""
        return sorted(each for each, count in self._counts.items() if count >= REQUIRED_ABSENCES)


class DelRetries:
    """When a DEL that failed is tried again. Times are in seconds of any one clock."""

    def __init__(self) -> None:
        self._backoffs: dict[str, Backoff] = {}
        self._waits: dict[str, tuple[float, float]] = {}
        """Begin and end of the time in which a DEL is not tried, by container."""

    def is_due(self, container_id: str, now: float) -> bool:
        """Return whether a DEL for *container_id* may be tried at *now*."""
        begin, end = self._waits.get(container_id, (now, now))
        return not begin <= now < end  # before the begin, the clock was set back

    def record_failure(self, container_id: str, started_at: float) -> None:
        """Record that a DEL failed that was started at *started_at*."""
        first = Backoff(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
        backoff = self._backoffs.setdefault(container_id, first)
        backoff.fail()
        self._waits[container_id] = (started_at, started_at + backoff.delay())

    def forget_except(self, containers: Collection[str]) -> None:
        """Forget all failures except those of *containers*."""
        for container_id in self._backoffs.keys() - set(containers):
            del self._backoffs[container_id], self._waits[container_id]
