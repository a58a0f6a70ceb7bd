"""Start one process, exchange data with it over pipes, and end it at its deadline.

Starting it and giving it input are two steps, so that the time in which a program sets itself up is
not lost. :meth:`Process.communicate` serves the pipes until the process itself has ended, not until
end-of-file: a daemon that it left behind may keep the pipes open for ever. Standard error is copied
to our own afterwards. The runtime's descriptor is not passed on, since the runtime would wait for
such a daemon as well.

The process leads a process group, which is killed whole at the deadline. A call then ends within
about a second, whatever the process does.

A process that has ended is reaped later (:meth:`Process.reap`). The kernel reports its end while
its last thread still removes its entries from /proc, and reaping it at once would spin in the
kernel until that thread is done: for milliseconds when many processes share a processor.
"""

from __future__ import annotations

import posix
import time
from select import POLLIN, POLLOUT, poll

from dispatcher.cni_errors import CannotRunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Self

    Append = Callable[[bytearray, bytes], None]
    Streams = dict[int, tuple[int, Callable[[], bool]]]
    """By descriptor: the event to wait for and its handler, which returns False at the end."""

_SIGKILL = 9
_IGNORED_BY_PYTHON = (13, 25)  # SIGPIPE and SIGXFSZ: delegates get the default action again
_ETXTBSY = 26  # as on Linux: importing the module errno costs too much
_EXECUTABLE_ERRORS = (1, 2, 8, 13, 20, 21, _ETXTBSY, 40, 80)
"""EPERM, ENOENT, ENOEXEC, EACCES, ENOTDIR, EISDIR, ETXTBSY, ELOOP, ELIBBAD: it cannot be executed.

Any other error (no memory, no descriptors) is temporary and about the machine.
"""

MAX_OUTPUT = 16 << 20
"""The most that a delegate may print on standard output, bytes; results have a few KiB."""

_MAX_STDERR = 64 * 1024  # the end of standard error that is kept, bytes
_CHUNK = 65536
_MAX_CHUNKS = 17  # read at once: all that the largest pipe holds (1 MiB)
_PIPE_BUF = 4096  # a pipe that takes anything takes so much at once, bytes
_STDERR_TIMEOUT = 0.2  # the longest wait for a full pipe to our caller, seconds
_KILL_TIMEOUT = 1.0  # the longest wait for the kernel to carry out a SIGKILL, seconds
_BUSY_TIMEOUT = 3.0  # the longest wait for an installer that copies in place (ETXTBSY), seconds
_BUSY_INTERVAL = 0.02
_POLL_INTERVAL = 0.01  # between checks for the end of the child on a kernel before 5.3, seconds


class CompletedProcess:
    """The exit ``status`` of a process (negative: a signal) and what it printed.

    ``out`` is standard output; it has more than :data:`MAX_OUTPUT` bytes only if the process
    printed more. ``err`` is the end of standard error.
    """

    __slots__ = ("err", "out", "status", "timed_out")

    def __init__(
        self, status: int, out: bytes | bytearray, err: bytes = b"", *, timed_out: bool
    ) -> None:
        self.status = status
        self.out = out
        self.err = err
        self.timed_out = timed_out


