"""The plugin's entry point: environment and standard input in, one JSON object and a code out.

:func:`main` runs as the executable: the CNI plugin, or the command line for people if CNI_COMMAND
is not set. :func:`run` answers one call with the environment, descriptors and clock that it is
given, as ``skel`` does in the CNI project's library.

Standard output gets exactly one JSON object, or nothing. Every failure, foreseen or not, is an
error object of the specification (section 5, "Error").
"""

from __future__ import annotations

import posix
import sys
import time

from dispatcher import cni_errors, keys, networks
from dispatcher.cni_errors import CNIError
from dispatcher.conf import VERSIONS, Conf
from dispatcher.jsontext import dump
from dispatcher.plugin.call import Call, Effects
from dispatcher.plugin.deadline import Deadline
from dispatcher.plugin.delegate import CHAIN, Runner
from dispatcher.plugin.genie_conf import GenieConf, read_conf, stated_version
from dispatcher.plugin.request import Request, read_environment
from dispatcher.plugin.timings import Timings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, NoReturn, Protocol

    from dispatcher.plugin.netlink import NetworkNamespace

    class Clock(Protocol):
        """The part of the module ``time`` that a call uses."""

        def monotonic(self) -> float:
            """Return seconds of a clock that never goes back."""

        def time(self) -> float:
            """Return seconds of the epoch."""


_CHUNK = 1 << 16  # a larger one costs a mapping of memory
_MAX_INPUT = 16 << 20
_OWN_NETNS = "/proc/self/ns/net"


def main(launcher: str) -> NoReturn:
    """Run as the executable *launcher*, and end the process."""
    environ = {_text(key): _text(value) for key, value in posix.environ.items()}
    if _is_command_line(environ, sys.argv[1:]):
        from signal import SIG_DFL, SIGPIPE, signal

        from dispatcher.plugin.cli.main import main as command_line

        signal(SIGPIPE, SIG_DFL)  # `genie list | head` ends silently, as other programs do
        sys.exit(command_line(sys.argv[1:], launcher))
    posix._exit(run(environ, launcher))  # noqa: SLF001 - saves the interpreter's clean-up


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _is_command_line(environ: Mapping[str, str], arguments: Sequence[str]) -> bool:
    """Tell whether a person calls, not a container runtime."""
    if environ.get("CNI_COMMAND"):
        return False
    return bool(arguments) or not any(key in environ for key in ("CNI_CONTAINERID", "CNI_PATH"))


