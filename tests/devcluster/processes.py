"""Start daemons that outlive the tool, find them again, end them.

A file records the id and the start time of each daemon. If the kernel has given the id to another
process since, that process is never signalled; signals go through a pidfd for the same reason.
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
    from collections.abc import Iterable, Mapping

_START_TIME_FIELD = 19  # of /proc/PID/stat, counted after the command's closing parenthesis
_TERM_TIMEOUT = 10.0  # seconds between SIGTERM and SIGKILL
_KILL_TIMEOUT = 60.0  # seconds for the kernel to end a killed process, on a machine under load


def start_time(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since boot; None if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[_START_TIME_FIELD])


def end(processes: Mapping[int, int], patience: float = _TERM_TIMEOUT) -> None:
    """End processes and wait for that: SIGTERM, then SIGKILL after `patience` seconds.

    `processes` maps ids to start times. An id that belongs to another process now is left alone.
    Raises ClusterError when a process still exists a minute after SIGKILL.
    """
    _signal(processes, ((signal.SIGTERM, patience), (signal.SIGKILL, _KILL_TIMEOUT)))


def kill(processes: Mapping[int, int]) -> None:
    """End processes with SIGKILL alone, and wait until their last thread has ended; see `end`.

    Before that, a process may look like a zombie and still hold its ports.
    """
    _signal(processes, ((signal.SIGKILL, _KILL_TIMEOUT),))


def _signal(processes: Mapping[int, int], signals: Iterable[tuple[signal.Signals, float]]) -> None:
    """Send each signal to what still runs, and wait so many seconds."""
    handles: dict[int, int] = {}  # pidfd -> pid
    try:
        for pid, started in processes.items():
            with contextlib.suppress(ProcessLookupError):
                handle = os.pidfd_open(pid)
                handles[handle] = pid
                if (
                    start_time(pid) != started
                ):  # checked after opening the pidfd, which cannot be reused
                    os.close(handle)
                    del handles[handle]
        for number, seconds in signals:
            for handle in handles:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)
            _wait_for_end(handles, seconds)
        if handles:
            raise ClusterError(
                f"processes {sorted(handles.values())} have not ended {_KILL_TIMEOUT:.0f} s after"
                " SIGKILL"
            )
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
                os.waitpid(pid, os.WNOHANG)  # a child of this process would stay a zombie


def _inherited_descriptors() -> list[int]:
    """Return the descriptors that a new program would inherit, besides 0, 1 and 2."""
    open_now = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    inherited = []
    for descriptor in sorted(open_now):
        with contextlib.suppress(OSError):  # the one with which the folder was read
            if descriptor > 2 and os.get_inheritable(descriptor):
                inherited.append(descriptor)
    return inherited


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon: how to start it, and the file that records the running process."""

    name: str
    record: Path
    log: Path
    argv: list[str]
    env: Mapping[str, str]

    def pid(self) -> int | None:
        """Return the id of the running process; None if it does not run."""
        try:
            record = json.loads(self.record.read_text())
        except (FileNotFoundError, ValueError):  # never started, or killed while writing
            return None
        pid, started = int(record["pid"]), record["startTime"]
        return pid if started is not None and start_time(pid) == started else None

    def start(self) -> None:
        """Start the daemon unless it runs; append its output to its log.

        It inherits no other descriptor: one could be a lock, or the pipe of whoever started the
        tool, which would then be held for as long as the daemon lives.
        """
        if self.pid() is not None:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.record.parent.mkdir(parents=True, exist_ok=True)
        program = shutil.which(self.argv[0])
        if program is None:
            raise ClusterError(f"cannot start {self.name}: program {self.argv[0]} not found")
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        pid = os.posix_spawn(
            program,
            self.argv,
            {"PATH": os.environ["PATH"], **self.env},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.fspath(self.log), append, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inherited_descriptors()),
            ],
            setsid=True,  # a Ctrl-C at the terminal is for the tool alone
        )
        self.record.write_text(json.dumps({"pid": pid, "startTime": start_time(pid)}))

    def stop(self) -> None:
        """End the daemon, if it runs, and wait until it has ended."""
        pid = self.pid()
        if pid is not None and (started := start_time(pid)) is not None:
            end({pid: started})
        self.record.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise ClusterError, with the end of its log, if the daemon does not run."""
        if self.pid() is None:
            raise ClusterError(f"{self.name} has ended; last lines of {self.log}:\n{self.tail()}")

    def tail(self, lines: int = 20) -> str:
        """Return the last lines of the log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""
