"""The journal: one line for each ADD and DEL, which the agent reads for metrics and Events.

``<stateDir>/journal`` (0600) has one JSON object per line::

    {"time": 1700000000.123,            seconds of the epoch, at the end of the call
     "command": "ADD",                  or DEL
     "seconds": 0.0431,                 the whole call
     "code": 0,                         0, or the CNI error code that was returned
     "msg": "",                         the error's sentence and details, at most 1 KiB
     "containerID": "…",
     "pod": ["namespace", "name", "uid"],
     "attachments": [{"network": "weave", "interface": "eth0", "seconds": 0.03, "code": 0}]}

``attachments`` lists those that the call has begun, in the order of their ADDs or DELs. If an ADD
fails, the DELs of its roll-back follow.

Rules of this file: a line is one write of at most 4 KiB, so that lines of concurrent calls do not
mix. A journal of :data:`LIMIT` bytes gets no more lines: no agent reads it. A call does not fail
because the journal cannot be written.
"""

from __future__ import annotations

import posix

from dispatcher.jsontext import dump
from dispatcher.state import store
from dispatcher.state.record import pod_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dispatcher.cni_errors import CNIError

NAME = "journal"
LIMIT = 4 << 20

_LINE = 4096
_MSG = 1024
_FLAGS = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW
_FLAGS |= posix.O_NONBLOCK  # a pipe in its place must not block the call


def append(
    state_dir: str,
    *,
    command: str,
    container_id: str,
    args: str,
    attachments: list[dict[str, Any]],
    error: CNIError | None,
    now: float,
    seconds: float,
) -> None:
    """Add a line for a call that has succeeded, or failed with *error*.

    *args* are the CNI_ARGS of the call, which name the pod. Never raises: a line that cannot be
    written, or beyond :data:`LIMIT`, is dropped.
    """
    line = {
        "time": round(now, 3),
        "command": command,
        "seconds": round(seconds, 4),
        "code": error.code if error else 0,
        "msg": _short("; ".join(filter(None, (error.msg, error.details)))) if error else "",
        "containerID": container_id,
        "pod": list(pod_of(args)),
        "attachments": attachments,
    }
    data = dump(line) + b"\n"
    if len(data) > _LINE:
        data = dump({**line, "msg": "", "pod": ["", "", ""]}) + b"\n"

    try:
        file = _open(state_dir)
        try:
            if posix.fstat(file).st_size < LIMIT:
                posix.write(file, data)
        finally:
            posix.close(file)
    except OSError:
        pass


def _open(state_dir: str) -> int:
    path = f"{state_dir}/{NAME}"
    try:
        return posix.open(path, _FLAGS, 0o600)
    except FileNotFoundError:  # the first call on a node may fail before it creates the directory
        store.make_dir(state_dir)
        return posix.open(path, _FLAGS, 0o600)


def _short(text: str) -> str:
    return text.encode("utf-8", "replace")[:_MSG].decode("utf-8", "ignore")


def attachment_entry(network: str, interface: str, seconds: float, code: int) -> dict[str, Any]:
    """Return the entry of one attachment in a line."""
    return {
        "network": network,
        "interface": interface,
        "seconds": round(seconds, 4),
        "code": code,
    }
