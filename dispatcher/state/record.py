"""What was done for a container: its attachments, and the bytes that stand for them on disk.

How it works: a :class:`Record` has one :class:`Attachment` for each network, in the order in
which they are attached, each with everything that its DEL needs. ``store`` keeps records in
files; from a record alone DEL, CHECK, GC and the agent work.

The format has a number, and names the oldest format whose readers understand it too. A
reader takes older formats and newer ones that say so; keys of a record and of its attachments
that it does not know survive a rewrite. A newer record that it cannot read is
:class:`NewerRecordError`, one that nobody can read is :class:`CorruptRecordError`.

A record ends in a checksum of all before it, so a bit that a disk has flipped inside a value is
corruption, too, and not another network or address. It came with format 2 and counts only in a
record of the reader's own format: another version that rewrote the record, even one of format 1,
has kept it as a key that it does not know.

Rules of this file: pure, since the node's agent and the tests read records too; phases only
move as the table below says.
"""

from __future__ import annotations

from dispatcher.conf import VERSIONS, Conf
from dispatcher.jsontext import MAX_DEPTH, InvalidJSONError, dump, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T")

FORMAT = 2
"""The format that this module writes."""

OLDEST_READER = 1
"""The oldest format whose readers understand what this module writes."""

_CHECKSUM = "checksum"
_MARK = b',"checksum":'
_PRIME = (1 << 32) - 5  # the largest of 32 bits

_DEPTH = MAX_DEPTH + 10  # a record holds whole configurations, results and capability arguments

_RTMSG_SIZE = 12  # of linux/rtnetlink.h, with which every request about a route begins

# planned ──► attaching ──► attached ──► releasing ──► (gone: freed)
#    └────────────┴──────────────────────────┘  └──► failed DEL: stays, with ``failure``; ──► parked
PLANNED = "planned"
"""Its ADD had not begun when this was written. On disk that is no proof: see ``store``."""
ATTACHING = "attaching"
"""Its ADD was begun, or ended in failure: there may be something to free."""
ATTACHED = "attached"
"""Its ADD succeeded."""
RELEASING = "releasing"
"""Its DEL, or the roll-back of its ADD, was begun: there may be something left of it."""
PARKED = "parked"
"""Its delegate cannot be run at all: DEL no longer waits for it, the agent frees it later."""


class NewerRecordError(Exception):
    """A record in a format that this reader is too old for."""


class CorruptRecordError(Exception):
    """A record that no version could read."""


class Attachment:
    """One network of one container.

    ``network`` is the name asked for, ``interface`` the one inside the pod, ``cni_ifname``
    the CNI_IFNAME of the call that made it, ``conf`` what libcni calls the network
    configuration list, ``args`` the CNI_ARGS, ``capability_args`` the capability arguments,
    ``result`` the last plugin's result once attached. ``failure`` tells why a DEL did not
    succeed: ``since`` (seconds of the epoch), ``code``, ``msg``.
    """

    __slots__ = (
        "args",
        "capability_args",
        "cni_ifname",
        "conf",
        "extra",
        "failure",
        "interface",
        "is_primary",
        "network",
        "phase",
        "result",
    )

    def __init__(
        self,
        network: str,
        interface: str,
        cni_ifname: str,
        conf: Conf,
        *,
        args: str = "",
        capability_args: dict[str, Any] | None = None,
        is_primary: bool = False,
    ) -> None:
        self.network = network
        self.interface = interface
        self.cni_ifname = cni_ifname
        self.conf = conf
        self.args = args
        self.capability_args = capability_args or {}
        self.is_primary = is_primary
        self.phase = PLANNED
        self.result: dict[str, Any] | None = None
        self.failure: dict[str, Any] | None = None
        self.extra: dict[str, Any] = {}


class Record:
    """Everything that Genie did for one container. ``netns`` is the path that ADD was given.

    ``held_routes`` are default routes of the pod that an ADD has set aside while it attaches
    further networks, each as the hexadecimal digits of the rtnetlink request that makes it again.
    """

    __slots__ = ("attachments", "container_id", "extra", "held_routes", "netns")

    def __init__(self, container_id: str, netns: str, attachments: list[Attachment]) -> None:
        self.container_id = container_id
        self.netns = netns
        self.attachments = attachments
        self.held_routes: list[str] = []
        self.extra: dict[str, Any] = {}

    def of_call(self, interface: str) -> list[Attachment]:
        """Return what the call with the CNI_IFNAME *interface* made, in order."""
        return [each for each in self.attachments if each.cni_ifname == interface]

    @property
    def is_complete(self) -> bool:
        """Whether the ADD of everything listed has succeeded and no release has begun.

        An attachment with a failure is one that a roll-back or a DEL could not free.
        """
        attached = all(each.phase == ATTACHED and not each.failure for each in self.attachments)
        return bool(self.attachments) and attached

    @property
    def pod(self) -> tuple[str, str, str]:
        """Namespace, name and UID of the pod, each "" where the runtime did not say."""
        return pod_of(self.attachments[0].args if self.attachments else "")


def pod_of(args: str) -> tuple[str, str, str]:
    """Return namespace, name and UID of the pod in CNI_ARGS *args*, "" for what is not there."""
    pairs = dict(item.partition("=")[::2] for item in args.split(";"))
    return (
        pairs.get("K8S_POD_NAMESPACE", ""),
        pairs.get("K8S_POD_NAME", ""),
        pairs.get("K8S_POD_UID", ""),
    )


