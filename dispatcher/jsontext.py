"""JSON text as the node reads and writes it: numbers stay as written, surprises are errors.

How it works: the C scanner of the standard library does the reading, its C encoder the
writing. They are called without the ``json`` package, whose import costs as much as starting
the interpreter does. Integers that Python would print the same become ``int``; every other
number becomes a :class:`Number`, which keeps its spelling, so that a configuration which
passes through us reaches the delegate as its author wrote it. What holds such a number is
written by a short recursion instead, since the encoder knows none.

Rules of this file: any bytes are either read or refused with :class:`InvalidJSONError`, whose
message is one sentence; whatever was read can be written. Refused besides bad syntax: bytes
that are not UTF-8, a key that stands twice in one object, NaN and infinities, numbers
beyond a double, and nesting deeper than :data:`MAX_DEPTH`, or what the caller allows.
"""

from __future__ import annotations

from _json import encode_basestring, make_encoder, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_DEPTH = 100
"""How deep objects and lists may nest. Configurations and results need fewer than ten."""

_BLANK = " \t\n\r"
_PLAIN_DIGITS = 18  # an int of so many digits costs nothing and prints as it was written


class InvalidJSONError(ValueError):
    """Text that is not JSON as this module accepts it; ``str()`` is the reason."""


class Number:
    """A number in its own spelling; equal to another with the same spelling."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return self.text == other.text if isinstance(other, Number) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Number({self.text})"


def parse(data: bytes | bytearray, depth: int = MAX_DEPTH) -> Any:
    """Return the value that *data* spells, *depth* levels at most.

    Raises :class:`InvalidJSONError`.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InvalidJSONError(f"byte {error.start} is not UTF-8") from None
    start = len(text) - len(text.lstrip(_BLANK))
    try:
        value, end = _read(text, start)
    except StopIteration as stop:
        raise InvalidJSONError(_where(text, stop.value, "a value is expected")) from None
    except RecursionError:
        raise InvalidJSONError(_too_deep(depth)) from None
    except InvalidJSONError:
        raise
    except ValueError as error:  # json.JSONDecodeError; its class is not imported for this
        raise InvalidJSONError(str(error)) from None
    if text[end:].strip(_BLANK):
        raise InvalidJSONError(_where(text, end, "nothing more is expected"))
    if text.count("[") + text.count("{") > depth:
        _judge_depth(value, depth)
    return value


def _read(text: str, start: int) -> tuple[Any, int]:
    try:
        return _scan(text, start)
    except SystemError:
        # The scanner takes its error class from json.decoder if that is loaded, and fails
        # to fail otherwise (until Python 3.13). Errors may cost an import.
        import json.decoder  # noqa: F401 - the scanner looks it up itself

        return _scan(text, start)


def dump(value: Any) -> bytes:
    """Return *value* as one line of JSON in UTF-8, keys in their order, numbers as read."""
    try:
        parts = _encode(value, 0)
    except _NumberFoundError:
        parts = []
        _write(value, parts.append)
    # A lone surrogate came from an escape and goes back to one: that is how Python spells it.
    return "".join(parts).encode("utf-8", "backslashreplace")


class _NumberFoundError(Exception):
    """A :class:`Number`, or what else the C encoder cannot write."""


def _give_up(value: object) -> None:
    raise _NumberFoundError(type(value))


_encode = make_encoder(None, _give_up, encode_basestring, None, ":", ",", False, False, False)  # noqa: FBT003 - its parameters have no names


def _write(value: Any, put: Any) -> None:
    kind = type(value)
    if kind is str:
        put(encode_basestring(value))
    elif kind is dict:
        before = "{"
        for key, item in value.items():
            put(before + encode_basestring(key) + ":")
            _write(item, put)
            before = ","
        put("}" if value else "{}")
    elif kind is list or kind is tuple:
        before = "["
        for item in value:
            put(before)
            _write(item, put)
            before = ","
        put("]" if value else "[]")
    elif kind is Number:
        put(value.text)
    elif kind is float:
        put(float.__repr__(value))
    else:
        put(_WORDS[value] if value is None or kind is bool else str(int(value)))


_WORDS = {None: "null", True: "true", False: "false"}


def _integer(text: str) -> int | Number:
    return int(text) if len(text) <= _PLAIN_DIGITS and text != "-0" else Number(text)


def _fraction(text: str) -> Number:
    if float(text) in (_INFINITY, -_INFINITY):
        raise InvalidJSONError(f"the number {text[:40]} is too large")
    return Number(text)


_INFINITY = float("inf")


def _constant(text: str) -> None:
    raise InvalidJSONError(f"{text} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InvalidJSONError(
            f"the key {encode_basestring(twice[:64])} stands twice in one object"
        )
    return made


class _Rules:
    """What the C scanner asks its context for; ``strict`` refuses raw control characters."""

    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_object)
    parse_float = staticmethod(_fraction)
    parse_int = staticmethod(_integer)
    parse_constant = staticmethod(_constant)


_scan = make_scanner(_Rules)  # type: ignore[arg-type]  # typeshed wants a scanner here


def _judge_depth(value: Any, depth: int) -> None:
    boxes = [value]
    for _ in range(depth + 1):
        boxes = [box for box in boxes if isinstance(box, (dict, list))]
        if not boxes:
            return
        boxes = [item for box in boxes for item in (box.values() if isinstance(box, dict) else box)]
    raise InvalidJSONError(_too_deep(depth))


def _too_deep(depth: int) -> str:
    return f"nested deeper than {depth} levels"


def _where(text: str, index: int, sentence: str) -> str:
    line = text.count("\n", 0, index) + 1
    column = index - text.rfind("\n", 0, index)
    return f"{sentence} at line {line} column {column}"
