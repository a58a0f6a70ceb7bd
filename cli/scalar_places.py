"""Finds where a character of a value stands in its YAML file.

Values of one line are followed through quotes and escapes, and literal blocks (``|``) line by line.
Other styles fold lines, so that a character has no certain place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import yaml

_ESCAPED = {"x": 4, "u": 6, "U": 10}  # characters of an escape in double quotes; 2 for others


def place_in(node: yaml.ScalarNode, offset: int) -> tuple[int, int] | None:
    """Return line and column, from 1, of the character at *offset*; None if they are not certain.

    The end of the value counts as a character.
    """
    start = node.start_mark
    raw = (start.buffer or "")[start.pointer : node.end_mark.pointer]
    if not raw.startswith(node.style or node.value):  # an anchor or a tag stands before it
        return None
    if node.style == "|":
        return _place_in_block(node, raw, offset)
    if "\n" in raw:
        return None
    index = _index_in_line(raw, offset, node.style or "")
    return start.line + 1, start.column + 1 + index


def _place_in_block(node: yaml.ScalarNode, raw: str, offset: int) -> tuple[int, int] | None:
    text = node.value[:offset]
    line = text.count("\n")
    column = len(text) - text.rfind("\n") - 1

    lines = raw.split("\n")[1:]  # the first has the indicator
    first = next((each for each in lines if each.strip()), "")
    margin = len(first) - len(first.lstrip(" "))
    # An indentation indicator ("|2") makes blanks at the start a part of the value.
    if lines[line][margin:] != node.value.split("\n")[line]:
        return None
    return node.start_mark.line + 2 + line, margin + column + 1


def _index_in_line(raw: str, offset: int, quote: str) -> int:
    """Return the index in *raw* of the character at *offset* of its value."""
    index = len(quote)
    for _ in range(offset):
        if quote == "'" and raw.startswith("''", index):
            index += 2
        elif quote == '"' and raw[index] == "\\":
            index += _ESCAPED.get(raw[index + 1], 2)
        else:
            index += 1
    return index
