"""Reads the plugin's journal: each ADD and DEL with its result, for metrics and Events.

The plugin appends one JSON object on one line after each call (:mod:`dispatcher.state.journal` has
the format), and stops at 4 MiB if the journal is not read. :class:`JournalReader` removes the file
and reads it. It keeps it open until the next call, which reads what a plugin has added that had
opened it before.

:class:`RetryTracker` finds calls that repeat a failed one.

Rules: only root can write the journal, so its values are trusted, but not its form: an invalid line
is skipped.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

import structlog

from dispatcher.state.journal import NAME
from dispatcher.state.store import IrregularFileError, open_file, read_rest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_FAILED = 1000
"""How many failed calls are remembered to find their retries."""

log = structlog.get_logger("journal")


class JournalStep(NamedTuple):
    """One attachment of a call; ``code`` is 0, or the CNI error code."""

    network: str
    seconds: float
    code: int
    interface: str


class JournalEntry(NamedTuple):
    """One call; ``pod`` is namespace, name and UID, each "" if unknown.

    ``time`` is its end, in seconds of the epoch.
    """

    time: float
    command: str
    container_id: str
    seconds: float
    code: int
    msg: str
    pod: tuple[str, str, str]
    steps: tuple[JournalStep, ...]

    def operations(self) -> Iterator[tuple[str, JournalStep]]:
        """Yield each step with its command: an ADD that failed releases what it attached, by DEL.

        An ADD attaches each network and interface once, so a second step of both is the roll-back.
        """
        attached: set[tuple[str, str]] = set()
        for step in self.steps:
            key = step.network, step.interface
            yield "DEL" if key in attached else self.command, step
            if self.command == "ADD":
                attached.add(key)


class JournalReader:
    """Reads and removes the journal in *state_dir*."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / NAME
        self._removed: int | None = None
        """The descriptor of the journal that was removed last."""

    def take(self) -> list[JournalEntry]:
        """Return the calls since the last call of this method. Raises OSError."""
        late = self._read_late()
        try:
            file = open_file(str(self._path))
        except FileNotFoundError:
            return late
        except IrregularFileError as error:
            log.warning(
                "journal removed: not a regular file", path=str(self._path), error=error.strerror
            )
            self._path.unlink()
            return late

        try:
            self._path.unlink()
            entries = [*late, *parse(read_rest(file))]
        except OSError:
            os.close(file)
            raise
        self._removed = file
        return entries

    def _read_late(self) -> list[JournalEntry]:
        """Return what was added to the removed journal since it was read."""
        if self._removed is None:
            return []
        file, self._removed = self._removed, None
        try:
            return list(parse(read_rest(file)))
        finally:
            os.close(file)


def parse(data: bytes) -> Iterator[JournalEntry]:
    """Yield an entry for each valid line of *data*."""
    for line in data.splitlines():
        try:
            yield _entry(json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("journal line skipped: invalid", error=str(error))


def _entry(fields: dict[str, object]) -> JournalEntry:
    pod, steps = fields["pod"], fields["attachments"]
    if not isinstance(pod, list) or not isinstance(steps, list):
        raise TypeError("pod and attachments must be lists")
    namespace, name, uid = map(str, pod)
    return JournalEntry(
        time=float(str(fields["time"])),
        command=str(fields["command"]),
        container_id=str(fields["containerID"]),
        seconds=float(str(fields["seconds"])),
        code=int(str(fields["code"])),
        msg=str(fields["msg"]),
        pod=(namespace, name, uid),
        steps=tuple(
            JournalStep(
                str(step["network"]),
                float(step["seconds"]),
                int(step["code"]),
                str(step["interface"]),
            )
            for step in steps
        ),
    )


class RetryTracker:
    """Remembers failed calls, to find the calls that repeat them.

    kubelet makes a new sandbox after each failed ADD, so an ADD is repeated for the same pod. A DEL
    is repeated for the same container, by the runtime or by the reaper.
    """

    def __init__(self) -> None:
        self._failed: OrderedDict[tuple[str, str], None] = OrderedDict()

    def track(self, entry: JournalEntry) -> bool:
        """Record *entry*, in order of the journal; return whether it repeats a failed call."""
        pod_uid = entry.pod[2] if entry.command == "ADD" else ""
        key = entry.command, pod_uid or entry.container_id
        is_retry = key in self._failed

        self._failed.pop(key, None)
        if entry.code:
            self._failed[key] = None
        if len(self._failed) > MAX_FAILED:
            self._failed.popitem(last=False)
        return is_retry
