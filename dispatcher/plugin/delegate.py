"""One run of one delegate: its process, its descriptors, its time.

How it works: the configuration goes to the delegate's standard input as an anonymous file,
so a delegate that never reads it cannot block us. Standard output and error are pipes of
ours, read until the delegate itself has ended, not until their end of file: a daemon that it
left behind may keep every descriptor for ever. What came on standard error is copied to
ours afterwards; the runtime's own descriptor is never handed on, since its wait would last
as long as such a daemon. The delegate leads a process group of its own, which is killed
whole when the time is over.

Rules of this file: a call ends when its time does, give or take what a kill and a full pipe may
take (a second), whatever the delegate does; a lock is the only further descriptor that is
inherited.
"""

from __future__ import annotations

import posix
import time
from select import POLLIN, POLLOUT, poll

from dispatcher.annotation import quote
from dispatcher.jsontext import InvalidJSON, dump, parse
from dispatcher.networks import locate
from dispatcher.plugin import errors
from dispatcher.plugin.errors import CannotRun, CNIError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from dispatcher.plugin.lock import Lock

    Keep = Callable[[bytearray, bytes], None]
    Sinks = dict[int, tuple[bytearray, Keep]]

CHAIN = "GENIE_CHAIN"
"""Set for delegates: a plugin of ours that finds it was called by itself, through whatever."""

_SIGKILL = 9
_IGNORED_BY_PYTHON = (13, 25)  # SIGPIPE and SIGXFSZ: delegates get them as we were given them
_ETXTBSY = 26  # Linux; the module errno would be loaded for these alone
_OF_THE_FILE = (1, 2, 8, 13, 20, 21, _ETXTBSY, 40, 80)
"""EPERM, ENOENT, ENOEXEC, EACCES, ENOTDIR, EISDIR, ETXTBSY, ELOOP, ELIBBAD: it cannot be executed.
Any other error is the machine's (no memory, no descriptors) and passes."""

_MAX_OUTPUT = 8 * 1024 * 1024  # of a delegate's standard output; results have a few KiB
_MAX_ERROR = 64 * 1024  # of its standard error, the end of it; what was before is dropped
_LAST_WORDS = 500  # of its standard error, for the error that we return, characters
_CHUNK = 65536
_MOST_CHUNKS = 17  # that are read at once: all that the largest pipe holds (1 MiB)
_PIPE_TAKES = 4096  # so much a pipe takes at once where it takes anything (PIPE_BUF), bytes
_READER_GETS = 0.2  # how long a full pipe to our caller is waited for in all, seconds
_DIES_WITHIN = 1.0  # so long the kernel may take over a SIGKILL, seconds
_BUSY_FOR = 3.0  # how long ETXTBSY is waited out: an installer that copies in place, seconds
_BUSY_PAUSE = 0.02
_WITHOUT_PIDFD = 0.01  # how often a kernel before 5.3 is asked whether the child ended, seconds


class Ended:
    """How a delegate ended: its exit ``status`` (negative: the signal) and what it printed.

    ``out`` is the beginning of its standard output, ``err`` the end of its standard error.
    """

    __slots__ = ("err", "out", "status", "timed_out")

    def __init__(self, status: int, out: bytes, err: bytes = b"", *, timed_out: bool) -> None:
        self.status = status
        self.out = out
        self.err = err
        self.timed_out = timed_out


class Runner:
    """Runs delegates for one call of the plugin.

    ``path`` are the directories of CNI_PATH, ``environ`` what delegates inherit, ``own`` the
    identity (device, inode) of our own executable, which is never a delegate. ``lock`` is the
    lock that they inherit now, and that is told of each.
    """

    __slots__ = ("_environ", "_own", "_path", "lock")

    def __init__(
        self, path: Sequence[str], environ: Mapping[str, str], own: tuple[int, int] | None
    ) -> None:
        self._path = path
        self._environ = environ
        self._own = own
        self.lock: Lock | None = None

    def __call__(
        self, conf: dict[str, Any], variables: dict[str, str], until: float
    ) -> dict[str, Any] | None:
        """Run the plugin that *conf* names, with *variables* over the inherited environment.

        Return the object that it printed on ADD, None if it printed nothing. *until* is a time
        of the monotonic clock; nothing is begun after it. Raises :class:`CannotRun`, or
        :class:`CNIError` for a delegate that failed.
        """
        kind = conf["type"]
        file = self.locate(kind)
        if time.monotonic() >= until:
            raise CNIError(errors.TRY_AGAIN, f"no time was left for the plugin {kind}")
        try:
            environ = {**self._environ, **variables, CHAIN: "1"}
            ended = run(file, dump(conf), environ, until, self.lock)
        except OSError as error:
            reason = f"the plugin {kind} could not be started: {error.strerror}"
            raise CNIError(errors.TRY_AGAIN, reason) from None
        if ended.timed_out:
            raise CNIError(
                errors.TRY_AGAIN, f"the plugin {kind} did not end in time and was killed"
            )
        return _answer(kind, variables["CNI_COMMAND"], ended)

    def locate(self, kind: str) -> str:
        """Return the executable of the plugin *kind*.

        Raises :class:`CannotRun` if there is none, :class:`CNIError` if it is ourselves.
        """
        file = locate(kind, self._path)
        if file is None:
            raise CannotRun(f"there is no plugin {kind} in {':'.join(self._path)}")
        if not posix.access(file, posix.X_OK):
            raise CannotRun(f"{file} is not executable")
        if self._own is not None and _identity(file) == self._own:
            raise CNIError(errors.RECURSION, f"the plugin {kind} is Genie itself ({file})")
        return file


