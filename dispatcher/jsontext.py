"""Read and write JSON on the node: numbers keep their spelling, and odd input is an error.

The C scanner and the C encoder of the standard library are used without the package ``json``, whose
import costs as much as starting the interpreter. Integers that Python would print the same become
``int``. Every other number becomes a :class:`Number` that keeps its spelling, so that a delegate
gets a configuration as its author wrote it.

Rules of this file: any bytes are either read or refused with :class:`InvalidJSONError`, whose
message is one sentence, and what was read can be written. Besides invalid syntax these are refused:
bytes that are not UTF-8, a key that stands twice in one object, NaN and infinities, numbers beyond
a double, and nesting deeper than :data:`MAX_DEPTH` or the caller's limit.
"""

from __future__ import annotations

from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

MAX_DEPTH = 100
"""Limit of nested objects and lists. Configurations and results have fewer than ten."""

VALUE_EXPECTED = "a value is expected"
NOTHING_EXPECTED = "nothing more is expected"

BLANKS = " \t\n\r"
_PLAIN_DIGITS = 18  # an int of so many digits is cheap, and Python prints it as it was written


class InvalidJSONError(ValueError):
    """The text is not JSON as this module accepts it; ``str()`` is the reason."""


class Number:
    """A number that keeps its spelling; equal to another number of the same spelling."""

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
    """Return the value in *data*, which may have *depth* levels.

    Raises :class:`InvalidJSONError`.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InvalidJSONError(f"byte {error.start} is not UTF-8") from None
    start = len(text) - len(text.lstrip(BLANKS))
    try:
        value, end = scan(text, start)
    except StopIteration as stop:
        raise InvalidJSONError(_where(text, stop.value, VALUE_EXPECTED)) from None
    except RecursionError:
        raise InvalidJSONError(too_deep(depth)) from None
    except InvalidJSONError:
        raise
    except ValueError as error:  # json.JSONDecodeError, without its import
        raise InvalidJSONError(str(error)) from None
    if text[end:].strip(BLANKS):
        raise InvalidJSONError(_where(text, end, NOTHING_EXPECTED))
    if text.count("[") + text.count("{") > depth:
        _validate_depth(value, depth)
    return value


def scan(text: str, start: int) -> tuple[Any, int]:
    """Return the value that begins at *start*, and the index behind it.

    Raises StopIteration with an index where a value is missing, RecursionError, or ValueError:
    :class:`InvalidJSONError`, or the scanner's own with ``msg`` and ``pos``.
    """
    try:
        return _scan(text, start)
    except SystemError:
        # Until Python 3.13 the scanner can raise its error only if json.decoder is loaded. The
        # import is expensive, but only errors need it.
        import json.decoder  # noqa: F401 - the scanner looks it up itself

        return _scan(text, start)


def dump(value: Any) -> bytes:
    """Return *value* as one line of JSON in UTF-8: keys in their order, numbers as read."""
    try:
        parts = _encode(value, 0)
    except _NumberFoundError:
        parts = []
        _write(value, parts.append)
    # A lone surrogate came from an escape, and becomes one again: Python spells it as JSON does.
    return "".join(parts).encode("utf-8", "backslashreplace")


class _NumberFoundError(Exception):
    """A value that the C encoder cannot write, a :class:`Number` above all."""


def _refuse(value: object) -> None:
    raise _NumberFoundError(type(value))


_encode = make_encoder(None, _refuse, encode_basestring, None, ":", ",", False, False, False)  # noqa: FBT003 - its parameters have no names


def _write(value: Any, put: Any) -> None:
    value_type = type(value)
    if value_type is str:
        put(encode_basestring(value))
    elif value_type is dict:
        before = "{"
        for key, item in value.items():
            put(before + encode_basestring(key) + ":")
            _write(item, put)
            before = ","
        put("}" if value else "{}")
    elif value_type is list or value_type is tuple:
        before = "["
        for item in value:
            put(before)
            _write(item, put)
            before = ","
        put("]" if value else "[]")
    elif value_type is Number:
        put(value.text)
    elif value_type is float:
        put(float.__repr__(value))
    else:
        put(_WORDS[value] if value is None or value_type is bool else str(int(value)))


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
    value = dict(pairs)
    if len(value) != len(pairs):
        twice = _first_repeated(key for key, _ in pairs)
        raise InvalidJSONError(
            f"the key {encode_basestring_ascii(twice[:64])} stands twice in one object"
        )
    return value


def _first_repeated(keys: Iterable[str]) -> str:
    # Not by counting each: an object of a hostile author may have a hundred thousand keys.
    seen: set[str] = set()
    return next(key for key in keys if key in seen or seen.add(key))  # type: ignore[func-returns-value]


class _Rules:
    """The context of the C scanner; ``strict`` refuses raw control characters in strings."""

    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_object)
    parse_float = staticmethod(_fraction)
    parse_int = staticmethod(_integer)
    parse_constant = staticmethod(_constant)


_scan = make_scanner(_Rules)  # type: ignore[arg-type]  # typeshed wants a scanner here


def _validate_depth(value: Any, depth: int) -> None:
    containers = [value]
    for _ in range(depth + 1):
        containers = [each for each in containers if isinstance(each, (dict, list))]
        if not containers:
            return
        containers = [
            item
            for each in containers
            for item in (each.values() if isinstance(each, dict) else each)
        ]
    raise InvalidJSONError(too_deep(depth))


def too_deep(depth: int) -> str:
    """Return the reason for which nesting beyond *depth* levels is refused."""
    return f"nested deeper than {depth} levels"


def _where(text: str, index: int, sentence: str) -> str:
    line, column = line_and_column(text, index)
    return f"{sentence} at line {line} column {column}"


def line_and_column(text: str, index: int) -> tuple[int, int]:
    """Return line and column of the character at *index*; both count from 1."""
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)
