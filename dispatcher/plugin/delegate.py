"""One run of one delegate: its process, its descriptors, its time.

How it works: the configuration goes to the delegate's standard input as an anonymous file,
so a delegate that never reads it cannot block us. Standard output and error are pipes of
ours, read until the delegate itself has ended, not until their end of file: a daemon that it
left behind may keep every descriptor for ever. What came on standard error is copied to
ours afterwards; the runtime's own descriptor is never handed on, since its wait would last
as long as such a daemon. The delegate leads a process group of its own, which is killed
whole when the time is over.

Rules of this file: a call ends no later than its time says, whatever the delegate does; the
container's lock is the only further descriptor that is inherited.
"""

from __future__ import annotations

import posix
import time
from select import POLLIN, POLLOUT, poll

from dispatcher.jsontext import InvalidJSON, dump, parse
from dispatcher.networks import locate
from dispatcher.plugin import errors
from dispatcher.plugin.errors import CannotRun, CNIError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

CHAIN = "GENIE_CHAIN"
"""Set for delegates: a plugin of ours that finds it was called by itself, through whatever."""

_SIGKILL = 9
_IGNORED_BY_PYTHON = (13, 25)  # SIGPIPE and SIGXFSZ: delegates get them as we were given them
_ETXTBSY = 26  # Linux; the module errno would be loaded for this alone
_MAX_OUTPUT = 8 * 1024 * 1024  # of a delegate's standard output; results have a few KiB
_MAX_ERROR = 64 * 1024  # of its standard error; what is beyond is read and dropped
_CHUNK = 65536
_PIPE_TAKES = 4096  # so much a pipe takes at once where it takes anything (PIPE_BUF), bytes
_READER_GETS = 200  # how long a full pipe to our caller is waited for, milliseconds
_BUSY_FOR = 3.0  # how long ETXTBSY is waited out: an installer that copies in place, seconds
_BUSY_PAUSE = 0.02
_WITHOUT_PIDFD = 0.01  # how often a kernel before 5.3 is asked whether the child ended, seconds


class Ended:
    """How a delegate ended: its exit ``status`` (negative: the signal) and what it printed."""

    __slots__ = ("out", "status", "timed_out")

    def __init__(self, status: int, out: bytes, *, timed_out: bool) -> None:
        self.status = status
        self.out = out
        self.timed_out = timed_out


class Runner:
    """Runs delegates for one call of the plugin.

    ``path`` are the directories of CNI_PATH, ``environ`` what delegates inherit, ``own`` the
    identity (device, inode) of our own executable, which is never a delegate.
    """

    __slots__ = ("_environ", "_own", "_path")

    def __init__(
        self, path: Sequence[str], environ: Mapping[str, str], own: tuple[int, int] | None
    ) -> None:
        self._path = path
        self._environ = environ
        self._own = own

    def __call__(
        self, conf: dict[str, Any], variables: dict[str, str], until: float
    ) -> dict[str, Any] | None:
        """Run the plugin that *conf* names, with *variables* over the inherited environment.

        Return the object that it printed, None if it printed nothing. *until* is a time of
        the monotonic clock. Raises :class:`CannotRun`, or :class:`CNIError` for a delegate
        that failed.
        """
        kind = conf["type"]
        file = self.locate(kind)
        ended = run(file, dump(conf), {**self._environ, **variables, CHAIN: "1"}, until)
        if ended.timed_out:
            raise CNIError(
                errors.TRY_AGAIN, f"the plugin {kind} did not end in time and was killed"
            )
        return _answer(kind, ended)

    def locate(self, kind: str) -> str:
        """Return the executable of the plugin *kind*.

        Raises :class:`CannotRun` if there is none, :class:`CNIError` if it is ourselves.
        """
        file = locate(kind, self._path)
        if file is None:
            raise CannotRun(f"there is no plugin {kind} in {':'.join(self._path)}")
        if not posix.access(file, posix.X_OK):
            raise CannotRun(f"{file} is not executable")
        if self._own is not None:
            found = posix.stat(file)
            if (found.st_dev, found.st_ino) == self._own:
                raise CNIError(errors.RECURSION, f"the plugin {kind} is Genie itself ({file})")
        return file


