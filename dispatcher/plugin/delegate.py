"""Run one delegate: find its executable, give it its input, read its answer as libcni does.

The executable is searched in CNI_PATH. The configuration goes to standard input, command and
container into the environment. An error is returned as the delegate stated it. Genie's own
executable is never run as a delegate. :mod:`dispatcher.plugin.process` has the process itself.
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

    from dispatcher.plugin.process import CompletedProcess
    from dispatcher.state.lock import Lock

CHAIN = "GENIE_CHAIN"
"""Set in the environment of delegates, so that Genie notices when a delegate runs it."""

_STDERR_EXCERPT = 500  # the end of standard error that an error quotes, characters
_STDOUT_EXCERPT = 200  # the beginning of standard output that an error quotes, characters


class Runner:
    """Runs delegates for one call of the plugin.

    ``path`` are the directories of CNI_PATH, ``environ`` is what delegates inherit, and ``own`` is
    device and inode of Genie's own executable. ``lock`` is the lock that delegates inherit now;
    each is recorded in it. Call :meth:`reap` at the end of the call.
    """

    __slots__ = ("_ended", "_environ", "_own", "_path", "lock")

    def __init__(
        self, path: Sequence[str], environ: Mapping[str, str], own: tuple[int, int] | None
    ) -> None:
        self._path = path
        self._environ = environ
        self._own = own
        self._ended: list[Process] = []
        self.lock: Lock | None = None

    def __call__(
        self,
        conf: dict[str, Any],
        variables: dict[str, str],
        deadline: float,
        before_input: Callable[[], None] | None = None,
        while_running: Callable[[], None] | None = None,
    ) -> dict[str, Any] | None:
        """Run the plugin of *conf*, with *variables* added to the inherited environment.

        Return the object that it printed on ADD, None if it printed nothing. *deadline* is a time
        of the monotonic clock. *before_input* is called while the plugin starts, before it gets
        *conf*, and *while_running* once it has *conf*.

        Raises :class:`NotStartedError`, :class:`CNIError` for a delegate that failed, and what the
        two functions raise; the delegate is killed then. A NotStartedError is a
        :class:`CannotRunError` if the executable is missing or cannot be executed, so an immediate
        retry is useless.
        """
        plugin_type = conf["type"]
        file = self.locate(plugin_type)
        if time.monotonic() >= deadline:
            raise NotStartedError(cni_errors.TRY_AGAIN, _no_time(plugin_type))
        try:
            process = Process(file, {**self._environ, **variables, CHAIN: "1"}, deadline)
        except OSError as error:
            reason = f"cannot start plugin {plugin_type}: {error.strerror}"
            raise NotStartedError(cni_errors.TRY_AGAIN, reason) from None

        with process:
            if self.lock is not None:
                self.lock.record_delegate(process.pid, deadline)
            if before_input is not None:
                before_input()
                if time.monotonic() >= deadline:
                    raise CNIError(cni_errors.TRY_AGAIN, _no_time(plugin_type))

            def use_the_time() -> None:
                self.reap()  # reaps the previous delegate of the chain
                if while_running is not None:
                    while_running()

            completed = process.communicate(dump(conf), deadline, use_the_time)
            self._ended.append(process)

        if completed.timed_out:
            raise CNIError(
                cni_errors.TRY_AGAIN,
                f"plugin {plugin_type} did not finish in time and was killed",
            )
        return _answer(plugin_type, variables["CNI_COMMAND"], completed)

    def reap(self) -> None:
        """Remove the delegates that have ended from the kernel's table."""
        while self._ended:
            self._ended.pop().reap()

    def locate(self, plugin_type: str) -> str:
        """Return the path of the executable of *plugin_type*.

        Raises :class:`CannotRunError` if there is none, and :class:`NotStartedError` if it is
        Genie's own.
        """
        file = find_executable(plugin_type, self._path)
        if file is None:
            path = ":".join(self._path)
            raise CannotRunError(f"plugin {plugin_type} is missing: not found in {path}")
        if not posix.access(file, posix.X_OK):
            raise CannotRunError(f"{file} is not executable")
        if self._own is not None and _identity(file) == self._own:
            raise NotStartedError(
                cni_errors.RECURSION, f"plugin {plugin_type} is Genie itself ({file})"
            )
        return file


def _no_time(plugin_type: str) -> str:
    return f"no time is left to run plugin {plugin_type}"


def _identity(file: str) -> tuple[int, int]:
    try:
        status = posix.stat(file)
    except OSError as error:  # it was removed just now
        raise CannotRunError(f"cannot execute {file}: {error.strerror}") from None
    return status.st_dev, status.st_ino


def _answer(plugin_type: str, command: str, completed: CompletedProcess) -> dict[str, Any] | None:
    """Return the object that the delegate printed on ADD. Raises :class:`CNIError`."""
    if completed.status == 0 and command != "ADD":
        return None  # its output does not count, as in libcni
    if len(completed.out) > MAX_OUTPUT:
        # Not parsed: reading 16 MiB of JSON takes more than ten times as much memory.
        limit = MAX_OUTPUT >> 20
        msg = f"plugin {plugin_type} printed more than {limit} MiB and {_how(completed.status)}"
        details = f"standard output begins with {_stdout_excerpt(completed.out)}"
        raise CNIError(cni_errors.DELEGATE_FAILED, msg, details)

    output, fault = _read(completed.out)
    if completed.status == 0 and not fault:
        return output
    raise _failure(plugin_type, completed, output, fault)


def _failure(
    plugin_type: str, completed: CompletedProcess, output: dict[str, Any] | None, fault: str
) -> CNIError:
    """Return the error object in *output*, or an error that describes how the delegate exited."""
    fields = output or {}
    code, msg, details = fields.get("code"), fields.get("msg"), fields.get("details")
    if not isinstance(msg, str) or not msg:
        msg = f"plugin {plugin_type} {_how(completed.status)}"
        msg += "" if output is None else ' and printed an object without "msg"'
        details = "; ".join(filter(None, (fault, _stderr_excerpt(completed.err))))
    return CNIError(
        code if type(code) is int and code > 0 else cni_errors.DELEGATE_FAILED,
        msg,
        details if isinstance(details, str) else "",
    )


def _stderr_excerpt(err: bytes) -> str:
    """Quote the end of standard error, which runtimes do not show beside an error object."""
    text = err.decode("utf-8", "replace").strip()
    end = quote(text[-_STDERR_EXCERPT:], _STDERR_EXCERPT)
    return f"standard error ends with {end}" if text else ""


def _stdout_excerpt(out: bytes | bytearray) -> str:
    """Quote the beginning of standard output, which shows a person what printed it."""
    text = out[: 4 * (_STDOUT_EXCERPT + 1)].decode("utf-8", "replace").strip()
    return quote(text, _STDOUT_EXCERPT)


def _read(out: bytes | bytearray) -> tuple[dict[str, Any] | None, str]:
    """Return the object in *out*, None if there is none, and the fault of *out* or ""."""
    if not out.strip():
        return None, ""
    try:
        output = parse(out)
    except InvalidJSONError as error:
        return None, f"standard output {_stdout_excerpt(out)} is not JSON: {error}"
    if not isinstance(output, dict):
        return None, f"standard output {_stdout_excerpt(out)} is not a JSON object"
    return dict(output), ""


def _how(status: int) -> str:
    if status < 0:
        return f"was killed by signal {-status}"
    return f"exited with code {status}" if status else "succeeded"
