"""Read and validate the environment of a call: the CNI_* variables.

:data:`ENVIRONMENT` is the contract of the specification (section 2, "Parameters"), one row for
each variable. :func:`read_environment` reports all faults together. Pure: it reads no file.
"""

from __future__ import annotations

from dispatcher import cni_errors
from dispatcher.annotation import quote
from dispatcher.cni_errors import CNIError
from dispatcher.conf import is_cni_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

COMMANDS = {
    "ADD": "0.1.0",
    "DEL": "0.1.0",
    "CHECK": "0.4.0",
    "GC": "1.1.0",
    "STATUS": "1.1.0",
    "VERSION": "0.1.0",
}
"""Every command, and the oldest version of the specification that has it."""

_CONTAINER_COMMANDS = frozenset({"ADD", "DEL", "CHECK"})
_MAX_CONTAINER_ID = 200  # file names end at 255 bytes, and the record's has a suffix
_MAX_INTERFACE = 15


def _judge_container_id(text: str) -> str | None:
    if len(text) > _MAX_CONTAINER_ID:
        return f"may have at most {_MAX_CONTAINER_ID} characters (has {len(text)})"
    if not is_cni_name(text):
        return 'must be letters, digits, "_", "." or "-", and start with a letter or digit'
    return None


def _judge_interface(text: str) -> str | None:
    if len(text.encode("utf-8", "surrogateescape")) > _MAX_INTERFACE:
        return f"may have at most {_MAX_INTERFACE} bytes"
    if text in {".", ".."} or any(char in "/:" or char.isspace() for char in text):
        return 'may not be "." or "..", nor hold "/", ":" or blanks'
    return None


ENVIRONMENT: dict[str, tuple[frozenset[str], Callable[[str], str | None] | None]] = {
    "CNI_COMMAND": (frozenset(COMMANDS), None),
    "CNI_CONTAINERID": (_CONTAINER_COMMANDS, _judge_container_id),
    "CNI_NETNS": (frozenset({"ADD", "CHECK"}), None),
    "CNI_IFNAME": (_CONTAINER_COMMANDS, _judge_interface),
    "CNI_PATH": (frozenset(COMMANDS) - {"VERSION"}, None),
    "CNI_ARGS": (frozenset(), None),
    "CNI_NETNS_OVERRIDE": (frozenset(), None),
}
"""For each variable: the commands that need it, and what is wrong with a value, or None."""


class Request:
    """One call of the plugin: the environment's part.

    ``path`` are the directories of CNI_PATH, ``environ`` is the whole environment, which
    delegates inherit.
    """

    __slots__ = (
        "args",
        "command",
        "container_id",
        "environ",
        "interface",
        "netns",
        "netns_override",
        "path",
    )

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.command = environ.get("CNI_COMMAND", "")
        self.container_id = environ.get("CNI_CONTAINERID", "")
        self.netns = environ.get("CNI_NETNS", "")
        self.interface = environ.get("CNI_IFNAME", "")
        self.args = environ.get("CNI_ARGS", "")
        self.path = [entry for entry in environ.get("CNI_PATH", "").split(":") if entry]
        self.netns_override = environ.get("CNI_NETNS_OVERRIDE", "").upper() in {"1", "TRUE"}


def read_environment(environ: Mapping[str, str]) -> Request:
    """Return what *environ* asks for. Raises :class:`CNIError` with code 4."""
    request = Request(environ)
    command = request.command
    if command and command not in COMMANDS:
        known = ", ".join(COMMANDS)
        raise CNIError(
            cni_errors.INVALID_ENVIRONMENT, f"CNI_COMMAND is {quote(command)}, not one of {known}"
        )
    absent, faults = [], []
    for name, (needed_by, judge) in ENVIRONMENT.items():
        value = environ.get(name, "")
        if not value:
            if command in needed_by or name == "CNI_COMMAND":
                absent.append(name)
        elif judge and command in needed_by and (fault := judge(value)):
            faults.append(f"{name} {quote(value)} {fault}")
    if absent:
        faults.insert(0, f"missing from the environment: {', '.join(absent)}")
    if faults:
        raise CNIError(cni_errors.INVALID_ENVIRONMENT, "; ".join(faults))
    return request
