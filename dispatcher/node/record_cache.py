"""The plugin's records, as the agent sees them: read only when they have changed.

The plugin's own reader decodes them. A record that cannot be read stays where it is and is
told with its reason; the agent never writes here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dispatcher.state import store
from dispatcher.state.record import CorruptRecordError, NewerRecordError, Record

if TYPE_CHECKING:
    from pathlib import Path


class Stored(NamedTuple):
    """One record of the disk: ``record``, or the ``fault`` that makes it unreadable.

    ``written`` is in seconds of the epoch.
    """

    container_id: str
    written: float
    record: Record | None
    fault: str


class Records:
    """The records below *state_dir*."""

    def __init__(self, state_dir: Path) -> None:
        self._dir = str(state_dir)
        self._state_dir = state_dir
        self._known: dict[str, tuple[tuple[int, int], Stored]] = {}

    def read(self) -> dict[str, Stored]:
        """Return every record by container. Raises OSError when the directory is unreadable."""
        known: dict[str, tuple[tuple[int, int], Stored]] = {}
        for container_id in store.container_ids(self._dir):
            try:
                stat = (self._state_dir / f"{container_id}.json").lstat()
            except FileNotFoundError:
                continue  # freed since we listed the directory
            mark = (stat.st_mtime_ns, stat.st_ino)
            old = self._known.get(container_id)
            if old is not None and old[0] == mark:
                known[container_id] = old
            elif (found := self._load(container_id, stat.st_mtime)) is not None:
                known[container_id] = (mark, found)
        self._known = known
        return {container_id: found for container_id, (_, found) in known.items()}

    def _load(self, container_id: str, written: float) -> Stored | None:
        try:
            record = store.read(self._dir, container_id)
        except (CorruptRecordError, NewerRecordError, OSError) as error:
            return Stored(container_id, written, None, f"{type(error).__name__}: {error}")
        return None if record is None else Stored(container_id, written, record, "")
