"""One run of one delegate: which executable it is, what it is told, what its answer means.

How it works: the executable is looked for in CNI_PATH; the configuration goes to its standard
input, the command and what it concerns into its environment, and its answer is read as libcni
reads it. The process itself is :mod:`dispatcher.plugin.process`'s.

Rules of this file: our own executable is never a delegate; an error of a delegate is passed on as
the delegate stated it; a lock is the only further descriptor that a delegate inherits.
"""

from __future__ import annotations

import posix
import time

from dispatcher import cni_errors
from dispatcher.annotation import quote
from dispatcher.cni_errors import CannotRunError, CNIError, NotStartedError
from dispatcher.jsontext import InvalidJSONError, dump, parse
from dispatcher.networks import find_executable
from dispatcher.plugin.process import MAX_OUTPUT, Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from dispatcher.plugin.process import Ended
    from dispatcher.state.lock import Lock

CHAIN = "GENIE_CHAIN"
"""Set for delegates: a plugin of ours that finds it was called by itself, through whatever."""

_LAST_WORDS = 500  # of its standard error, for the error that we return, characters
_FIRST_WORDS = 200  # of its standard output where that is no JSON, characters


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
        self,
        conf: dict[str, Any],
        variables: dict[str, str],
        until: float,
        meanwhile: Callable[[], None] | None = None,
    ) -> dict[str, Any] | None:
        """Run the plugin that *conf* names, with *variables* over the inherited environment.

        Return the object that it printed on ADD, None if it printed nothing. *until* is a time
        of the monotonic clock; nothing is begun after it. *meanwhile* is done while the plugin
        starts, before it gets *conf*.

        Raises :class:`NotStartedError` (:class:`CannotRunError` where no try can succeed),
        :class:`CNIError` for a delegate that failed, and what *meanwhile* raises.
        """
        kind = conf["type"]
        file = self.locate(kind)
        if time.monotonic() >= until:
            raise NotStartedError(cni_errors.TRY_AGAIN, _no_time(kind))
        try:
            process = Process(file, {**self._environ, **variables, CHAIN: "1"}, until)
        except OSError as error:
            reason = f"the plugin {kind} could not be started: {error.strerror}"
            raise NotStartedError(cni_errors.TRY_AGAIN, reason) from None
        with process:
            if self.lock is not None:
                self.lock.record_delegate(process.number, until)
            if meanwhile is not None:
                meanwhile()
                if time.monotonic() >= until:
                    raise CNIError(cni_errors.TRY_AGAIN, _no_time(kind))
            ended = process.attend(dump(conf), until)
        if ended.timed_out:
            raise CNIError(
                cni_errors.TRY_AGAIN, f"the plugin {kind} did not end in time and was killed"
            )
        return _answer(kind, variables["CNI_COMMAND"], ended)

    def locate(self, kind: str) -> str:
        """Return the executable of the plugin *kind*.

        Raises :class:`CannotRunError` if there is none, and :class:`NotStartedError` if it is
        ourselves.
        """
        file = find_executable(kind, self._path)
        if file is None:
            raise CannotRunError(f"there is no plugin {kind} in {':'.join(self._path)}")
        if not posix.access(file, posix.X_OK):
            raise CannotRunError(f"{file} is not executable")
        if self._own is not None and _identity(file) == self._own:
            raise NotStartedError(
                cni_errors.RECURSION, f"the plugin {kind} is Genie itself ({file})"
            )
        return file


def _no_time(kind: str) -> str:
    return f"no time was left for the plugin {kind}"


def _identity(file: str) -> tuple[int, int]:
    try:
        found = posix.stat(file)
    except OSError as error:
        raise CannotRunError(f"{file} cannot be executed: {error.strerror}") from None  # it went
    return found.st_dev, found.st_ino


def _answer(kind: str, command: str, ended: Ended) -> dict[str, Any] | None:
    if ended.status == 0 and command != "ADD":
        return None  # what it printed is nobody's business, as in libcni
    if len(ended.out) > MAX_OUTPUT:
        # Not parsed: reading 16 MiB of JSON takes ten times as much memory, and more.
        msg = f"the plugin {kind} printed more than {MAX_OUTPUT >> 20} MiB and {_how(ended.status)}"
        raise CNIError(cni_errors.DELEGATE_FAILED, msg, _first_words(ended.out))
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
        code if type(code) is int and code > 0 else cni_errors.DELEGATE_FAILED,
        msg,
        details if isinstance(details, str) else "",
    )


def _last_words(err: bytes) -> str:
    """Return the end of standard error: runtimes show an error object, and then not that."""
    text = err.decode("utf-8", "replace").strip()
    last = quote(text[-_LAST_WORDS:], _LAST_WORDS)
    return f"its standard error ends with {last}" if text else ""


def _first_words(out: bytes | bytearray) -> str:
    """Return the beginning of standard output, by which a person sees what printed it."""
    text = out[: 4 * (_FIRST_WORDS + 1)].decode("utf-8", "replace").strip()
    return f"it begins with {quote(text, _FIRST_WORDS)}"


def _read(out: bytes | bytearray) -> tuple[dict[str, Any] | None, str]:
    """Return the object in *out*, None if there is none, and what is wrong with it."""
    if not out.strip():
        return None, ""
    try:
        said = parse(out)
    except InvalidJSONError as error:
        return None, f"what it printed is not JSON: {error}; {_first_words(out)}"
    if not isinstance(said, dict):
        return None, f"what it printed is not a JSON object; {_first_words(out)}"
    return dict(said), ""


def _how(status: int) -> str:
    if status < 0:
        return f"was ended by signal {-status}"
    return f"ended with exit code {status}" if status else "succeeded"
