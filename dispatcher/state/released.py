"""Remembers what a DEL has released, so that a repeated DEL need not run the delegates again.

A runtime calls DEL three times for each pod: when the pod ends, and when the kubelet removes the
sandbox, within a minute, twice more. The first removes the record, so the others find none, as for
a container that another plugin has attached. ``<stateDir>/.released`` (0600) has one line
``<containerID> <interface>`` for each interface whose record Genie has released completely.

Rules of this file: it only saves time. A line that is missing makes a DEL run the delegates of the
default network, which is safe. So the file is not synced, begins anew at :data:`LIMIT` bytes, and
no call fails because of it.
"""

from __future__ import annotations

import posix

from dispatcher.state import store

NAME = ".released"
LIMIT = 64 << 10
"""Bytes: more than 800 pods, and a node has some hundred in a minute."""

_FLAGS = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW
_FLAGS |= posix.O_NONBLOCK  # a pipe in its place must not block the call


def add(state_dir: str, container_id: str, interface: str) -> None:
    """Remember that nothing is left of *interface* of the container. Never raises OSError."""
    try:
        file = posix.open(f"{state_dir}/{NAME}", _FLAGS, 0o600)
        try:
            if posix.fstat(file).st_size > LIMIT:
                posix.ftruncate(file, 0)
            posix.write(file, _line(container_id, interface))
        finally:
            posix.close(file)
    except OSError:
        pass


def contains(state_dir: str, container_id: str, interface: str) -> bool:
    """Return whether the file has the line that :func:`add` writes for *interface*."""
    try:
        data = store.read_file(f"{state_dir}/{NAME}")
    except OSError:
        return False
    return _line(container_id, interface) in data.splitlines(keepends=True)


def _line(container_id: str, interface: str) -> bytes:
    return f"{container_id} {interface}\n".encode("utf-8", "surrogateescape")