def encode(record: Record) -> bytes:
    """Return the file's content for *record*."""
    content = dump(
        {
            "format": FORMAT,
            "oldestReader": OLDEST_READER,
            "containerID": record.container_id,
            "netns": record.netns,
            "attachments": [_encode_attachment(each) for each in record.attachments],
            **({"heldRoutes": record.held_routes} if record.held_routes else {}),
            **record.extra,
        }
    )
    return _sealed(content[:-1])


def _sealed(content: bytes) -> bytes:
    """Return *content*, an object that is not closed yet, with its checksum."""
    return b"%b%b%d}" % (content, _MARK, checksum(content))


def checksum(content: bytes) -> int:
    """Return the remainder of *content* taken as one number.

    Every change within 32 bits shows in it, and any other but for one in four billion. CRC-32
    shows no more, and is an import of 0.07 to 0.35 ms; this takes 0.01 ms for an ordinary record.
    """
    return int.from_bytes(content, "little") % _PRIME


def _encode_attachment(attachment: Attachment) -> dict[str, Any]:
    conf = attachment.conf
    return {
        "network": attachment.network,
        "interface": attachment.interface,
        "requested": attachment.cni_ifname,
        "primary": attachment.is_primary,
        "phase": attachment.phase,
        "args": attachment.args,
        "capabilityArgs": attachment.capability_args,
        "conf": {
            "path": conf.path,
            "name": conf.name,
            "cniVersion": conf.cni_version,
            "disableCheck": conf.disable_check,
            "disableGC": conf.disable_gc,
            "plugins": conf.plugins,
        },
        "result": attachment.result,
        "failure": attachment.failure,
        **attachment.extra,
    }


def decode(data: bytes) -> Record:
    """Return the record that *data* holds.

    Raises :class:`NewerRecordError` and :class:`CorruptRecordError`.
    """
    try:
        value = parse(data, _DEPTH)
    except InvalidJSONError as error:
        raise CorruptRecordError(f"it is not valid JSON: {error}") from None
    try:
        written_by = value["format"]
        if written_by > FORMAT and value["oldestReader"] > FORMAT:
            raise NewerRecordError(
                f"it has format {written_by}; this version of Genie reads up to {FORMAT}"
            )
        if written_by == FORMAT:
            _verify(data, value)
        return _decode(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptRecordError(f"{type(error).__name__}: {error}") from None


def _verify(data: bytes, value: dict[str, Any]) -> None:
    if _sealed(data.rpartition(_MARK)[0]) == data:
        return
    # Written out in another way, as an editor does, it says the same.
    content = dump({key: item for key, item in value.items() if key != _CHECKSUM})
    if value.get(_CHECKSUM) != checksum(content[:-1]):
        raise CorruptRecordError("its content does not match its checksum")


def _decode(value: dict[str, Any]) -> Record:
    record = Record(
        _text(value.pop("containerID")),
        _text(value.pop("netns")),
        [_decode_attachment(each) for each in value.pop("attachments")],
    )
    record.held_routes = [_route(each) for each in _a(list, value.pop("heldRoutes", []))]
    for key in ("format", "oldestReader"):
        value.pop(key)
    value.pop(_CHECKSUM, None)  # of another version's writing; it is made anew
    record.extra = value
    return record


def _decode_attachment(value: dict[str, Any]) -> Attachment:
    conf = value.pop("conf")
    attachment = Attachment(
        _text(value.pop("network")),
        _text(value.pop("interface")),
        _text(value.pop("requested")),
        Conf(
            _text(conf["path"]),
            _text(conf["name"]),
            _version(conf["cniVersion"]),
            [_plugin(plugin) for plugin in _a(list, conf["plugins"])],
            disable_check=bool(conf["disableCheck"]),
            disable_gc=bool(conf["disableGC"]),
        ),
        args=_text(value.pop("args")),
        capability_args=_a(dict, value.pop("capabilityArgs")),
        is_primary=bool(value.pop("primary")),
    )
    attachment.phase = _text(value.pop("phase"))
    attachment.result = _result(value.pop("result"))
    attachment.failure = _failure(value.pop("failure"))
    attachment.extra = value
    return attachment


def _route(value: Any) -> str:
    text = _a(str, value)
    if len(bytes.fromhex(text)) < _RTMSG_SIZE:
        raise ValueError("a route is expected")
    return text


def _version(value: Any) -> str:
    if value not in VERSIONS:
        raise ValueError("a version of the CNI specification is expected")
    return _text(value)


def _plugin(value: Any) -> dict[str, Any]:
    _text(value["type"])
    _a(dict, value.get("capabilities") or {})
    return _a(dict, value)


def _result(value: Any) -> dict[str, Any] | None:
    """Judge the form of a result; an address is left to whoever needs to understand it."""
    if value is None:
        return None
    for part, key in (("interfaces", "name"), ("ips", "address"), ("routes", "dst")):
        for each in _a(list, value[part]):
            _a(str, each[key])
    _a(dict, value["dns"])
    return _a(dict, value)


def _failure(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    _a(int, value["since"])
    _a(str, value["msg"])
    return _a(dict, value)


def _text(value: Any) -> str:
    """Return *value*, which a call will hand to the system."""
    text = _a(str, value)
    if "\0" in text:
        raise ValueError("it has a NUL, which neither a path nor an environment can hold")
    return text


def _a(kind: type[T], value: Any) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"{kind.__name__} is expected")  # not the value: it may be a secret
    return value
