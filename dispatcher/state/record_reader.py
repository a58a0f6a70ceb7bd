"""Read a record from the bytes of its file, and validate them.

Any bytes give a :class:`Record` whose fields have their types, or an error. The versions of the
format, and what a reader owes to them, are in :mod:`dispatcher.state.record`.

Rules of this file: pure. The first ADD for a container, which finds no record, does not load it.
"""

from __future__ import annotations

from dispatcher.conf import VERSIONS, Conf
from dispatcher.jsontext import MAX_DEPTH, InvalidJSONError, dump, parse
from dispatcher.state.record import (
    CHECKSUM,
    CHECKSUM_MARK,
    FORMAT,
    Attachment,
    CorruptRecordError,
    NewerRecordError,
    Record,
    checksum,
    sealed,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T")

_DEPTH = MAX_DEPTH + 10  # a record contains whole configurations, results and capability arguments

_RTMSG_SIZE = 12  # struct rtmsg of linux/rtnetlink.h, with which each request for a route begins


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
    if sealed(data.rpartition(CHECKSUM_MARK)[0]) == data:
        return
    # An editor may have written the same content with other blanks.
    content = dump({key: item for key, item in value.items() if key != CHECKSUM})
    if value.get(CHECKSUM) != checksum(content[:-1]):
        raise CorruptRecordError("its content does not match its checksum")


_RECORD_KEYS = frozenset(
    ("format", "oldestReader", "containerID", "netns", "attachments", "heldRoutes", CHECKSUM)
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
