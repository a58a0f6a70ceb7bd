"""Locks between calls of the plugin: one per container, and one that GC takes alone.

How it works: a container's lock is an flock on ``<stateDir>/<containerID>.lock``. Delegates
inherit its descriptor, so a delegate that outlives a killed plugin still holds the lock and
the next DEL waits for it instead of racing it. A holder that ends in the ordinary way
unlocks explicitly: a daemon that a delegate left behind, and that still has the descriptor,
then holds nobody. The file is unlinked while locked; who waited for an unlinked file notices
by its inode and starts again. The GC lock is shared by all calls for containers, and taken
alone by a GC while networks collect. Their plugins inherit it then, as one that outlives a
killed GC would free pods that its list is too old to have.

The file says which delegate works under the lock, and for how long. Where its time is over by
far, its plugin was killed and nobody is left who ends it: whoever waits kills it with all it
started, as the plugin would have. It must have the file open itself, since a number may be
another process's by now. A daemon that it left behind is not killed, and holds the lock: of a
container for ever, since nobody knows what it does there, but not the GC lock, which all pods of
the node would wait for. That is given a new file then.

On a file system that is full or read-only no lock file can be made, but the one that ADD
made can still be locked, so DEL works there.

Rules of this file: taking a lock always ends in time; releasing never fails.
"""

from __future__ import annotations

import posix
import time
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock

from dispatcher.cni_errors import TRY_AGAIN, CNIError

SUFFIX = ".lock"
GC = ".gc"  # container ids start with a letter or digit: no collision
_GC_FILE = GC + SUFFIX

NO_DELEGATE = 0
"""In a note: no delegate works yet."""

_SIGKILL = 9
_OVERDUE = 5.0  # so long after its time a delegate has no plugin that would have killed it, seconds
_NOTE_SIZE = 64
_FIRST_PAUSE = 0.002
_LONGEST_PAUSE = 0.05
# Without waiting: a pipe in its place can be locked as well, and goes when that is released.
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
        """Write down which process works under this lock now, and until when."""
        try:
            posix.pwrite(self._file, f"{delegate} {deadline:.0f}\n".encode().rjust(_NOTE_SIZE), 0)
        except OSError:
            pass  # full, or read-only: it is only not ended by others

    def release(self, *, unlink: bool = False) -> None:
        """Let go; unlink the file first to *forget* it."""
        if unlink:
            try:
                posix.unlink(self._path)
            except OSError:
                pass  # a file is left; nothing depends on its absence
        else:
            _forget_note(self._file)
        flock(self._file, LOCK_UN)
        posix.close(self._file)


def acquire_container(state_dir: str, container_id: str, deadline: float) -> Lock:
    """Take the lock of *container_id*, which delegates inherit.

    *deadline* is a time of the monotonic clock. Raises CNIError with code 11, and OSError.
    """
    holder = "another call for this container, or its delegate,"
    return _inherited(_take(state_dir, container_id + SUFFIX, LOCK_EX, deadline, holder))


def acquire_gc_shared(state_dir: str, deadline: float) -> Lock:
    """Take the lock that keeps a GC away, together with other calls. Raises as above."""
    return _take(state_dir, _GC_FILE, LOCK_SH, deadline, "a GC")


def acquire_gc_exclusive(state_dir: str, deadline: float) -> Lock:
    """Take the same lock alone; delegates inherit it. Raises as above."""
    return _inherited(_take(state_dir, _GC_FILE, LOCK_EX, deadline, "a call for a container"))


def _inherited(lock: Lock) -> Lock:
    posix.set_inheritable(lock._file, True)  # noqa: FBT003, SLF001 - made here
    return lock


def _take(state_dir: str, name: str, mode: int, deadline: float, holder: str) -> Lock:
    path = f"{state_dir}/{name}"
    while True:
        file = _open(path)
        try:
            sentence = f"{holder} still holds {path}"
            locked = _wait(file, mode, deadline, sentence, ends=name != _GC_FILE)
            named = _is_at(path, posix.fstat(file))
            if locked and named:
                _forget_note(file)
                return Lock(path, file)
            if named:
                posix.unlink(path)
        except FileNotFoundError:
            pass  # another one who waited was faster
        except BaseException:
            posix.close(file)
            raise
        posix.close(file)  # it was unlinked, by its last holder while we waited or by us


def _open(path: str) -> int:
    try:
        return posix.open(path, _FLAGS, 0o600)
    except OSError as refused:
        try:
            return posix.open(path, _EXISTING)
        except OSError:
            if refused.errno in _NO_FILE:
                sentence = "it is not a regular file: remove it"
                raise OSError(refused.errno, sentence, path) from None
            raise refused from None  # that one says why


def _is_at(path: str, held: posix.stat_result) -> bool:
    try:
        named = posix.stat(path)
    except FileNotFoundError:
        return False
    return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)


def _forget_note(file: int) -> None:
    """Remove what a call that was killed left: the number may be another process's by now."""
    if posix.fstat(file).st_size:
        try:
            posix.ftruncate(file, 0)
        except OSError:
            pass  # read-only


def _wait(file: int, mode: int, deadline: float, sentence: str, *, ends: bool) -> bool:
    """Lock *file*; False if that is left for a daemon, and nobody must wait for its *ends*."""
    pause = _FIRST_PAUSE
    while True:
        try:
            flock(file, mode | LOCK_NB)
        except BlockingIOError:
            if kill_overdue(file) and not ends:
                return False
            if time.monotonic() + pause > deadline:
                raise CNIError(TRY_AGAIN, sentence) from None
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            return True


def kill_overdue(file: int) -> bool:
    """Kill the delegate that works under the lock in *file*, if its time is over by far.

    Tell whether it is over, and the delegate has ended: who else has the file is a daemon.
    """
    try:
        note = posix.pread(file, _NOTE_SIZE, 0).split()
    except OSError:
        return False  # a pipe in its place
    if len(note) != 2 or not (note[0].isdigit() and note[1].isdigit()):  # noqa: PLR2004 - a pair
        return False
    delegate, deadline = map(int, note)
    if time.monotonic() <= deadline + _OVERDUE:
        return False
    alive = _has(delegate, file)
    if alive:
        for kill in (posix.killpg, posix.kill):
            try:
                kill(delegate, _SIGKILL)
            except OSError:
                pass  # it has ended just now, or has left its group
    return not alive


def _has(process: int, file: int) -> bool:
    own = posix.fstat(file)
    folder = f"/proc/{process}/fd"
    try:
        entries = posix.listdir(folder)
    except OSError:
        return False  # it has ended
    return any(_is_file(f"{folder}/{entry}", own) for entry in entries)


def _is_file(link: str, own: posix.stat_result) -> bool:
    """Tell whether *link* is *own*. No other file is looked at: a mount that is dead would hang."""
    try:
        return posix.readlink(link).endswith(SUFFIX) and _is_at(link, own)
    except OSError:
        return False