def _identity(file: str) -> tuple[int, int]:
    try:
        found = posix.stat(file)
    except OSError as error:
        raise CannotRun(f"{file} cannot be executed: {error.strerror}") from None  # it went
    return found.st_dev, found.st_ino


def _answer(kind: str, command: str, ended: Ended) -> dict[str, Any] | None:
    if ended.status == 0 and command != "ADD":
        return None  # what it printed is nobody's business, as in libcni
    said, fault = _read(ended.out)
    if ended.status == 0 and not fault:
        return said
    raise _failure(kind, ended, said, fault)


def _failure(kind: str, ended: Ended, said: dict[str, Any] | None, fault: str) -> CNIError:
    """Return the delegate's own error, or what is known where it *said* none."""
    own = said or {}
    code, msg, details = own.get("code"), own.get("msg"), own.get("details")
    if not isinstance(msg, str) or not msg:
        msg = f"the plugin {kind} {_how(ended.status)}"
        msg += "" if said is None else " and gave no reason"
        details = "; ".join(filter(None, (fault, _last_words(ended.err))))
    return CNIError(
        code if type(code) is int and code > 0 else errors.DELEGATE_FAILED,
        msg,
        details if isinstance(details, str) else "",
    )


def _last_words(err: bytes) -> str:
    """Return the end of standard error: runtimes show an error object, and then not that."""
    text = err.decode("utf-8", "replace").strip()
    last = quote(text[-_LAST_WORDS:], _LAST_WORDS)
    return f"its standard error ends with {last}" if text else ""


def _read(out: bytes) -> tuple[dict[str, Any] | None, str]:
    """Return the object in *out*, None if there is none, and what is wrong with it."""
    if not out.strip():
        return None, ""
    try:
        said = parse(out)
    except InvalidJSON as error:
        return None, f"what it printed is not JSON: {error}"
    if not isinstance(said, dict):
        return None, "what it printed is not a JSON object"
    return dict(said), ""


def _how(status: int) -> str:
    if status < 0:
        return f"was ended by signal {-status}"
    return f"ended with exit code {status}" if status else "succeeded"


def run(
    file: str, given: bytes, environ: Mapping[str, str], until: float, lock: Lock | None = None
) -> Ended:
    """Execute *file* with *given* on its standard input, until it ends or time is over.

    Raises :class:`CannotRun` if it cannot be executed, OSError if the machine has no room.
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
        if lock is not None:
            lock.note(child, until)
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
            if error.errno not in _OF_THE_FILE:
                raise
            raise CannotRun(f"{file} cannot be executed: {error.strerror}") from None


def _attend(child: int, out: int, err: int, until: float) -> Ended:
    said, complained = bytearray(), bytearray()
    sinks: Sinks = {out: (said, _keep_first), err: (complained, _keep_last)}
    for each in sinks:
        posix.set_blocking(each, False)
    status = -_SIGKILL
    has_ended = _wait(child, sinks, until)
    timed_out = not has_ended
    if timed_out:
        _kill(child)
        has_ended = _wait(child, sinks, time.monotonic() + _DIES_WITHIN)
    if has_ended:  # else the kernel has it (state D), and it never runs again
        status = posix.waitstatus_to_exitcode(posix.waitpid(child, 0)[1])
    for each in sinks:
        _drain(each, *sinks[each])
    _copy_to_stderr(complained)
    return Ended(status, bytes(said), bytes(complained), timed_out=timed_out)


def _wait(child: int, sinks: Sinks, until: float) -> bool:
    """Read into *sinks* until *child* has ended; False if the time was over first."""
    watch = poll()
    for stream in sinks:
        watch.register(stream, POLLIN)
    end = _pidfd(child)
    if end is not None:
        watch.register(end, POLLIN)
    try:
        while (left := until - time.monotonic()) > 0:
            ready = [each for each, _ in watch.poll(1000 * _at_most(left, end))]
            for stream in ready:
                if stream != end and not _drain(stream, *sinks[stream]):
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
    if len(kept) + len(chunk) <= _MAX_OUTPUT:
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
