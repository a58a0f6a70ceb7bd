"""One process: what it is given, what it prints, how long it has.

How it works: standard input, output and error are pipes of ours. What it prints is read, and
what it does not read at once is written, until the process itself has ended, not until the end
of a file: a daemon that it left behind may keep every descriptor for ever, and a process that
never reads blocks nobody. What came on standard error is copied to ours afterwards; the
runtime's own descriptor is never handed on, since its wait would last as long as such a daemon.
The process leads a group of its own, which is killed whole when the time is over.

Starting it and giving it anything are two steps: a program sets itself up for a while before it
reads, and that time need not be lost.

Rules of this file: a call ends when its time does, give or take what a kill and a full pipe may
take (a second), whatever the process does; no descriptor but these is handed on by this file.
"""

from __future__ import annotations

import posix
import time
from select import POLLIN, POLLOUT, poll

from dispatcher.cni_errors import CannotRunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    Keep = Callable[[bytearray, bytes], None]
    Streams = dict[int, tuple[int, Callable[[], bool]]]
    """By descriptor: the event to wait for, and what to do then; False once there is no more."""

_SIGKILL = 9
_IGNORED_BY_PYTHON = (13, 25)  # SIGPIPE and SIGXFSZ: delegates get them as we were given them
_ETXTBSY = 26  # Linux; the module errno would be loaded for these alone
_OF_THE_FILE = (1, 2, 8, 13, 20, 21, _ETXTBSY, 40, 80)
"""EPERM, ENOENT, ENOEXEC, EACCES, ENOTDIR, EISDIR, ETXTBSY, ELOOP, ELIBBAD: it cannot be executed.
Any other error is the machine's (no memory, no descriptors) and passes."""

MAX_OUTPUT = 16 << 20
"""How much a delegate may print on its standard output, bytes; results have a few KiB."""

_MAX_ERROR = 64 * 1024  # of its standard error, the end of it; what was before is dropped
_CHUNK = 65536
_MOST_CHUNKS = 17  # that are read at once: all that the largest pipe holds (1 MiB)
_PIPE_TAKES = 4096  # so much a pipe takes at once where it takes anything (PIPE_BUF), bytes
_READER_GETS = 0.2  # how long a full pipe to our caller is waited for in all, seconds
_DIES_WITHIN = 1.0  # so long the kernel may take over a SIGKILL, seconds
_BUSY_FOR = 3.0  # how long ETXTBSY is waited out: an installer that copies in place, seconds
_BUSY_PAUSE = 0.02
_WITHOUT_PIDFD = 0.01  # how often a kernel before 5.3 is asked whether the child ended, seconds


