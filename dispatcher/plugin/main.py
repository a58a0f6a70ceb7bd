"""The plugin's entry: environment and standard input in, one JSON answer and a code out.

How it works: :func:`serve` reads, judges and carries out one call and returns what to print
and the exit code; :func:`main` gives it the process's own environment and descriptors and
ends the process at once, since there is nothing to tidy up. Without CNI_COMMAND the same
executable is the command line for people, and nothing of that is loaded here.

Rules of this file: standard output gets exactly one JSON object or nothing; every failure,
foreseen or not, is an error object of the specification.
"""

from __future__ import annotations

import posix
import sys
import time

from dispatcher import cni_errors
from dispatcher.cni_errors import CNIError
from dispatcher.conf import VERSIONS
from dispatcher.jsontext import dump
from dispatcher.plugin.genie_conf import GenieConf, read_conf, stated_version
from dispatcher.plugin.request import Request, read_environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, NoReturn

    from dispatcher.plugin.call import Call
    from dispatcher.plugin.netlink import Namespace

_CHUNK = 1 << 16  # a larger one costs a mapping of memory
_MAX_INPUT = 16 << 20
_OWN_NETNS = "/proc/self/ns/net"


def main(launcher: str) -> NoReturn:
    """Run as the executable *launcher*, and end the process."""
    environ = {_text(key): _text(value) for key, value in posix.environ.items()}
    if _is_for_people(environ):
        from signal import SIG_DFL, SIGPIPE, signal

        from dispatcher.plugin.cli.main import main as command_line

        signal(SIGPIPE, SIG_DFL)  # `genie list | head` ends as other programs do, without a word
        sys.exit(command_line(sys.argv[1:]))
    code, answer = serve(environ, _read_stdin, launcher)
    posix._exit(code if _print(answer) else 1)  # noqa: SLF001 - saves the interpreter's tidying up


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _is_for_people(environ: Mapping[str, str]) -> bool:
    if environ.get("CNI_COMMAND"):
        return False
    return len(sys.argv) > 1 or not any(key in environ for key in ("CNI_CONTAINERID", "CNI_PATH"))


def _read_stdin() -> bytes:
    if posix.isatty(0):
        return b""  # somebody tries us out: the error says what is missing
    chunks = []
    size = 0
    while chunk := _read_chunk():
        chunks.append(chunk)
        size += len(chunk)
        if size > _MAX_INPUT:
            raise CNIError(
                cni_errors.DECODING_FAILURE, f"standard input has more than {_MAX_INPUT >> 20} MiB"
            )
    return b"".join(chunks)


def _read_chunk() -> bytes:
    try:
        return posix.read(0, _CHUNK)
    except OSError as error:
        raise CNIError(
            cni_errors.IO_FAILURE, f"standard input cannot be read: {error.strerror}"
        ) from None


def _print(answer: Any) -> bool:
    if answer is None:
        return True
    left = memoryview(dump(answer) + b"\n")
    try:
        while left:
            left = left[posix.write(1, left) :]
    except OSError:
        return False  # whoever called us is gone; the record says what was done
    return True


def serve(
    environ: Mapping[str, str], read_stdin: Callable[[], bytes], launcher: str
) -> tuple[int, Any]:
    """Carry out one call; return the exit code and what to print, None for nothing."""
    start = time.monotonic()
    data = b""
    call: Call | None = None
    try:
        if environ.get("CNI_COMMAND") == "VERSION":
            return 0, {"cniVersion": VERSIONS[-1], "supportedVersions": list(VERSIONS)}
        data = read_stdin()  # first, for the version to answer a wrong environment in
        request = read_environment(environ)
        conf = read_conf(data, request.command)
        if _is_nested_delete(request):
            return 0, None
        _judge_caller(request)
        call = _call(request, conf, launcher, start)
        answer = _carry_out(call)
    except CNIError as error:
        failure = error
    except OSError as error:
        failure = CNIError(cni_errors.IO_FAILURE, _system_error(error))
    except BaseException as error:  # noqa: BLE001 - the specification wants an object, never a trace
        failure = CNIError(cni_errors.INTERNAL, f"internal error: {_origin(error)}")
    else:
        _note(call, None, start)
        return 0, answer
    if call is not None:
        _note(call, failure, start)
    return 1, failure.as_json(stated_version(data))


def _note(call: Call, failure: CNIError | None, start: float) -> None:
    if call.request.command in {"ADD", "DEL"}:
        from dispatcher.state import journal

        request = call.request
        journal.append(
            call.state_dir,
            command=request.command,
            container_id=request.container_id,
            args=request.args,
            attachments=call.begun,
            error=failure,
            now=time.time(),
            seconds=time.monotonic() - start,
        )


def _system_error(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def _origin(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}: {error}{where}"


def _carry_out(call: Call) -> Any:
    if call.request.command == "ADD":
        from dispatcher.plugin.commands.add import add

        return add(call)
    _COMMANDS[call.request.command](call)
    return None


def _delete(call: Call) -> None:
    from dispatcher.plugin.commands.delete import delete

    delete(call)


def _check(call: Call) -> None:
    from dispatcher.plugin.commands.check import check

    check(call)


def _gc(call: Call) -> None:
    from dispatcher.plugin.commands.gc import collect

    collect(call)


def _status(call: Call) -> None:
    from dispatcher.plugin.commands.status import status

    status(call)


_COMMANDS = {"DEL": _delete, "CHECK": _check, "GC": _gc, "STATUS": _status}


def _is_nested_delete(request: Request) -> bool:
    """Tell whether this is a DEL by a plugin that we called; refuse its other commands.

    Its ADD was refused, so there is nothing to free, and the pod must be able to go.
    """
    from dispatcher.plugin.delegate import CHAIN

    if CHAIN not in request.environ:
        return False
    if request.command == "DEL":
        return True
    raise CNIError(
        cni_errors.RECURSION, "Genie was called by a plugin that Genie itself called", CHAIN
    )


def _judge_caller(request: Request) -> None:
    """Refuse a call for the namespace that we run in (code 8)."""
    if not request.netns or request.netns_override:
        return
    own = posix.stat(_OWN_NETNS)
    try:
        given = posix.stat(request.netns)
    except (OSError, ValueError):
        return  # gone, which is ordinary on DEL; on ADD the delegates say so
    if (given.st_dev, given.st_ino) == (own.st_dev, own.st_ino):
        raise CNIError(
            cni_errors.INVALID_NETNS,
            "CNI_NETNS is the network namespace that the plugin itself runs in",
            "set CNI_NETNS_OVERRIDE=1 to allow it",
        )


def _call(request: Request, conf: GenieConf, launcher: str, start: float) -> Call:
    from dispatcher.plugin.call import Call, Deadline
    from dispatcher.plugin.delegate import Runner

    def open_namespace(netns: str) -> Namespace:
        from dispatcher.plugin.netlink import Namespace

        return Namespace(netns)

    def ask_agent(address: str, args: str) -> str:
        from dispatcher.plugin.agent_client import annotation

        return annotation(address, args)

    own = posix.stat(launcher)
    return Call(
        request,
        conf,
        run=Runner(request.path, request.environ, (own.st_dev, own.st_ino)),
        deadline=Deadline(conf.settings.deadline, start, time.monotonic),
        now=time.time,
        open_namespace=open_namespace,
        ask_agent=ask_agent,
        complain=_complain,
        cache_dir="/var/lib/cni/results",
    )


def _complain(sentence: str) -> None:
    try:
        posix.write(2, f"genie: {sentence}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # nobody reads it
