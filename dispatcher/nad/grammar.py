"""The grammar of the annotations that select NetworkAttachmentDefinitions: text in, values out.

    value     := blank | short | json         json if the first character is "[", "{" or a quote
    short     := item ("," item)*             blanks around any part are dropped
    item      := [namespace "/"] name ["@" interface]
    json      := "[" object ("," object)* "]" the keys are in :mod:`dispatcher.nad.elements`
    namespace := a DNS-1123 label             name := a DNS-1123 subdomain
    interface := as in the annotation ``cni``

``k8s.v1.cni.cncf.io/networks`` and ``v1.multus-cni.io/default-network`` have it, as the NPWG's
specification v1.3 defines it (section 4.1). A value has at most 32 items and 64 KiB. Differences
from the specification: it says that invalid values are ignored, and ``deviceID`` is refused.

Rules of this file: this is the only parser of these annotations in the tree. Every ``str`` is
parsed or refused, and a refusal holds all faults of the value, at most 64. Valid JSON is read by
the C scanner alone. Only a value with a fault is read again, for the places of its faults.
"""

from __future__ import annotations

from dispatcher import jsontext
from dispatcher.annotation import (
    BLANKS,
    EMPTY_ITEM,
    INTERFACE_RULE,
    INVALID,
    NO_INTERFACE,
    TOO_LONG,
    TOO_MANY,
    escape,
    is_interface_name,
    quote,
)
from dispatcher.jsontext import InvalidJSONError
from dispatcher.nad.elements import LABEL_RULE, NAME_RULE, read_elements
from dispatcher.nad.faults import InvalidSelectionsError, SelectionFault
from dispatcher.nad.names import is_label, is_object_name, is_unit
from dispatcher.nad.report import MAX_FAULTS, Report
from dispatcher.nad.selection import NetworkSelection, as_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from dispatcher.nad.json_places import Path, PlacedJSON
    from dispatcher.nad.report import Problem

MAX_BYTES = 64 << 10
"""Limit of a value, in bytes of UTF-8."""

MAX_ITEMS = 32
"""Limit of the items of one value, and of a pod's attachments."""

MAX_DEPTH = 32
"""Limit of nested objects and lists; ``cni-args`` may nest."""

_JSON_STARTS = ("[", "{", '"')
_LIST_RULE = 'the JSON form is a list of objects: [{"name": "blue"}]'
_NO_NAMESPACE = 'a namespace must come before "/"'
_NO_NAME = 'a name must follow "/"'
_NPWG_BLANK = (
    "the value consists of blanks only, which other programs read as one network without a name: "
    "remove the annotation, or make the value empty"
)
_MORE = f"only the first {MAX_FAULTS} faults are listed"


