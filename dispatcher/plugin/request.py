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
_MAX_CONTAINER_ID = 200  # a file name has at most 255 bytes, and the record's has a suffix
_MAX_INTERFACE = 15  # IFNAMSIZ of linux/if.h, without the NUL


def _container_id_fault(text: str) -> str | None:
    if len(text) > _MAX_CONTAINER_ID:
        return f"must have at most {_MAX_CONTAINER_ID} characters (has {len(text)})"
    if not is_cni_name(text):
        return 'must consist of letters, digits, "_", "." and "-", and start with a letter or digit'
    return None


def _interface_fault(text: str) -> str | None:
    if len(text.encode("utf-8", "surrogateescape")) > _MAX_INTERFACE:
        return f"must have at most {_MAX_INTERFACE} bytes"
    if text in {".", ".."} or any(char in "/:" or char.isspace() for char in text):
        return 'must not be "." or "..", and must not contain "/", ":" or whitespace'
    return None


ENVIRONMENT: dict[str, tuple[frozenset[str], Callable[[str], str | None] | None]] = {
    "CNI_COMMAND": (frozenset(COMMANDS), None),
    "CNI_CONTAINERID": (_CONTAINER_COMMANDS, _container_id_fault),
    "CNI_NETNS": (frozenset({"ADD", "CHECK"}), None),
    "CNI_IFNAME": (_CONTAINER_COMMANDS, _interface_fault),
    "CNI_PATH": (frozenset(COMMANDS) - {"VERSION"}, None),
    "CNI_ARGS": (frozenset(), None),
    "CNI_NETNS_OVERRIDE": (frozenset(), None),
}
"""For each variable: the commands that require it, and what returns the fault of a value."""


class Request:
    """The environment of one call.

    ``path`` are the directories of CNI_PATH. ``environ`` is the whole environment, which delegates
    inherit.
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
    """Return the request in *environ*. Raises :class:`CNIError` with code 4, with all faults."""
    request = Request(environ)
    command = request.command
    if command and command not in COMMANDS:
        raise CNIError(
            cni_errors.INVALID_ENVIRONMENT,
            f"CNI_COMMAND {quote(command)} is unknown: must be one of {', '.join(COMMANDS)}",
        )

    missing, faults = [], []
    for name, (required_by, find_fault) in ENVIRONMENT.items():
        value = environ.get(name, "")
        if not value:
            if command in required_by or name == "CNI_COMMAND":
                missing.append(name)
        elif find_fault and command in required_by and (fault := find_fault(value)):
            faults.append(f"{name} {quote(value)} {fault}")

    if missing:
        faults.insert(0, f"environment variables are missing: {', '.join(missing)}")
    if faults:
        raise CNIError(cni_errors.INVALID_ENVIRONMENT, "; ".join(faults))
    return request
