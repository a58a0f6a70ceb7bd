"""Locks between calls of the plugin: one for each container, and one that GC takes exclusively.

A container's lock is an flock on ``<stateDir>/<containerID>.lock``. Delegates inherit its
descriptor: while a delegate outlives a killed plugin, the next DEL waits instead of running beside
it.

All calls for containers share the GC lock. GC takes it exclusively while the networks' own GC runs,
and their plugins inherit its descriptor. Otherwise a plugin that outlives a killed GC would release
pods that are missing in its list because they are newer.

The file names the delegate that works under the lock, and its deadline. What a waiter does::

    who holds the lock                     container lock               GC lock
    a call, or its delegate in time        wait; at the deadline, fail  as on the left
                                           with code 11
    a delegate of a killed plugin whose    kill it and what it has      as on the left
    deadline is more than 5 s over         started; poll again
    a daemon that such a delegate left     wait; at the deadline, fail  unlink the file, lock a
    behind; it is never killed             with code 11                 new one
    no process: the last holder has        lock the new file            as on the left
    unlinked the file (other inode)

A daemon of a plugin that was not killed holds no lock: :meth:`Lock.release` has unlocked the file.
What a daemon still does to its container is unknown, so its lock stays. All pods of the node wait
for the GC lock, so that one is replaced: by one waiter at a time, which holds an flock on the
directory, since another could unlink the new file of the first.

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

OVERDUE = 5.0
"""Seconds after its deadline: a plugin that lives would have killed its delegate by then."""

_SIGKILL = 9
_ENTRY_SIZE = 64
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

    def record_delegate(self, delegate_pid: int, deadline: float) -> None:
        """Write into the file which process works under this lock, and its deadline.

        *deadline* is a time of the monotonic clock. Never raises.
        """
        entry = f"{delegate_pid} {deadline:.0f}\n".encode().rjust(_ENTRY_SIZE)
        try:
            posix.pwrite(self._file, entry, 0)
        except OSError:
            pass  # a full or read-only file system: no other call can end the delegate then

    def release(self, *, unlink: bool = False) -> None:
        """Unlock the file, and remove it if *unlink*. Never raises."""
        # LOCK_UN frees the lock even if a daemon still has an inherited descriptor open. A file
        # that stays must not name a delegate.
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
    holder_text = "another call for this container, or its delegate,"
    return _inherited(_acquire(state_dir, container_id + SUFFIX, LOCK_EX, deadline, holder_text))


def acquire_gc_shared(state_dir: str, deadline: float) -> Lock:
    """Acquire the GC lock together with other calls. Raises CNIError with code 11, and OSError."""
    return _acquire(state_dir, _GC_FILE, LOCK_SH, deadline, "a GC")


def acquire_gc_exclusive(state_dir: str, deadline: float) -> Lock:
    """Acquire the GC lock alone; delegates inherit it. Raises CNIError (code 11), and OSError."""
    return _inherited(_acquire(state_dir, _GC_FILE, LOCK_EX, deadline, "a call for a container"))


def _inherited(lock: Lock) -> Lock:
    posix.set_inheritable(lock._file, True)  # noqa: FBT003, SLF001 - created by _acquire
    return lock


def _acquire(state_dir: str, name: str, mode: int, deadline: float, holder_text: str) -> Lock:
    """Acquire the lock in the file *name*. *holder_text* names the likely holder in the error."""
    path = f"{state_dir}/{name}"
    timeout_message = f"{holder_text} still holds {path}"
    while True:
        file = _open(path)
        try:
            is_locked = _wait(file, mode, deadline, timeout_message, replaceable=name == _GC_FILE)
            is_current = _is_same_file(path, posix.fstat(file))
            if is_locked and is_current:
                _clear_delegate(file)
                return Lock(path, file)
            if is_current:  # a daemon holds it
                _unlink_current(state_dir, path, file, deadline, timeout_message)
        except FileNotFoundError:
            pass  # another waiter was faster
        except BaseException:
            posix.close(file)
            raise
        posix.close(file)  # the file was unlinked, by its last holder or by us: start again


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


def _unlink_current(
    state_dir: str, path: str, file: int, deadline: float, timeout_message: str
) -> None:
    """Unlink *path* unless another waiter has replaced the open *file* there.

    Raises CNIError with code 11 and *timeout_message* at *deadline*, and OSError.
    """
    folder = posix.open(state_dir, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_DIRECTORY)
    try:
        _wait(folder, LOCK_EX, deadline, timeout_message, replaceable=False)
        if _is_same_file(path, posix.fstat(file)):
            posix.unlink(path)
    finally:
        posix.close(folder)


def _is_same_file(path: str, status: posix.stat_result) -> bool:
    """Tell whether *path* leads to the open file with *status*."""
    try:
        other = posix.stat(path)
    except FileNotFoundError:
        return False
    return (other.st_dev, other.st_ino) == (status.st_dev, status.st_ino)


def _clear_delegate(file: int) -> None:
    """Remove the entry of a killed call: another process may have the delegate's PID by now."""
    if posix.fstat(file).st_size:
        try:
            posix.ftruncate(file, 0)
        except OSError:
            pass  # read-only


