"""Notices at once when a configuration comes, goes or changes.

inotify through watchdog on the folders *above* the configuration directories, so that a
directory that is removed and made again is still watched. It is a help, not a promise: the
agent looks by itself every few seconds, too.
"""

from __future__ import annotations

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
"""What is asked of the kernel. Reading is not in it: our own looks read every file."""

log = structlog.get_logger("watch")


class _Wake(FileSystemEventHandler):
    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        del event
        self._wake.set()


def start(directories: Mapping[str, threading.Event]) -> BaseObserver:
    """Set each directory's event on every change below it; returns what ``stop()`` ends."""
    observer = Observer()
    observer.daemon = True
    observer.start()  # first: scheduling then tells at once of a directory that is not there
    for directory, wake in directories.items():
        try:
            observer.schedule(_Wake(wake), directory, recursive=True, event_filter=CHANGES)
        except OSError as error:
            log.warning("cannot watch; looking every few seconds", path=directory, error=str(error))
    return observer
