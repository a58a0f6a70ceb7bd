"""The journal: one line for each ADD and DEL, from which the agent makes its metrics.

``<stateDir>/journal.jsonl`` has one JSON object per line: ``time`` (seconds of the epoch, when
the call ended), ``command``, ``container``, ``namespace``, ``pod``, ``networks`` (as asked for,
in order), ``code`` (0: success) and ``seconds`` (how long it took). At :data:`LIMIT` bytes the
file becomes ``journal.jsonl.old``, in place of the one before.

Rules of this file: a line is one write, so lines of calls that run side by side never mix; a
journal that cannot be written harms nobody.
"""

from __future__ import annotations

import posix

from dispatcher.jsontext import Number, dump
from dispatcher.plugin.record import pod_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dispatcher.plugin.request import Request

NAME = "journal.jsonl"
OLD = ".old"
LIMIT = 1 << 20

_FLAGS = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW


def note(
    state_dir: str, request: Request, networks: list[str], code: int, *, now: float, seconds: float
) -> None:
    """Add a line for a call that has ended."""
    namespace, pod, _ = pod_of(request.args)
    line = {
        "time": Number(f"{now:.3f}"),
        "command": request.command,
        "container": request.container_id,
        "namespace": namespace,
        "pod": pod,
        "networks": networks,
        "code": code,
        "seconds": Number(f"{seconds:.4f}"),
    }
    path = f"{state_dir}/{NAME}"
    try:
        file = posix.open(path, _FLAGS, 0o600)
        try:
            if posix.fstat(file).st_size >= LIMIT:
                posix.replace(path, path + OLD)
            posix.write(file, dump(line) + b"\n")
        finally:
            posix.close(file)
    except OSError:
        pass