def _wait(
    file: int, mode: int, deadline: float, timeout_message: str, *, replaceable: bool
) -> bool:
    """Lock *file*. Return False if a daemon holds it and a new file may replace it.

    Raises CNIError with code 11 and *timeout_message* at *deadline*.
    """
    delay = _FIRST_DELAY
    while True:
        try:
            flock(file, mode | LOCK_NB)
        except BlockingIOError:
            if kill_overdue(file) and replaceable:
                return False
            if time.monotonic() + delay > deadline:
                raise CNIError(TRY_AGAIN, timeout_message) from None
            time.sleep(delay)
            delay = min(2 * delay, _LONGEST_DELAY)
        else:
            return True


def kill_overdue(file: int) -> bool:
    """Kill the delegate that works under the lock in *file*, if its deadline is long over.

    Return True only if the deadline is long over and the delegate had already ended, so that a
    daemon holds the lock. After a kill this returns False; the next poll decides.
    """
    delegate = delegate_of(file)
    if delegate is None or time.monotonic() <= delegate[1] + OVERDUE:
        return False

    # Only a process that has the lock file open is the delegate: PIDs are reused.
    delegate_pid, _ = delegate
    is_alive = _has_open(delegate_pid, file)
    if is_alive:
        for kill in (posix.killpg, posix.kill):
            try:
                kill(delegate_pid, _SIGKILL)
            except OSError:
                pass  # it has just ended, or has left its process group
    return not is_alive


def delegate_of(file: int) -> tuple[int, int] | None:
    """Return PID and deadline of the delegate that is named in the lock *file*.

    The deadline is a time of the monotonic clock. None if the file names no delegate.
    """
    try:
        entry = posix.pread(file, _ENTRY_SIZE, 0).split()
    except OSError:
        return None  # a pipe in its place
    if len(entry) != 2 or not (entry[0].isdigit() and entry[1].isdigit()):  # noqa: PLR2004 - a pair
        return None
    return int(entry[0]), int(entry[1])


def _has_open(pid: int, file: int) -> bool:
    """Tell whether the process *pid* has the lock file *file* open."""
    status = posix.fstat(file)
    folder = f"/proc/{pid}/fd"
    try:
        entries = posix.listdir(folder)
    except OSError:
        return False  # it has ended
    return any(_leads_to(f"{folder}/{entry}", status) for entry in entries)


def _leads_to(link: str, status: posix.stat_result) -> bool:
    """Tell whether *link* leads to the lock file with *status*.

    A file with another suffix gets no stat: that of a dead mount would hang.
    """
    try:
        return posix.readlink(link).endswith(SUFFIX) and _is_same_file(link, status)
    except OSError:
        return False
