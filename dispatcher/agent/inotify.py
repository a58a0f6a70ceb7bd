"""Notices at once when a configuration comes, goes or changes, or the plugin goes.

inotify through watchdog on the folders *above* the configuration directories, so that a
directory that is removed and made again is still watched. The directory of CNI plugins is watched
without what lies below it: many folders, which nobody changes one by one. It is a help,
not a promise: the agent looks by itself every few seconds, too.

Rules: what has a temporary name of ours is not told. Writing that fails (a full disk) would else
be tried again at once, for ever.
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
"""What is asked of the kernel. Reading is not in it: our own looks read every file."""

log = structlog.get_logger("watch")


class _Wake(FileSystemEventHandler):
    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        path = os.fsdecode(event.dest_path or event.src_path)
        if not path.rpartition("/")[2].startswith(atomic_file.TEMPORARY_PREFIX):
            self._wake.set()


def start(
    directories: Mapping[str, threading.Event], shallow: Mapping[str, threading.Event]
) -> BaseObserver:
    """Set each directory's event on every change below it, of *shallow* ones on those in it.

    Returns what ``stop()`` ends.
    """
    observer = Observer()
    observer.daemon = True
    observer.start()  # first: scheduling then tells at once of a directory that is not there
    asked = [(*each, True) for each in directories.items()]
    for directory, wake, below in [*asked, *((*each, False) for each in shallow.items())]:
        try:
            observer.schedule(_Wake(wake), directory, recursive=below, event_filter=CHANGES)
        except OSError as error:
            log.warning("cannot watch; looking every few seconds", path=directory, error=str(error))
    return observer
