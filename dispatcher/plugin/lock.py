"""Locks between calls of the plugin: one per container, and one that GC takes alone.

How it works: a container's lock is an flock on ``<stateDir>/<containerID>.lock``. Delegates
inherit its descriptor, so a delegate that outlives a killed plugin still holds the lock and
the next DEL waits for it instead of racing it. A holder that ends in the ordinary way
unlocks explicitly: a daemon that a delegate left behind, and that still has the descriptor,
then holds nobody. The file is unlinked while locked; who waited for an unlinked file notices
by its inode and starts again. The GC lock is shared by all calls for containers, is taken
alone by GC, and is never inherited.

Rules of this file: taking a lock always ends in time; releasing never fails.
"""

from __future__ import annotations

import posix
import time
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock

from dispatcher.plugin.errors import TRY_AGAIN, CNIError

GC_LOCK = ".gc.lock"  # container ids start with a letter or digit: no collision

_FIRST_PAUSE = 0.002
_LONGEST_PAUSE = 0.05


class Locks:
    """The locks of one call: the container's, alone, and that against GC, shared."""

    __slots__ = ("_gc", "_path", "container")

    def __init__(self, state_dir: str, container_id: str, until: float) -> None:
        """Take both. *until* is a time of the monotonic clock. Raises CNIError, OSError."""
        self._path = f"{state_dir}/{container_id}.lock"
        self._gc = _take(f"{state_dir}/{GC_LOCK}", LOCK_SH, until, "a GC")
        try:
            self.container = _take_current(self._path, until)
        except BaseException:
            posix.close(self._gc)
            raise

    def release(self, *, forget: bool) -> None:
        """Release both; *forget* the container's file too, when it has no record any more."""
        if forget:
            try:
                posix.unlink(self._path)
            except OSError:
                pass  # an empty file is left; nothing depends on its absence
        flock(self.container, LOCK_UN)
        posix.close(self.container)
        posix.close(self._gc)


def take_gc(state_dir: str, until: float) -> int:
    """Take the GC lock alone and return its descriptor: closing it releases it."""
    return _take(f"{state_dir}/{GC_LOCK}", LOCK_EX, until, "a call for a container")


def _take_current(path: str, until: float) -> int:
    while True:
        file = _take(path, LOCK_EX, until, "another call for this container, or its delegate,")
        try:
            named = posix.stat(path)
        except FileNotFoundError:
            named = None
        held = posix.fstat(file)
        if named and (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino):
            return file
        posix.close(file)  # its last holder unlinked it while we waited


def _take(path: str, mode: int, until: float, holder: str) -> int:
    file = posix.open(path, posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC, 0o600)
    pause = _FIRST_PAUSE
    while True:
        try:
            flock(file, mode | LOCK_NB)
        except BlockingIOError:
            if time.monotonic() + pause > until:
                posix.close(file)
                raise CNIError(TRY_AGAIN, f"{holder} still holds {path}") from None
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        except BaseException:
            posix.close(file)
            raise
        else:
            return file


def make_state_dir(state_dir: str) -> None:
    """Make *state_dir* (0700), and what is above it, where it is not there. Raises OSError."""
    try:
        posix.mkdir(state_dir, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        make_state_dir(state_dir.rstrip("/").rpartition("/")[0] or "/")
        posix.mkdir(state_dir, 0o700)