class Process:
    """A process that runs *file* and waits for its input: ``with Process(…) as process:``.

    ``pid`` is its process ID. A *file* that is being written (ETXTBSY) is retried until *deadline*
    at most. Raises :class:`CannotRunError` if it cannot be executed, OSError if the machine has no
    resources.
    Leaving the block without :meth:`communicate`, as by an exception, kills the process.
    Call :meth:`reap` some time after :meth:`communicate`.
    """

    __slots__ = ("_err", "_has_ended", "_in", "_is_reaped", "_open", "_out", "pid")

    def __init__(self, file: str, environ: Mapping[str, str], deadline: float) -> None:
        self._has_ended = self._is_reaped = False
        self._open: list[int] = []
        try:
            for _ in range(3):
                self._open += posix.pipe2(posix.O_CLOEXEC)
            stdin, self._in, self._out, stdout, self._err, stderr = self._open
            self.pid = _spawn(file, environ, (stdin, stdout, stderr), deadline)
        except BaseException:
            self._close(*self._open)
            raise
        self._close(stdin, stdout, stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if not self._has_ended:
            self._terminate({})
        self._close(*self._open)

    def _close(self, *descriptors: int) -> None:
        for each in descriptors:
            self._open.remove(each)
            posix.close(each)

    def communicate(
        self, data: bytes, deadline: float, while_running: Callable[[], None] | None = None
    ) -> CompletedProcess:
        """Write *data* to standard input, and wait for the end. Kill the process at *deadline*.

        *while_running* is called once the pipe has *data*, or as much as it takes.
        """
        stdin, stdout, stderr = self._in, self._out, self._err
        out, err, unwritten = bytearray(), bytearray(), bytearray(data)
        streams: Streams = {
            stdin: (POLLOUT, lambda: _write(stdin, unwritten)),
            stdout: (POLLIN, lambda: _read(stdout, out, _append_head)),
            stderr: (POLLIN, lambda: _read(stderr, err, _append_tail)),
        }
        for each in streams:
            posix.set_blocking(each, False)

        if not _write(stdin, unwritten):
            del streams[stdin]
            self._close(stdin)
        if while_running is not None:
            while_running()

        timed_out = not _wait(self.pid, streams, self._close, deadline)
        status = self._terminate(streams) if timed_out else _status(self.pid)
        self._has_ended = True

        # What the process printed last is still in the pipes.
        for each in (stdout, stderr):
            if each in streams:
                streams[each][1]()
        _copy_to_stderr(err)
        return CompletedProcess(status, out, bytes(err), timed_out=timed_out)

    def reap(self) -> None:
        """Remove the process, which has ended, from the kernel's table. Never waits."""
        if not self._is_reaped:
            self._is_reaped = True
            posix.waitpid(self.pid, posix.WNOHANG)

    def _terminate(self, streams: Streams) -> int:
        """Kill the process, reap it, and return its status.

        A process that waits inside the kernel (state D) ends later, but runs no more of its own
        code.
        """
        _kill(self.pid)
        has_ended = _wait(self.pid, streams, self._close, time.monotonic() + _KILL_TIMEOUT)
        status = _status(self.pid) if has_ended else -_SIGKILL
        self.reap()
        return status


def _spawn(
    file: str, environ: Mapping[str, str], streams: tuple[int, int, int], deadline: float
) -> int:
    actions = [(posix.POSIX_SPAWN_DUP2, each, place) for place, each in enumerate(streams)]
    busy_deadline = min(time.monotonic() + _BUSY_TIMEOUT, deadline)
    while True:
        try:
            return posix.posix_spawn(
                file,
                [file],
                environ,
                file_actions=actions,
                setpgroup=0,
                setsigdef=_IGNORED_BY_PYTHON,
            )
        except OSError as error:
            if error.errno == _ETXTBSY and time.monotonic() < busy_deadline:
                time.sleep(_BUSY_INTERVAL)
                continue
            if error.errno not in _EXECUTABLE_ERRORS:
                raise
            raise CannotRunError(f"cannot execute {file}: {error.strerror}") from None


def _status(child: int) -> int:
    """Return the exit code of *child*, which has ended and is not reaped, or its signal, negative.

    Raises OSError.
    """
    end: Any = posix.waitid(posix.P_PID, child, posix.WEXITED | posix.WNOWAIT)
    return int(end.si_status if end.si_code == posix.CLD_EXITED else -end.si_status)


def _wait(child: int, streams: Streams, close: Callable[[int], None], deadline: float) -> bool:
    """Serve *streams* until *child* has ended. Return False if *deadline* comes first.

    A stream at its end is closed and removed from *streams*.
    """
    poller = poll()
    for stream, (event, _) in streams.items():
        poller.register(stream, event)
    pidfd = _pidfd(child)
    if pidfd is not None:
        poller.register(pidfd, POLLIN)

    try:
        while (left := deadline - time.monotonic()) > 0:
            timeout = left if pidfd is not None else min(left, _POLL_INTERVAL)
            ready = [each for each, _ in poller.poll(1000 * timeout)]
            for stream in ready:
                if stream != pidfd and not streams[stream][1]():
                    poller.unregister(stream)
                    del streams[stream]
                    close(stream)
            if pidfd in ready or (pidfd is None and _has_ended(child)):
                return True
        return False
    finally:
        if pidfd is not None:
            posix.close(pidfd)


def _has_ended(child: int) -> bool:
    options = posix.WEXITED | posix.WNOHANG | posix.WNOWAIT
    return posix.waitid(posix.P_PID, child, options) is not None


def _pidfd(child: int) -> int | None:
    try:
        return posix.pidfd_open(child)
    except OSError:
        return None


def _write(stream: int, unwritten: bytearray) -> bool:
    """Write of *unwritten* what *stream* takes. Return False if nothing more can be written."""
    try:
        while unwritten:
            del unwritten[: posix.write(stream, unwritten)]
    except BlockingIOError:
        return True
    except BrokenPipeError:
        pass  # some plugins never read it
    return False


def _read(stream: int, buffer: bytearray, append: Append) -> bool:
    """Read what *stream* holds, up to a limit. Return False at the end of file."""
    for _ in range(_MAX_CHUNKS):
        try:
            chunk = posix.read(stream, _CHUNK)
        except BlockingIOError:
            return True
        if not chunk:
            return False
        append(buffer, chunk)
    return True


def _append_head(buffer: bytearray, chunk: bytes) -> None:
    """Keep the first 16 MiB, and a chunk more to show that the process printed too much."""
    # The rest is read, so that the process can end, and dropped.
    if len(buffer) <= MAX_OUTPUT:
        buffer += chunk


def _append_tail(buffer: bytearray, chunk: bytes) -> None:
    """Keep the last 64 KiB."""
    buffer += chunk
    del buffer[:-_MAX_STDERR]


def _kill(child: int) -> None:
    """Kill *child*, which was not waited for yet, and its process group."""
    posix.kill(child, _SIGKILL)
    try:
        posix.killpg(child, _SIGKILL)
    except ProcessLookupError:
        pass  # the child changed its group, and its own is empty


def _copy_to_stderr(err: bytes | bytearray) -> None:
    """Copy a delegate's standard error to our own, as long as the caller reads it."""
    poller = poll()
    poller.register(2, POLLOUT)
    deadline = time.monotonic() + _STDERR_TIMEOUT
    left = memoryview(err)
    try:
        while left and poller.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
            left = left[posix.write(2, left[:_PIPE_BUF]) :]
    except OSError:
        pass  # it is closed