class Ended:
    """How a process ended: its exit ``status`` (negative: the signal) and what it printed.

    ``out`` is its standard output, and more than :data:`MAX_OUTPUT` bytes only where the process
    printed more; ``err`` is the end of its standard error.
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
    """A process that was started, and has been given nothing yet: ``with Process(…) as it:``.

    Made by executing *file*; one that is busy (ETXTBSY) is waited for, but not after *until*.
    Raises :class:`CannotRunError` if it cannot be executed, OSError if the machine has no room.
    Left without :meth:`attend`, as by an exception, it is killed.
    """

    __slots__ = ("_attended", "_ends", "_err", "_feed", "_out", "number")

    def __init__(self, file: str, environ: Mapping[str, str], until: float) -> None:
        self._attended = False
        self._ends: list[int] = []
        try:
            for _ in range(3):
                self._ends += posix.pipe2(posix.O_CLOEXEC)
            stdin, self._feed, self._out, stdout, self._err, stderr = self._ends
            self.number = _spawn(file, environ, (stdin, stdout, stderr), until)
        except BaseException:
            self._close(*self._ends)
            raise
        self._close(stdin, stdout, stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if not self._attended:
            _end(self.number, {}, self._close)
        self._close(*self._ends)

    def _close(self, *ends: int) -> None:
        for each in ends:
            self._ends.remove(each)
            posix.close(each)

    def attend(self, given: bytes, until: float) -> Ended:
        """Write *given* to its standard input and wait until it ends; kill it after *until*."""
        feed, out, err = self._feed, self._out, self._err
        said, complained, rest = bytearray(), bytearray(), bytearray(given)
        streams: Streams = {
            feed: (POLLOUT, lambda: _feed(feed, rest)),
            out: (POLLIN, lambda: _drain(out, said, _keep_first)),
            err: (POLLIN, lambda: _drain(err, complained, _keep_last)),
        }
        for each in streams:
            posix.set_blocking(each, False)
        timed_out = not _wait(self.number, streams, self._close, until)
        status = _end(self.number, streams, self._close) if timed_out else _status(self.number)
        self._attended = True
        for each in (out, err):
            if each in streams:
                streams[each][1]()
        _copy_to_stderr(complained)
        return Ended(status, said, bytes(complained), timed_out=timed_out)


def _spawn(
    file: str, environ: Mapping[str, str], streams: tuple[int, int, int], until: float
) -> int:
    actions = [(posix.POSIX_SPAWN_DUP2, each, place) for place, each in enumerate(streams)]
    give_up = min(time.monotonic() + _BUSY_FOR, until)
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
            if error.errno == _ETXTBSY and time.monotonic() < give_up:
                time.sleep(_BUSY_PAUSE)
                continue
            if error.errno not in _OF_THE_FILE:
                raise
            raise CannotRunError(f"{file} cannot be executed: {error.strerror}") from None


def _end(child: int, streams: Streams, close: Callable[[int], None]) -> int:
    """Kill *child* and return its status; if the kernel has it (state D), it never runs again."""
    _kill(child)
    has_ended = _wait(child, streams, close, time.monotonic() + _DIES_WITHIN)
    return _status(child) if has_ended else -_SIGKILL


def _status(child: int) -> int:
    return posix.waitstatus_to_exitcode(posix.waitpid(child, 0)[1])


def _wait(child: int, streams: Streams, close: Callable[[int], None], until: float) -> bool:
    """Serve *streams* until *child* has ended; False if the time was over first.

    A stream of which there is no more is closed and leaves *streams*.
    """
    watch = poll()
    for stream, (event, _) in streams.items():
        watch.register(stream, event)
    end = _pidfd(child)
    if end is not None:
        watch.register(end, POLLIN)
    try:
        while (left := until - time.monotonic()) > 0:
            ready = [each for each, _ in watch.poll(1000 * _at_most(left, end))]
            for stream in ready:
                if stream != end and not streams[stream][1]():
                    watch.unregister(stream)
                    del streams[stream]
                    close(stream)
            if end in ready or (end is None and _has_ended(child)):
                return True
        return False
    finally:
        if end is not None:
            posix.close(end)


def _at_most(left: float, end: int | None) -> float:
    return left if end is not None else min(left, _WITHOUT_PIDFD)


def _has_ended(child: int) -> bool:
    how = posix.WEXITED | posix.WNOHANG | posix.WNOWAIT
    return posix.waitid(posix.P_PID, child, how) is not None


def _pidfd(child: int) -> int | None:
    try:
        return posix.pidfd_open(child)
    except OSError:
        return None


def _feed(stream: int, rest: bytearray) -> bool:
    """Write of *rest* what *stream* takes; False once it is all, or nobody reads any more."""
    try:
        while rest:
            del rest[: posix.write(stream, rest)]
    except BlockingIOError:
        return True
    except BrokenPipeError:
        pass  # some plugins never read it
    return False


def _drain(stream: int, kept: bytearray, keep: Keep) -> bool:
    """Read what is there, but not for ever from one who floods it; False at the end of file."""
    for _ in range(_MOST_CHUNKS):
        try:
            chunk = posix.read(stream, _CHUNK)
        except BlockingIOError:
            return True
        if not chunk:
            return False
        keep(kept, chunk)
    return True


def _keep_first(kept: bytearray, chunk: bytes) -> None:
    # What is beyond the limit is read, so that the process can end, and dropped.
    if len(kept) <= MAX_OUTPUT:
        kept += chunk


def _keep_last(kept: bytearray, chunk: bytes) -> None:
    kept += chunk
    del kept[:-_MAX_ERROR]


def _kill(child: int) -> None:
    """Kill *child*, which nobody has waited for yet, and the process group that it was given."""
    posix.kill(child, _SIGKILL)
    try:
        posix.killpg(child, _SIGKILL)
    except ProcessLookupError:
        pass  # it went into another group, and nobody is left in its own


def _copy_to_stderr(complained: bytes | bytearray) -> None:
    """Pass on what a delegate complained of, as long as somebody reads it."""
    watch = poll()
    watch.register(2, POLLOUT)
    until = time.monotonic() + _READER_GETS
    left = memoryview(complained)
    try:
        while left and watch.poll(max(0.0, 1000 * (until - time.monotonic()))):
            left = left[posix.write(2, left[:_PIPE_TAKES]) :]
    except OSError:
        pass  # it is closed