def _answer(kind: str, ended: Ended) -> dict[str, Any] | None:
    said: Any = None
    fault = ""
    if ended.out.strip():
        try:
            said = parse(ended.out)
        except InvalidJSON as error:
            fault = f"what it printed is not JSON: {error}"
        else:
            if not isinstance(said, dict):
                said, fault = None, "what it printed is not a JSON object"
    if ended.status == 0 and not fault:
        return said if said is None else dict(said)
    how = _how(ended.status)
    if said is None:
        fault = fault or "it printed nothing"
        raise CNIError(errors.DELEGATE_FAILED, f"the plugin {kind} {how}", fault)
    code, msg, details = said.get("code"), said.get("msg"), said.get("details")
    raise CNIError(
        code if type(code) is int and code > 0 else errors.DELEGATE_FAILED,
        msg if isinstance(msg, str) and msg else f"the plugin {kind} {how} and gave no reason",
        details if isinstance(details, str) else "",
    )


def _how(status: int) -> str:
    if status < 0:
        return f"was ended by signal {-status}"
    return f"ended with exit code {status}" if status else "succeeded"


def run(file: str, given: bytes, environ: Mapping[str, str], until: float) -> Ended:
    """Execute *file* with *given* on its standard input, until it ends or time is over.

    Raises :class:`CannotRun` if it cannot be executed.
    """
    stdin = posix.memfd_create("cni", posix.MFD_CLOEXEC)
    out, out_end = posix.pipe2(posix.O_CLOEXEC)
    err, err_end = posix.pipe2(posix.O_CLOEXEC)
    try:
        _fill(stdin, given)
        actions = [
            (posix.POSIX_SPAWN_DUP2, stdin, 0),
            (posix.POSIX_SPAWN_DUP2, out_end, 1),
            (posix.POSIX_SPAWN_DUP2, err_end, 2),
        ]
        child = _spawn(file, environ, actions, until)
        posix.close(out_end)
        posix.close(err_end)
        out_end = err_end = -1
        return _attend(child, out, err, until)
    finally:
        for each in (stdin, out, err, out_end, err_end):
            if each >= 0:
                posix.close(each)


def _fill(file: int, given: bytes) -> None:
    left = memoryview(given)
    while left:
        left = left[posix.write(file, left) :]
    posix.lseek(file, 0, 0)


def _spawn(
    file: str, environ: Mapping[str, str], actions: list[tuple[int, int, int]], until: float
) -> int:
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
            raise CannotRun(f"{file} cannot be executed: {error.strerror}") from None


def _attend(child: int, out: int, err: int, until: float) -> Ended:
    said: list[bytes] = []
    complained: list[bytes] = []
    posix.set_blocking(out, False)
    posix.set_blocking(err, False)
    timed_out = not _wait(child, {out: said, err: complained}, until)
    if timed_out:
        _kill(child)
    _, status = posix.waitpid(child, 0)
    _drain(out, said, _MAX_OUTPUT)
    _drain(err, complained, _MAX_ERROR)
    for chunk in complained:
        _copy_to_stderr(chunk)
    return Ended(posix.waitstatus_to_exitcode(status), b"".join(said), timed_out=timed_out)


def _wait(child: int, streams: dict[int, list[bytes]], until: float) -> bool:
    """Read *streams* until *child* has ended; False if the time was over first."""
    watch = poll()
    for stream in streams:
        watch.register(stream, POLLIN)
    end = _pidfd(child)
    if end is not None:
        watch.register(end, POLLIN)
    try:
        while (left := until - time.monotonic()) > 0:
            ready = [each for each, _ in watch.poll(1000 * _at_most(left, end))]
            for stream in ready:
                # Both are read to the same limit here; what is too much is dropped.
                if stream != end and not _drain(stream, streams[stream], _MAX_OUTPUT):
                    watch.unregister(stream)
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


def _drain(stream: int, chunks: list[bytes], limit: int) -> bool:
    """Read what is there into *chunks*; False at the end of file."""
    while True:
        try:
            chunk = posix.read(stream, _CHUNK)
        except BlockingIOError:
            return True
        if not chunk:
            return False
        if sum(map(len, chunks)) + len(chunk) <= limit:
            chunks.append(chunk)


def _kill(child: int) -> None:
    try:
        posix.killpg(child, _SIGKILL)
    except ProcessLookupError:
        pass  # it ended just now


def _copy_to_stderr(chunk: bytes) -> None:
    """Pass on what a delegate complained of, as long as somebody reads it."""
    watch = poll()
    watch.register(2, POLLOUT)
    left = memoryview(chunk)
    try:
        while left and watch.poll(_READER_GETS):
            left = left[posix.write(2, left[:_PIPE_TAKES]) :]
    except OSError:
        pass  # it is closed
