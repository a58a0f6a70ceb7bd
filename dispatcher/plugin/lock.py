"""Locks between calls of the plugin: one per container, and one that GC takes alone.

How it works: a container's lock is an flock on ``<stateDir>/<containerID>.lock``. Delegates
inherit its descriptor, so a delegate that outlives a killed plugin still holds the lock and
the next DEL waits for it instead of racing it. A holder that ends in the ordinary way
unlocks explicitly: a daemon that a delegate left behind, and that still has the descriptor,
then holds nobody. The file is unlinked while locked; who waited for an unlinked file notices
by its inode and starts again. The GC lock is shared by all calls for containers, and taken
alone by a GC while networks collect. Their plugins inherit it then, as one that outlives a
killed GC would free pods that its list is too old to have.

On a file system that is full or read-only no lock file can be made, but the one that ADD
made can still be locked, so DEL works there.

Rules of this file: taking a lock always ends in time; releasing never fails.
"""

from __future__ import annotations

import posix
import time
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock

from dispatcher.plugin.errors import TRY_AGAIN, CNIError

SUFFIX = ".lock"
GC = ".gc"  # container ids start with a letter or digit: no collision

_FIRST_PAUSE = 0.002
_LONGEST_PAUSE = 0.05
_FLAGS = posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW
_EXISTING = posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW


class Lock:
    """A lock that is held until :meth:`release`."""

    __slots__ = ("_file", "_path")

    def __init__(self, path: str, file: int) -> None:
        self._path = path
        self._file = file

    def __enter__(self) -> None:
        pass

    def __exit__(self, *failure: object) -> None:
        self.release()

    def release(self, *, forget: bool = False) -> None:
        """Let go; unlink the file first to *forget* it."""
        if forget:
            try:
                posix.unlink(self._path)
            except OSError:
                pass  # an empty file is left; nothing depends on its absence
        flock(self._file, LOCK_UN)
        posix.close(self._file)


def of_container(state_dir: str, container_id: str, until: float) -> Lock:
    """Take the lock of *container_id*, which delegates inherit.

    *until* is a time of the monotonic clock. Raises CNIError with code 11, and OSError.
    """
    holder = "another call for this container, or its delegate,"
    return _inherited(_take(state_dir, container_id + SUFFIX, LOCK_EX, until, holder))


def against_gc(state_dir: str, until: float) -> Lock:
    """Take the lock that keeps a GC away, together with other calls. Raises as above."""
    return _take(state_dir, GC + SUFFIX, LOCK_SH, until, "a GC")


def for_gc(state_dir: str, until: float) -> Lock:
    """Take the same lock alone; delegates inherit it. Raises as above."""
    return _inherited(_take(state_dir, GC + SUFFIX, LOCK_EX, until, "a call for a container"))


def _inherited(lock: Lock) -> Lock:
    posix.set_inheritable(lock._file, True)  # noqa: FBT003, SLF001 - made here
    return lock


def _take(state_dir: str, name: str, mode: int, until: float, holder: str) -> Lock:
    path = f"{state_dir}/{name}"
    while True:
        file = _open(path)
        try:
            _wait(file, mode, until, f"{holder} still holds {path}")
            if _is_at(path, file):
                return Lock(path, file)
        except BaseException:
            posix.close(file)
            raise
        posix.close(file)  # its last holder unlinked it while we waited


def _open(path: str) -> int:
    try:
        return posix.open(path, _FLAGS, 0o600)
    except OSError as refused:
        try:
            return posix.open(path, _EXISTING)
        except OSError:
            raise refused from None  # that one says why


def _is_at(path: str, file: int) -> bool:
    held = posix.fstat(file)
    try:
        named = posix.stat(path)
    except FileNotFoundError:
        return False
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)


def _wait(file: int, mode: int, until: float, sentence: str) -> None:
    pause = _FIRST_PAUSE
    while True:
        try:
            flock(file, mode | LOCK_NB)
        except BlockingIOError:
            if time.monotonic() + pause > until:
                raise CNIError(TRY_AGAIN, sentence) from None
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            return
