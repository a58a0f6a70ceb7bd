"""Wakes the agent when a configuration, a file of the plugin or a record changes.

One inotify instance and one thread watch all directories. A directory that is removed and made
again is watched again, if the one above it is watched as well. A missed change is no fault: the
agent reconciles every few seconds, too. So it works, only later, on a node whose inotify instances
are used up (128 for all processes of root, where the administrator sets no other limit).

Rules: files with one of our temporary names wake no thread. Otherwise a failing write (a full disk)
would be retried at once, for ever. Reading a file wakes no thread: the agent reads every file.
"""

from __future__ import annotations

import os
import select
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

import structlog
from inotify_simple import INotify, flags

from dispatcher.node import atomic_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from inotify_simple import Event

WRITTEN = int(flags.CLOSE_WRITE)
"""Flag of a change: a file that was open for writing is closed."""

REMOVED = int(flags.DELETE)
"""A file or folder is removed."""

_CHANGES = WRITTEN | REMOVED | flags.CREATE | flags.MOVED_FROM | flags.MOVED_TO

BATCH_SECONDS = 0.05
"""How long changes are collected before they are read: one call of the plugin makes a dozen."""

log = structlog.get_logger("watch")


class Watch(NamedTuple):
    """A directory, and the event to set when a file or folder in it changes.

    ``is_relevant`` gets its name and the inotify flags of the change. A directory that
    ``is_optional`` may be missing.
    """

    directory: Path
    wake: threading.Event
    is_relevant: Callable[[str, int], bool] = lambda _name, _mask: True
    is_optional: bool = False


def is_named(name: str) -> Callable[[str, int], bool]:
    """Return an ``is_relevant`` for changes of the one file or folder *name*."""
    return lambda changed, _mask: changed == name


class Watcher:
    """Watches directories in a thread of its own. Raises OSError if the node allows no more."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        self._watches = watches
        self._inotify = INotify()
        self._stop_event = os.eventfd(0)
        self._by_descriptor: dict[int, list[Watch]] = {}
        for watch, error in self._add_watches():
            if not (watch.is_optional and isinstance(error, FileNotFoundError)):
                log.warning(
                    "cannot watch directory; the regular reconciliation finds changes",
                    path=str(watch.directory),
                    error=str(error),
                )
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and all watches."""
        os.eventfd_write(self._stop_event, 1)
        self._thread.join()
        os.close(self._stop_event)
        self._inotify.close()

    def _add_watches(self) -> list[tuple[Watch, OSError]]:
        """Watch each directory that exists; return the others, each with its error."""
        failed = []
        self._by_descriptor = {}
        for watch in self._watches:
            try:
                # A directory that is watched already keeps its descriptor.
                descriptor = self._inotify.add_watch(watch.directory, _CHANGES | flags.ONLYDIR)
            except OSError as error:
                failed.append((watch, error))
            else:
                self._by_descriptor.setdefault(descriptor, []).append(watch)
        return failed

    def _run(self) -> None:
        poller = select.poll()
        for file in (self._inotify.fileno(), self._stop_event):
            poller.register(file, select.POLLIN)

        while self._stop_event not in dict(poller.poll()):
            time.sleep(BATCH_SECONDS)
            self._report(self._inotify.read(timeout=0))

    def _report(self, changes: Sequence[Event]) -> None:
        wakes = {
            watch.wake
            for change in changes
            if not change.name.startswith(atomic_file.TEMPORARY_PREFIX)
            for watch in self._by_descriptor.get(change.wd, ())
            if watch.is_relevant(change.name, change.mask)
        }
        # A directory that was made again is watched before its reader is woken: no change is missed
        # in between.
        if any(change.mask & flags.ISDIR for change in changes):
            self._add_watches()
        for wake in wakes:
            wake.set()


def start(watches: Sequence[Watch]) -> Watcher | None:
    """Start a :class:`Watcher`, or return None if the node allows no more of them."""
    try:
        return Watcher(watches)
    except OSError as error:
        log.warning(
            "cannot watch any directory; the regular reconciliation finds changes",
            error=str(error),
            fix="raise the node's sysctl fs.inotify.max_user_instances",
        )
        return None
