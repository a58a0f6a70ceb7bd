"""What the reaper sees of the host's processes and of the plugin's locks.

*root* is where the host's root directory is mounted.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from dispatcher.state import lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# O_NONBLOCK: opening a pipe that lies in place of the lock would wait without end.
_LOCK_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW


def executables(root: Path) -> set[str]:
    """Return the paths of the executables that the host's processes run."""
    paths = set()
    for process in _processes(root):
        try:
            paths.add(str((process / "exe").readlink()))
        except OSError:
            continue  # the process has ended, or is a kernel thread
    return paths


def network_namespaces(root: Path) -> set[tuple[int, int]]:
    """Return device and inode of every network namespace in which a process runs."""
    namespaces = set()
    for process in _processes(root):
        try:
            status = (process / "ns/net").stat()
        except OSError:
            continue  # the process has ended
        namespaces.add((status.st_dev, status.st_ino))
    return namespaces


def _processes(root: Path) -> Iterator[Path]:
    return (path for path in (root / "proc").iterdir() if path.name.isdecimal())


def kill_overdue_holder(lock_file: Path) -> bool:
    """Kill a delegate that holds *lock_file* beyond its deadline.

    Return True if the lock was held when this was called, even if its delegate was killed now: the
    caller tries again in the next pass. The next DEL of the container would do the same, but the
    runtime sends none any more.
    """
    try:
        descriptor = os.open(lock_file, _LOCK_FLAGS)
    except OSError:
        return False  # a file that cannot be opened is not locked

    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.kill_overdue(descriptor)
        return True
    else:
        return False
    finally:
        os.close(descriptor)
