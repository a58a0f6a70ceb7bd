"""Wakes the agent when a configuration or a file of the plugin changes.

The folders *above* the configuration directories are watched recursively, so that a directory which
is removed and made again is still watched. The directory of CNI plugins is watched without the
folders in it, which are many and rarely change. A missed change is no fault: the agent reconciles
every few seconds, too. So it works, only later, on a node whose inotify instances are used up (128
for all processes of root, where the administrator sets no other limit).

Rules: files with one of our temporary names wake no thread. Otherwise a failing write (a full disk)
would be retried at once, for ever.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import structlog
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from dispatcher.node import atomic_file

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from watchdog.observers.api import BaseObserver

CHANGES: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
]
"""The changes to watch. Reading is not one: the agent itself reads every file."""

log = structlog.get_logger("watch")


class _Wake(FileSystemEventHandler):
    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        path = os.fsdecode(event.dest_path or event.src_path)
        if not path.rpartition("/")[2].startswith(atomic_file.TEMPORARY_PREFIX):
            self._wake.set()


def start(
    recursive: Mapping[str, threading.Event], shallow: Mapping[str, threading.Event]
) -> BaseObserver | None:
    """Set each directory's event when something in it changes.

    *recursive* directories are watched with all folders below them, *shallow* ones without. Return
    the observer, whose ``stop()`` ends the watches, or None if the node allows no more of them.
    """
    try:
        observer = Observer()
    except OSError as error:
        log.warning(
            "cannot watch any directory; the regular reconciliation finds changes",
            error=str(error),
            fix="raise the node's sysctl fs.inotify.max_user_instances",
        )
        return None

    observer.daemon = True
    # Started first, because then scheduling reports a missing directory at once.
    observer.start()

    watches = [(*each, True) for each in recursive.items()]
    watches += [(*each, False) for each in shallow.items()]
    for directory, wake, is_recursive in watches:
        try:
            observer.schedule(_Wake(wake), directory, recursive=is_recursive, event_filter=CHANGES)
        except OSError as error:
            log.warning(
                "cannot watch directory; the regular reconciliation finds changes",
                path=directory,
                error=str(error),
            )
    return observer