def parse(value: str) -> tuple[NetworkSelection, ...]:
    """Return the selections of *value*, in order; none for a blank value.

    Raises :class:`InvalidSelectionsError` with the faults of the value.
    """
    is_long = len(value) > MAX_BYTES  # then its bytes need not be counted
    if is_long or len(value.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        limit = f"must have at most {MAX_BYTES} bytes"
        raise InvalidSelectionsError([SelectionFault(TOO_LONG, 0, None, limit, value, 0)])

    text = value.strip(BLANKS)
    if not text:
        return ()
    return _parse_json(value) if text.startswith(_JSON_STARTS) else _parse_short(value)


def npwg_warning(value: str, selections: tuple[NetworkSelection, ...]) -> str:
    """Return a warning if programs with the NPWG's client library cannot read *value*; else "".

    In the short form that library accepts only DNS-1123 labels, also for interfaces. It takes
    blanks for an item with an empty name.
    """
    if value and not value.strip(BLANKS):
        return _NPWG_BLANK
    if value.strip(BLANKS).startswith(_JSON_STARTS):
        return ""
    parts = (part for each in selections for part in (each.namespace, each.name, each.interface))
    refused = next((part for part in parts if part and not is_unit(part)), None)
    if refused is None:
        return ""
    return (
        f"other programs may refuse {quote(refused)} in this form: "
        f"the client library of the NPWG reads it only as JSON: {as_json(selections)}"
    )


def offset_of(value: str, path: Path) -> int:
    """Return where the item, or the key of an item, at *path* stands in the valid *value*."""
    if value.strip(BLANKS).startswith(_JSON_STARTS):
        return _placed(value).offsets.get(path, 0)
    return next(offset for n, (offset, _) in enumerate(_items(value)) if n == path[0])


def _items(value: str) -> Iterator[tuple[int, str]]:
    """Yield the items of the short form with their offsets, without blanks."""
    start = 0
    for item in value.split(",", MAX_ITEMS):
        blanks = len(item) - len(item.lstrip(BLANKS))
        yield start + blanks, item.strip(BLANKS)
        start += len(item) + 1


def _parse_short(value: str) -> tuple[NetworkSelection, ...]:
    faults: list[SelectionFault] = []
    selections = []
    for position, (offset, item) in enumerate(_items(value), 1):
        if position > MAX_ITEMS:
            faults.append(_too_many(value, value.count(",") + 1))
            break
        network, at, interface = (part.strip(BLANKS) for part in item.partition("@"))
        namespace, slash, name = (part.strip(BLANKS) for part in network.rpartition("/"))
        selections.append(NetworkSelection(name, namespace, interface))
        faults += (
            SelectionFault(INVALID, position, shown, expected, value, offset)
            for shown, expected in _short_faults(item, namespace, slash, name, at, interface)
        )
    if faults:
        raise InvalidSelectionsError(faults)
    return tuple(selections)


def _short_faults(  # noqa: PLR0917 - the parts of an item, in order
    item: str, namespace: str, slash: str, name: str, at: str, interface: str
) -> Iterator[tuple[str, str]]:
    """Yield what is invalid in an item, and the rule."""
    if not item:
        yield "", EMPTY_ITEM
        return
    if slash and not namespace:
        yield item, _NO_NAMESPACE
    elif slash and not is_label(namespace):
        yield namespace, f"a namespace {LABEL_RULE}"
    if slash and not name:
        yield item, _NO_NAME
    elif not is_object_name(name):
        yield name, f"a name {NAME_RULE}"
    if at and not interface:
        yield item, NO_INTERFACE
    elif at and not is_interface_name(interface):
        yield interface, INTERFACE_RULE


def _too_many(value: str, count: int) -> SelectionFault:
    expected = f"must have at most {MAX_ITEMS} networks (has {count})"
    return SelectionFault(TOO_MANY, 0, None, expected, value, 0)


def _parse_json(value: str) -> tuple[NetworkSelection, ...]:
    report = Report()
    try:
        elements = jsontext.parse(value.encode("utf-8", "surrogatepass"), MAX_DEPTH)
        selections = _read(elements, report)
    except InvalidJSONError as error:
        raise InvalidSelectionsError(_faults_of_invalid(value, error)) from None
    if not isinstance(elements, list) or len(elements) > MAX_ITEMS or report.problems:
        raise InvalidSelectionsError(_faults(value, _placed(value)))
    return tuple(selections)


def _read(elements: Any, report: Report) -> list[NetworkSelection]:
    return read_elements(elements[:MAX_ITEMS], report) if isinstance(elements, list) else []


def _placed(value: str) -> PlacedJSON:
    from dispatcher.nad.json_places import PlacedJSON  # only faults need it

    return PlacedJSON(value, MAX_DEPTH)


def _faults_of_invalid(value: str, error: InvalidJSONError) -> Iterator[SelectionFault]:
    """Yield the faults of what is not JSON, or has a key twice in an object."""
    from dispatcher.nad.json_places import MisplacedJSONError

    reason, offset = str(error), 0
    try:
        placed = _placed(value)
    except MisplacedJSONError as misplaced:
        reason, offset = str(misplaced), misplaced.offset
    else:
        if placed.repeated:
            yield from _faults(value, placed)
            return
    yield SelectionFault(INVALID, 0, None, f"not valid JSON: {reason}", value, offset)


def _faults(value: str, placed: PlacedJSON) -> list[SelectionFault]:
    """Return the faults of a JSON value, in the order of their items and places."""
    elements = placed.value
    if not isinstance(elements, list):
        return [SelectionFault(INVALID, 0, None, _LIST_RULE, value, placed.offsets[()])]

    report = Report()
    _read(elements, report)
    for path, offset in placed.repeated:
        report.repeated_key(path, offset)
    faults = [_fault(value, placed, problem) for problem in report.problems]
    faults.sort(key=lambda fault: fault.offset)
    if report.has_more:
        faults.append(SelectionFault(TOO_MANY, 0, None, _MORE, value, 0))
    if len(elements) > MAX_ITEMS:
        faults.append(_too_many(value, len(elements)))
    return faults


def _fault(value: str, placed: PlacedJSON, problem: Problem) -> SelectionFault:
    offsets = placed.key_offsets if problem.is_key else placed.offsets
    offset = offsets[problem.path] if problem.offset is None else problem.offset
    position, *keys = problem.path
    return SelectionFault(
        problem.reason,
        int(position) + 1,
        problem.value,
        problem.expected,
        value,
        offset,
        _field(keys),
    )


def _field(keys: list[str | int]) -> str:
    """Return *keys* as ``portMappings[0].hostPort``, with escapes as in a quoted text."""
    field = ""
    for key in keys:
        field += f"[{key}]" if isinstance(key, int) else f".{escape(key)}"
    return field.removeprefix(".")
