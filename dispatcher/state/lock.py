"""Locks between calls of the plugin: one for each container, and one that GC takes exclusively.

A container's lock is an flock on ``<stateDir>/<containerID>.lock``. Delegates inherit its
descriptor: while a delegate outlives a killed plugin, the next DEL waits instead of running beside
it. The file is unlinked while it is locked; a waiter notices by the inode, and starts again.

All calls for containers share the GC lock. GC takes it exclusively while the networks collect, and
their plugins inherit it: one that outlives a killed GC would release pods that are missing in its
list because they are newer.

The file names the delegate that works under the lock, and its deadline. If that is long over, the
plugin was killed and cannot end the delegate: a waiter kills it with all that it has started,
as the plugin would have. A daemon that the delegate has left behind is not killed.

Rules of this file: acquiring a lock always ends by its deadline; releasing never fails.
"""

from __future__ import annotations

import posix
import time
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock

from dispatcher.cni_errors import TRY_AGAIN, CNIError

SUFFIX = ".lock"
GC = ".gc"  # container ids start with a letter or digit: no collision
_GC_FILE = GC + SUFFIX

NO_WAIT = 0.0
"""As a deadline: take the lock only if it is free."""

NO_DELEGATE = 0
"""For :meth:`Lock.record_delegate`: no delegate works yet."""

_SIGKILL = 9
_OVERDUE = 5.0  # seconds after its deadline; a living plugin would have killed its delegate
_HOLDER_SIZE = 64
_FIRST_DELAY = 0.002
_LONGEST_DELAY = 0.05
# O_NONBLOCK: the open of a pipe in its place must not wait. A pipe can be locked as well.
_EXISTING = posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW | posix.O_NONBLOCK
_FLAGS = posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW | posix.O_NONBLOCK
_NO_FILE = (6, 40)  # ENXIO, ELOOP: a socket, a symbolic link


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

    def record_delegate(self, delegate: int, deadline: float) -> None:
        """Write into the file which process works under this lock, and its deadline.

        *deadline* is a time of the monotonic clock.
        """
        try:
            posix.pwrite(self._file, f"{delegate} {deadline:.0f}\n".encode().rjust(_HOLDER_SIZE), 0)
        except OSError:
            pass  # a full or read-only file system: no other call can end the delegate then

    def release(self, *, unlink: bool = False) -> None:
        """Unlock, also for a daemon that still has the descriptor; *unlink* removes the file."""
        if unlink:
            try:
                posix.unlink(self._path)
            except OSError:
                pass  # the file stays; nothing depends on its absence
        else:
            _clear_delegate(self._file)
        flock(self._file, LOCK_UN)
        posix.close(self._file)


def acquire_container(state_dir: str, container_id: str, deadline: float) -> Lock:
    """Acquire the lock of *container_id*, which delegates inherit.

    *deadline* is a time of the monotonic clock. Raises CNIError with code 11, and OSError.
    """
    holder = "another call for this container, or its delegate,"
    return _inherited(_acquire(state_dir, container_id + SUFFIX, LOCK_EX, deadline, holder))


def acquire_gc_shared(state_dir: str, deadline: float) -> Lock:
    """Acquire the GC lock together with other calls. Raises CNIError with code 11, and OSError."""
    return _acquire(state_dir, _GC_FILE, LOCK_SH, deadline, "a GC")


def acquire_gc_exclusive(state_dir: str, deadline: float) -> Lock:
    """Acquire the GC lock alone; delegates inherit it. Raises CNIError (code 11), and OSError."""
    return _inherited(_acquire(state_dir, _GC_FILE, LOCK_EX, deadline, "a call for a container"))


def _inherited(lock: Lock) -> Lock:
    posix.set_inheritable(lock._file, True)  # noqa: FBT003, SLF001 - created by _acquire
    return lock


def _acquire(state_dir: str, name: str, mode: int, deadline: float, holder: str) -> Lock:
    path = f"{state_dir}/{name}"
    while True:
        file = _open(path)
        try:
            sentence = f"{holder} still holds {path}"
            locked = _wait(file, mode, deadline, sentence, replaceable=name == _GC_FILE)
            named = _is_at(path, posix.fstat(file))
            if locked and named:
                _clear_delegate(file)
                return Lock(path, file)
            if named:
                posix.unlink(path)
        except FileNotFoundError:
            pass  # another waiter was faster
        except BaseException:
            posix.close(file)
            raise
        posix.close(file)  # it was unlinked, by its last holder or by us: start again


def _open(path: str) -> int:
    try:
        return posix.open(path, _FLAGS, 0o600)
    # A full or read-only file system accepts no new file, but DEL can lock the one of ADD.
    except OSError as refused:
        try:
            return posix.open(path, _EXISTING)
        except OSError:
            if refused.errno in _NO_FILE:
                sentence = "it is not a regular file: remove it"
                raise OSError(refused.errno, sentence, path) from None
            raise refused from None  # its reason says more than that of the second open


def _is_at(path: str, held: posix.stat_result) -> bool:
    try:
        named = posix.stat(path)
    except FileNotFoundError:
        return False
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)


def _clear_delegate(file: int) -> None:
    """Remove the delegate of a killed call: its number may be that of another process by now."""
    if posix.fstat(file).st_size:
        try:
            posix.ftruncate(file, 0)
        except OSError:
            pass  # read-only


def _wait(file: int, mode: int, deadline: float, sentence: str, *, replaceable: bool) -> bool:
    """Lock *file*. Return False if a daemon holds it and a new file may replace it.

    A daemon that a delegate left behind holds the lock of its container forever: what it still does
    there is unknown. All pods of the node wait for the GC lock, so that one is replaced.
    """
    delay = _FIRST_DELAY
    while True:
        try:
            flock(file, mode | LOCK_NB)
        except BlockingIOError:
            if kill_overdue(file) and replaceable:
                return False
            if time.monotonic() + delay > deadline:
                raise CNIError(TRY_AGAIN, sentence) from None
            time.sleep(delay)
            delay = min(2 * delay, _LONGEST_DELAY)
        else:
            return True


def kill_overdue(file: int) -> bool:
    """Kill the delegate that works under the lock in *file*, if its deadline is long over.

    Return True if it is over and the delegate has ended: what else has the file is a daemon.
    """
    try:
        holder = posix.pread(file, _HOLDER_SIZE, 0).split()
    except OSError:
        return False  # a pipe in its place
    if len(holder) != 2 or not (holder[0].isdigit() and holder[1].isdigit()):  # noqa: PLR2004 - a pair
        return False
    delegate, deadline = map(int, holder)
    if time.monotonic() <= deadline + _OVERDUE:
        return False
    # Only a process that has the lock file open is the delegate: numbers are used again.
    alive = _has_open(delegate, file)
    if alive:
        for kill in (posix.killpg, posix.kill):
            try:
                kill(delegate, _SIGKILL)
            except OSError:
                pass  # it has just ended, or has left its process group
    return not alive


def _has_open(process: int, file: int) -> bool:
    own = posix.fstat(file)
    folder = f"/proc/{process}/fd"
    try:
        entries = posix.listdir(folder)
    except OSError:
        return False  # it has ended
    return any(_is_file(f"{folder}/{entry}", own) for entry in entries)


def _is_file(link: str, own: posix.stat_result) -> bool:
    """Tell whether *link* leads to *own*. Other files get no stat: a dead mount would hang."""
    try:
        return posix.readlink(link).endswith(SUFFIX) and _is_at(link, own)
    except OSError:
        return False
