"""The record of a container: its attachments, and the bytes that stand for them on disk.

A :class:`Record` has one :class:`Attachment` for each network, in the order in which they are
attached, each with everything that its DEL needs. DEL, CHECK, GC and the agent work from a record
alone. ``store`` keeps records in files.

Versions: the format has a number, and a record names the oldest format whose readers understand it.
A reader accepts older formats, and newer ones that name a format it knows. It keeps the keys of a
record and of its attachments that it does not know when it writes the record again.

Rules of this file: pure, since the agent and the tests read records too. Phases change as in the
diagram below; ``add`` and ``free`` of the plugin change them.
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
_PRIME = (1 << 32) - 5  # the largest prime of 32 bits

_DEPTH = MAX_DEPTH + 10  # a record contains whole configurations, results and capability arguments

_RTMSG_SIZE = 12  # struct rtmsg of linux/rtnetlink.h, with which each request for a route begins

# planned ──► attaching ──► attached ──► releasing ──► parked
#    └────────────┴───────────────────────►┘  │           │
#                                             └───────────┴──► released: no longer in the record
#
# An attachment whose DEL fails keeps its phase and gets a ``failure``. It is parked once its
# delegate could not be executed for ``parkAfterSeconds``. A rebuilt record begins with attaching.
PLANNED = "planned"
"""Its ADD had not begun when this was written. On disk that is no proof: see ``store``."""
ATTACHING = "attaching"
"""Its ADD has begun, or has failed: it may hold resources."""
ATTACHED = "attached"
"""Its ADD has succeeded."""
RELEASING = "releasing"
"""Its DEL, or the roll-back of its ADD, has begun: it may still hold resources."""
PARKED = "parked"
"""Its delegate cannot be executed: DEL does not wait for it, and the reaper releases it later."""


class NewerRecordError(Exception):
    """The record has a newer format than this version can read; ``str()`` says which."""


class CorruptRecordError(Exception):
    """No version can read the record; ``str()`` is a sentence that says why."""


class Attachment:
    """One network of one container.

    ``network`` is the name in the annotation and ``interface`` the one inside the pod.
    ``cni_ifname`` is the CNI_IFNAME of the runtime's call, ``args`` its CNI_ARGS. ``conf`` is the
    configuration and ``capability_args`` its capability arguments. ``result`` is that of the last
    plugin, once attached. ``failure`` is why a DEL failed: ``code`` and ``msg`` of the error,
    ``cannotRun`` (whether the delegate could not be executed), and ``since``, the time of the
    failure or of the first of several with ``cannotRun`` (seconds of the epoch). ``default_route``
    are the gateways that ADD has made the pod's default gateways, in order. ``extra`` are the keys
    of a newer version.
    """

    __slots__ = (
        "args",
        "capability_args",
        "cni_ifname",
        "conf",
        "default_route",
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
        self.default_route: list[str] = []
        self.phase = PLANNED
        self.result: dict[str, Any] | None = None
        self.failure: dict[str, Any] | None = None
        self.extra: dict[str, Any] = {}

    @property
    def has_started_plugins(self) -> bool:
        """Whether ADD has started any plugin; for the call that ran it.

        ADD removes from ``conf`` the plugins that it has not started.
        """
        return bool(self.conf.plugins)

    @property
    def is_conf_known(self) -> bool:
        """Whether ``conf`` is known; False for a network that a rebuilt record has only by name."""
        return bool(self.conf.plugins)


class Record:
    """Everything that Genie has done for one container. ``netns`` is the CNI_NETNS of its ADD.

    ``held_routes`` are the saved routes: the pod's default routes that an ADD has removed while it
    attaches secondary networks, each as the hexadecimal digits of the rtnetlink request that
    creates it again.
    """

    __slots__ = ("attachments", "container_id", "extra", "held_routes", "netns")

    def __init__(self, container_id: str, netns: str, attachments: list[Attachment]) -> None:
        self.container_id = container_id
        self.netns = netns
        self.attachments = attachments
        self.held_routes: list[str] = []
        self.extra: dict[str, Any] = {}

    def of_call(self, interface: str) -> list[Attachment]:
        """Return the attachments of the call with the CNI_IFNAME *interface*, in order."""
        return [each for each in self.attachments if each.cni_ifname == interface]

    @property
    def is_complete(self) -> bool:
        """Whether every attachment is attached and none is being released."""
        # A failure is that of a roll-back or of a DEL: the attachment may be half released.
        attached = all(each.phase == ATTACHED and not each.failure for each in self.attachments)
        return bool(self.attachments) and attached

    @property
    def pod(self) -> tuple[str, str, str]:
        """Namespace, name and UID of the pod, each "" if the runtime did not pass it."""
        return pod_of(self.attachments[0].args if self.attachments else "")


def pod_of(args: str) -> tuple[str, str, str]:
    """Return namespace, name and UID of the pod in the CNI_ARGS *args*, "" for a missing one."""
    pairs = dict(item.partition("=")[::2] for item in args.split(";"))
    return (
        pairs.get("K8S_POD_NAMESPACE", ""),
        pairs.get("K8S_POD_NAME", ""),
        pairs.get("K8S_POD_UID", ""),
    )


def encode(record: Record) -> bytes:
    """Return the content of the file for *record*."""
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
    """Return *content*, an object without its closing brace, with the checksum at its end."""
    return b"%b%b%d}" % (content, _MARK, checksum(content))


def checksum(content: bytes) -> int:
    """Return the remainder of *content*, as one number, divided by a prime of 32 bits.

    It detects every change within 32 bits, and any other except for one in four billion. CRC-32
    detects no more, and its import costs 0.07 to 0.35 ms; this takes 0.01 ms for a usual record.
    """
    return int.from_bytes(content, "little") % _PRIME


def _encode_attachment(attachment: Attachment) -> dict[str, Any]:
    conf = attachment.conf
    return {
        "network": attachment.network,
        "interface": attachment.interface,
        "requested": attachment.cni_ifname,  # CNI_IFNAME; the key is kept for format 1
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
        **({"defaultRoute": attachment.default_route} if attachment.default_route else {}),
        **attachment.extra,
    }


def decode(data: bytes) -> Record:
    """Return the record in *data*.

    Raises :class:`NewerRecordError` and :class:`CorruptRecordError`.
    """
    try:
        value = parse(data, _DEPTH)
    except InvalidJSONError as error:
        raise CorruptRecordError(f"it is not valid JSON: {error}") from None

    written_format = _field(value, "format", int)
    if written_format > FORMAT and _field(value, "oldestReader", int) > FORMAT:
        raise NewerRecordError(
            f"it has format {written_format}; this version of Genie reads up to {FORMAT}"
        )
    # Another version that rewrote the record, even one of format 1, has kept the checksum as a key
    # that it does not know: it counts only in a record of our own format.
    if written_format == FORMAT:
        _verify(data, value)
    return _decode(value)


def _verify(data: bytes, value: dict[str, Any]) -> None:
    if _sealed(data.rpartition(_MARK)[0]) == data:
        return
    # An editor may have written the same content with other blanks.
    content = dump({key: item for key, item in value.items() if key != _CHECKSUM})
    if value.get(_CHECKSUM) != checksum(content[:-1]):
        raise CorruptRecordError("its content does not match its checksum")


_RECORD_KEYS = frozenset(
    ("format", "oldestReader", "containerID", "netns", "attachments", "heldRoutes", _CHECKSUM)
)
_ATTACHMENT_KEYS = frozenset(
    (
        "network", "interface", "requested", "primary", "phase", "args", "capabilityArgs",
        "conf", "result", "failure", "defaultRoute",
    )
)  # fmt: skip


def _decode(value: dict[str, Any]) -> Record:
    _field(value, "oldestReader", object)
    # An empty object stands for an empty list.
    attachments = [] if value.get("attachments") == {} else _field(value, "attachments", list)
    record = Record(
        _text(value, "containerID"),
        _text(value, "netns"),
        [_decode_attachment(each) for each in attachments],
    )
    if "heldRoutes" in value:
        record.held_routes = [_route(each) for each in _field(value, "heldRoutes", list)]
    record.extra = {key: item for key, item in value.items() if key not in _RECORD_KEYS}
    return record


def _decode_attachment(value: Any) -> Attachment:
    conf = _field(value, "conf", dict)
    attachment = Attachment(
        _text(value, "network"),
        _text(value, "interface"),
        _text(value, "requested"),
        Conf(
            _text(conf, "path"),
            _text(conf, "name"),
            _version(conf),
            [_plugin(plugin) for plugin in _field(conf, "plugins", list)],
            disable_check=bool(_field(conf, "disableCheck", object)),
            disable_gc=bool(_field(conf, "disableGC", object)),
        ),
        args=_text(value, "args"),
        capability_args=_field(value, "capabilityArgs", dict),
        is_primary=bool(_field(value, "primary", object)),
    )
    attachment.phase = _text(value, "phase")
    attachment.result = _result(_field(value, "result", object))
    attachment.failure = _failure(_field(value, "failure", object))
    if "defaultRoute" in value:
        gateways = _field(value, "defaultRoute", list)
        if not all(isinstance(each, str) for each in gateways):
            raise CorruptRecordError('its "defaultRoute" contains something that is not an address')
        attachment.default_route = gateways
    attachment.extra = {key: item for key, item in value.items() if key not in _ATTACHMENT_KEYS}
    return attachment


def _version(conf: dict[str, Any]) -> str:
    version = _text(conf, "cniVersion")
    if version not in VERSIONS:
        raise CorruptRecordError('its "cniVersion" is not a version of the CNI specification')
    return version


def _plugin(value: Any) -> dict[str, Any]:
    _text(value, "type")
    if value.get("capabilities"):
        _field(value, "capabilities", dict)
    return dict(value)


def _route(value: Any) -> str:
    try:
        request = bytes.fromhex(value)
    except (TypeError, ValueError):
        request = b""
    if len(request) < _RTMSG_SIZE:
        raise CorruptRecordError('its "heldRoutes" contain something that is not a route')
    return str(value)


def _result(value: Any) -> dict[str, Any] | None:
    """Validate the form of a result, but not its addresses: their reader does that."""
    if value is None:
        return None
    for part, key in (("interfaces", "name"), ("ips", "address"), ("routes", "dst")):
        for each in _field(value, part, list):
            _field(each, key, str)
    _field(value, "dns", dict)
    return dict(value)


def _failure(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    _field(value, "since", int)
    _field(value, "msg", str)
    return dict(value)


_TYPE_NAMES: dict[type, str] = {
    str: "a string",
    int: "a whole number",
    list: "a list",
    dict: "an object",
}


def _text(value: Any, key: str) -> str:
    """Return a text that will become a path or a part of an environment."""
    text = _field(value, key, str)
    if "\0" in text:
        raise CorruptRecordError(f'its "{key}" contains a NUL character')
    return text


def _field(value: Any, key: str, expected: type[T]) -> T:
    """Return what the object *value* has under *key*. Raises :class:`CorruptRecordError`."""
    # The sentences do not contain the value, which may be a secret.
    if not isinstance(value, dict):
        raise CorruptRecordError(f'it has something else in place of the object with "{key}"')
    if key not in value:
        raise CorruptRecordError(f'its "{key}" is missing')
    field = value[key]
    if not isinstance(field, expected):
        raise CorruptRecordError(f'its "{key}" is not {_TYPE_NAMES[expected]}')
    return field
