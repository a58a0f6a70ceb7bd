"""The records of the node's containers, read again only when their files have changed.

The agent and the reaper look at all records every minute, and most of them have not changed. Both
decode records with the plugin's own reader, and neither changes one here.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from dispatcher.state import store
from dispatcher.state.record import PARKED, CorruptRecordError, NewerRecordError, Record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STATES = ("attached", "incomplete", "failed", "parked", "unreadable")
"""The states of a record; one that has several of these counts as the last of them."""


@dataclass(frozen=True)
class CachedRecord:
    """One record file: its ``record``, or the ``fault`` for which it cannot be read.

    ``written_at`` is the file's modification time, in seconds of the epoch. If the clock was ahead
    then, it is the time of the first reading after the correction. What follows from the record is
    computed once, because all records are looked through several times for each pod.
    """

    container_id: str
    written_at: float
    record: Record | None
    fault: str

    @cached_property
    def pod(self) -> tuple[str, str, str]:
        """Namespace, name and UID of the pod, each "" if unknown."""
        return self.record.pod if self.record else ("", "", "")

    @cached_property
    def state(self) -> str:
        """Which of :data:`STATES` the record has."""
        if self.record is None:
            return "unreadable"
        if any(attachment.phase == PARKED for attachment in self.record.attachments):
            return "parked"
        if any(attachment.failure for attachment in self.record.attachments):
            return "failed"
        return "attached" if self.record.is_complete else "incomplete"


class RecordCache:
    """The records below *state_dir*; *clock* returns seconds of the epoch."""

    def __init__(self, state_dir: Path, clock: Callable[[], float] = time.time) -> None:
        self._state_dir = str(state_dir)
        self._clock = clock
        self._known: dict[str, tuple[tuple[int, int], CachedRecord]] = {}

    def read(self) -> dict[str, CachedRecord]:
        """Return every record by container id. Raises OSError if the directory is unreadable."""
        known: dict[str, tuple[tuple[int, int], CachedRecord]] = {}
        now = self._clock()

        for container_id in store.container_ids(self._state_dir):
            try:
                stat = os.lstat(store.path_of(self._state_dir, container_id))
            except FileNotFoundError:
                continue  # removed since the directory was listed

            file_version = (stat.st_mtime_ns, stat.st_ino)
            before = self._known.get(container_id)
            if before is not None and before[0] == file_version:
                cached = before[1]
                # Only after a correction of the clock: callers recognise a record by its identity.
                if cached.written_at > now:
                    cached = replace(cached, written_at=now)
                known[container_id] = (file_version, cached)
                continue

            if (current := self._load(container_id, min(stat.st_mtime, now))) is not None:
                known[container_id] = (file_version, current)

        self._known = known
        return {container_id: cached for container_id, (_, cached) in known.items()}

    def _load(self, container_id: str, written_at: float) -> CachedRecord | None:
        """Return the record, or None if it was removed meanwhile."""
        try:
            record = store.read(self._state_dir, container_id)
        except (CorruptRecordError, NewerRecordError, OSError) as error:
            fault = getattr(error, "strerror", None) or str(error)
            return CachedRecord(container_id, written_at, None, fault)
        return None if record is None else CachedRecord(container_id, written_at, record, "")
