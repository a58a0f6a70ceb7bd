"""Reads the plugin's journal: what each ADD and DEL was, for metrics and for Events.

The plugin appends one JSON object on one line after each call
(:mod:`dispatcher.state.journal` has the format) and stops at 4 MiB if nobody reads. Here the
file is taken away by ``rename`` and read to its end at the next turn, so that a writer which
had it open is not missed, and then removed.

:class:`RetryTracker` tells which calls are there because an earlier one failed.

Rules: the content is believed as far as root wrote it, and no further than its form; a line
that is not understood is left out.
"""

from __future__ import annotations

import contextlib
import json
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

import structlog

from dispatcher.state.journal import NAME
from dispatcher.state.store import IrregularFileError, read_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_FAILED = 1000
"""How many failed calls are remembered, to tell retries by."""

log = structlog.get_logger("journal")


class JournalStep(NamedTuple):
    """One attachment of a call; ``code`` is 0, or the CNI error code."""

    network: str
    seconds: float
    code: int


class JournalEntry(NamedTuple):
    """One call; ``pod`` is namespace, name and UID, each "" where it is not known."""

    command: str
    container_id: str
    seconds: float
    code: int
    msg: str
    pod: tuple[str, str, str]
    steps: tuple[JournalStep, ...]


class JournalReader:
    """The journal below *state_dir*."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / NAME
        self._taken = self._path.with_suffix(".taken")

    def take(self) -> list[JournalEntry]:
        """Return the calls that ended since the turn before last. Raises OSError."""
        entries: list[JournalEntry] = []
        with contextlib.suppress(FileNotFoundError):
            entries = list(parse(self._read()))
            self._taken.unlink()
        with contextlib.suppress(FileNotFoundError):
            self._path.rename(self._taken)
        return entries

    def _read(self) -> bytes:
        try:
            return read_file(str(self._taken))
        except IrregularFileError as error:
            log.warning("the journal is removed", path=str(self._taken), error=error.strerror)
            return b""


def parse(data: bytes) -> Iterator[JournalEntry]:
    """Yield an entry for each line of *data* that is one."""
    for line in data.splitlines():
        try:
            yield _entry(json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("a line of the journal is not understood", error=str(error))


def _entry(said: dict[str, object]) -> JournalEntry:
    pod, steps = said["pod"], said["attachments"]
    if not isinstance(pod, list) or not isinstance(steps, list):
        raise TypeError("pod and attachments must be lists")
    namespace, name, uid = map(str, pod)
    return JournalEntry(
        command=str(said["command"]),
        container_id=str(said["containerID"]),
        seconds=float(str(said["seconds"])),
        code=int(str(said["code"])),
        msg=str(said["msg"]),
        pod=(namespace, name, uid),
        steps=tuple(
            JournalStep(str(step["network"]), float(step["seconds"]), int(step["code"]))
            for step in steps
        ),
    )


class RetryTracker:
    """Remembers failed calls, to know the next of the same kind for a retry.

    kubelet makes a new sandbox after each ADD that failed, so what comes again is an ADD for the
    same pod; a DEL comes again for the same container, be it from the runtime or the reaper.
    """

    def __init__(self) -> None:
        self._failed: OrderedDict[tuple[str, str], None] = OrderedDict()

    def track(self, entry: JournalEntry) -> bool:
        """Return whether *entry* repeats a call that failed; the entries come in order."""
        whom = entry.pod[2] if entry.command == "ADD" else ""
        key = entry.command, whom or entry.container_id
        again = key in self._failed
        self._failed.pop(key, None)
        if entry.code:
            self._failed[key] = None
        if len(self._failed) > MOST_FAILED:
            self._failed.popitem(last=False)
        return again