def run(
    environ: Mapping[str, str],
    launcher: str,
    *,
    stdin: int = 0,
    stdout: int = 1,
    stderr: int = 2,
    clock: Clock = time,
) -> int:
    """Read the call from *stdin*, print the answer to *stdout*, and return the exit code.

    *launcher* is the path of our own executable; *stdin*, *stdout* and *stderr* are descriptors.
    Never raises: see :func:`serve`.
    """

    def warn(sentence: str) -> None:
        try:
            posix.write(stderr, f"genie: {sentence}\n".encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # the caller does not read it

    code, answer = serve(environ, lambda: _read(stdin), launcher, warn, clock)
    return code if _print(stdout, answer) else 1


def _read(stdin: int) -> bytes:
    if posix.isatty(stdin):
        return b""  # a person tries the plugin: the error says what is missing
    chunks = []
    size = 0
    while chunk := _read_chunk(stdin):
        chunks.append(chunk)
        size += len(chunk)
        if size > _MAX_INPUT:
            raise CNIError(
                cni_errors.DECODING_FAILURE, f"standard input is larger than {_MAX_INPUT >> 20} MiB"
            )
    return b"".join(chunks)


def _read_chunk(stdin: int) -> bytes:
    try:
        return posix.read(stdin, _CHUNK)
    except OSError as error:
        raise CNIError(
            cni_errors.IO_FAILURE, f"cannot read standard input: {error.strerror}"
        ) from None


def _print(stdout: int, answer: Any) -> bool:
    """Print *answer*, unless it is None. Return False if the caller is gone."""
    if answer is None:
        return True
    left = memoryview(dump(answer) + b"\n")
    try:
        while left:
            left = left[posix.write(stdout, left) :]
    except OSError:
        return False  # the caller is gone; the record has what was done
    return True


def serve(
    environ: Mapping[str, str],
    read_stdin: Callable[[], bytes],
    launcher: str,
    warn: Callable[[str], None],
    clock: Clock,
) -> tuple[int, Any]:
    """Answer one call: return the exit code, and the object to print or None.

    Validates environment and configuration, runs the command, adds the line of the journal, and
    reaps the delegates.
    Never raises: every exception becomes an error object of the specification.
    """
    start = clock.monotonic()
    data = b""
    call: Call | None = None
    try:
        if environ.get("CNI_COMMAND") == "VERSION":
            return 0, {"cniVersion": VERSIONS[-1], "supportedVersions": list(VERSIONS)}
        # Before the environment is validated: its error is in the version of the configuration.
        data = read_stdin()
        request = read_environment(environ)
        conf = read_conf(data, request.command)
        if _is_nested_del(request):
            return 0, None
        _refuse_own_netns(request)

        effects = _effects(request, conf, launcher, warn, clock)
        deadline = Deadline(conf.settings.deadline, start, clock.monotonic)
        call = Call(request, conf, effects, deadline)
        answer = _run_command(call)
    except CNIError as error:
        failure = error
    except OSError as error:
        failure = CNIError(cni_errors.IO_FAILURE, _system_error(error))
    except BaseException as error:  # noqa: BLE001 - the specification wants an object, no trace
        failure = CNIError(cni_errors.INTERNAL, f"internal error: {_origin(error)}")
    else:
        _end(call, None, start, clock)
        return 0, answer

    if call is not None:
        _end(call, failure, start, clock)
    return 1, failure.as_json(stated_version(data))


def _end(call: Call, failure: CNIError | None, start: float, clock: Clock) -> None:
    """Append the line of *call* to the journal, and reap its delegates."""
    request = call.request
    if request.command in {"ADD", "DEL"}:
        from dispatcher.state import journal

        journal.append(
            call.state_dir,
            command=request.command,
            container_id=request.container_id,
            args=request.args,
            attachments=call.effects.timings.entries,
            error=failure,
            now=clock.time(),
            seconds=clock.monotonic() - start,
        )
    call.effects.run.reap()


def _system_error(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def _origin(error: BaseException) -> str:
    """Return type, message and place of an error that is a defect of ours, in one line."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}: {error}{where}"


def _run_command(call: Call) -> Any:
    """Run the command of a valid call, and return its result or None.

    Each command loads only its own module. Raises :class:`CNIError` and OSError.
    """
    command = call.request.command
    if command == "ADD":
        from dispatcher.plugin.commands.add import add

        return add(call)

    if command == "DEL":
        from dispatcher.plugin.commands.delete import delete

        delete(call)
    elif command == "CHECK":
        from dispatcher.plugin.commands.check import check

        check(call)
    elif command == "GC":
        from dispatcher.plugin.commands.gc import collect

        collect(call)
    else:
        from dispatcher.plugin.commands.status import status

        status(call)
    return None


def _is_nested_del(request: Request) -> bool:
    """Tell whether a delegate of ours called us with DEL. Refuse its other commands (code 105).

    Its ADD was refused, so DEL has nothing to release, and must succeed for the pod to go.
    """
    if CHAIN not in request.environ:
        return False
    if request.command == "DEL":
        return True
    raise CNIError(
        cni_errors.RECURSION,
        "Genie cannot be a delegate of itself: a plugin that it runs has called it",
        f"{CHAIN} is set in the environment",
    )


def _refuse_own_netns(request: Request) -> None:
    """Refuse a call for the network namespace that the plugin runs in (code 8)."""
    if not request.netns or request.netns_override:
        return
    own = posix.stat(_OWN_NETNS)
    try:
        given = posix.stat(request.netns)
    except (OSError, ValueError):
        return  # ordinary on DEL, where the namespace may be gone; on ADD a delegate reports it
    if (given.st_dev, given.st_ino) == (own.st_dev, own.st_ino):
        raise CNIError(
            cni_errors.INVALID_NETNS,
            "CNI_NETNS is the network namespace in which the plugin itself runs",
            "set CNI_NETNS_OVERRIDE=1 to allow it",
        )


def _effects(
    request: Request, conf: GenieConf, launcher: str, warn: Callable[[str], None], clock: Clock
) -> Effects:
    """Return the real effects. What only some calls need is loaded when it is used."""

    def find_network(name: str) -> Conf:
        return networks.find(name, conf.settings.conf_dirs)

    def open_namespace(netns: str) -> NetworkNamespace:
        from dispatcher.plugin.netlink import NetworkNamespace

        return NetworkNamespace(netns)

    def ask_agent(address: str, args: str) -> dict[str, str]:
        from dispatcher.plugin.agent_client import pod_annotations

        return pod_annotations(address, args)

    own = posix.stat(launcher)
    return Effects(
        run=Runner(request.path, request.environ, (own.st_dev, own.st_ino)),
        find_network=find_network,
        open_namespace=open_namespace,
        ask_agent=ask_agent,
        now=clock.time,
        sleep=time.sleep,
        timings=Timings(clock.monotonic),
        warn=warn,
        cache_dir=keys.LIBCNI_CACHE,
    )
