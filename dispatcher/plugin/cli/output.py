"""Print tables, JSON and errors for a person at a terminal.

Text from manifests, files and plugins may hold control characters. They are printed as escapes, so
that a terminal does not act upon them.
"""

from __future__ import annotations

import sys

from dispatcher import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_RED, _PLAIN = "\x1b[31m", "\x1b[0m"


def print_json(value: Any) -> None:
    """Print *value* as one line of JSON; it loses nothing by the escapes."""
    text = jsontext.dump(value).decode()
    print("".join(char if char.isprintable() else _json_escape(char) for char in text))


def print_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Print *rows* below *head*, each column as wide as its longest cell."""
    lines = [head, *(tuple(map(escape, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def print_line(text: str, *, label: str = "") -> None:
    """Print one line; *label*, which may have colours, is printed as it is."""
    print(label + escape(text))


def print_hint(sentence: str) -> None:
    """Print *sentence* on standard error: it is not part of the answer."""
    print(escape(sentence), file=sys.stderr)


def print_error(sentence: str, details: str = "") -> None:
    """Print an error on standard error, after what standard output has so far."""
    sys.stdout.flush()
    print(f"{red('error')}: {escape(sentence)}", file=sys.stderr)
    if details:
        print(f"    {escape(details)}", file=sys.stderr)


def red(word: str) -> str:
    """Return *word* in red if both outputs are a terminal."""
    return f"{_RED}{word}{_PLAIN}" if sys.stdout.isatty() and sys.stderr.isatty() else word


def escape(text: str) -> str:
    """Return *text* with escapes for the characters that a terminal may act upon."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _json_escape(char: str) -> str:
    """Return the escape of JSON for *char*.

    The installed interpreter has no codec of UTF-16, so surrogates are computed here.
    """
    code = ord(char)
    if code < 0x10000:  # noqa: PLR2004 - one unit of UTF-16
        return f"\\u{code:04x}"
    above = code - 0x10000
    return f"\\u{0xD800 + (above >> 10):04x}\\u{0xDC00 + (above & 0x3FF):04x}"
