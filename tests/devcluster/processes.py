"""Long-running processes that outlive the tool: started in namespaces, found again, ended.

Each is recorded in a file with its id and its start time, so that an id which the kernel has given
to another process since is never signalled. Signals go through a pidfd for the same reason.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.devcluster.commands import ClusterError

if TYPE_CHECKING:
    from collections.abc import Mapping

_START_TIME_FIELD = 19  # of /proc/<pid>/stat, counted behind the command's closing parenthesis
_PATIENCE = 10.0  # seconds between SIGTERM and SIGKILL
_KILL_PATIENCE = 60.0  # seconds for the kernel to end a killed process, on a machine under load


def start_time(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since boot; None if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[_START_TIME_FIELD])


def end(processes: Mapping[int, int], patience: float = _PATIENCE) -> None:
    """End processes and wait until they are gone: SIGTERM, then SIGKILL after `patience` seconds.

    `processes` maps ids to start times: an id that is another process by now is left alone.
    Raises ClusterError when one is still there a minute after its SIGKILL.
    """
    handles: dict[int, int] = {}  # pidfd -> pid
    try:
        for pid, started in processes.items():
            with contextlib.suppress(ProcessLookupError):
                handle = os.pidfd_open(pid)
                handles[handle] = pid
                if start_time(pid) != started:  # checked behind the pidfd, which never changes
                    os.close(handle)
                    del handles[handle]
        for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, _KILL_PATIENCE)):
            for handle in handles:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)
            _wait_for_end(handles, seconds)
        if handles:
            raise ClusterError(f"processes {sorted(handles.values())} do not end, even by SIGKILL")
    finally:
        for handle in handles:
            os.close(handle)


def _wait_for_end(handles: dict[int, int], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    poller = select.poll()
    for handle in handles:
        poller.register(handle, select.POLLIN)
    while handles and (remaining := deadline - time.monotonic()) > 0:
        for handle, _ in poller.poll(remaining * 1000):
            poller.unregister(handle)
            os.close(handle)
            pid = handles.pop(handle)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # a child of this very process would stay a zombie


@dataclass(frozen=True, slots=True)
class Daemon:
    """A process that may run: how to start it, and the file that remembers the one started."""

    name: str
    record: Path
    log: Path
    argv: list[str]
    env: Mapping[str, str]

    def pid(self) -> int | None:
        """Return the id of the running process, or None."""
        try:
            known = json.loads(self.record.read_text())
        except (FileNotFoundError, ValueError):  # never started, or killed while writing
            return None
        pid, started = int(known["pid"]), known["startTime"]
        return pid if started is not None and start_time(pid) == started else None

    def start(self) -> None:
        """Start the process unless it runs; its output goes to the end of its log."""
        if self.pid() is not None:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.record.parent.mkdir(parents=True, exist_ok=True)
        program = shutil.which(self.argv[0])
        if program is None:
            raise ClusterError(f"cannot start {self.name}: there is no program {self.argv[0]}")
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        pid = os.posix_spawn(
            program,
            self.argv,
            {"PATH": os.environ["PATH"], **self.env},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.fspath(self.log), append, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,  # a Ctrl-C at the terminal is for the tool alone
        )
        self.record.write_text(json.dumps({"pid": pid, "startTime": start_time(pid)}))

    def stop(self) -> None:
        """End the process, if it runs, and wait until it is gone."""
        pid = self.pid()
        if pid is not None and (started := start_time(pid)) is not None:
            end({pid: started})
        self.record.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise ClusterError, with the end of its log, if the process does not run."""
        if self.pid() is None:
            raise ClusterError(f"{self.name} does not run; the end of {self.log}:\n{self.tail()}")

    def tail(self, lines: int = 20) -> str:
        """Return the last lines of the log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""
