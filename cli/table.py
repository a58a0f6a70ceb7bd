"""The layout of a table in kubectl's style, for a terminal of any width (pure).

No word is ever broken. A table that is too wide becomes narrower in this order:

1. Cells are folded, at blanks and after commas; sentences first.
2. Sentences move below their rows, over the whole width.
3. Columns that are less important are left out (:attr:`Layout.omitted`).

If it is still too wide, the terminal wraps its lines, which can be copied whole.
"""

from __future__ import annotations

import re
import textwrap
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Cell = str | tuple[str, ...]
    """The text of a cell; a tuple has a line for each of its texts."""

GAP = 2
"""Blanks between two columns."""

MIN_SENTENCE = 30
"""Columns that a sentence needs beside its row."""

MARGIN = "    "
"""Before a sentence that is below its row."""

_PIECES = re.compile(r"[^ ,]*,+|[^ ,]+| +")
"""What stays in one line."""


class Column(NamedTuple):
    """A column: its name, and what may happen to it in a narrow terminal."""

    name: str
    is_sentence: bool = False
    """Its cells are sentences; a table has at most one such column, the last."""
    rank: int = 0
    """Above 0: it may be left out, the highest rank first."""


class Layout(NamedTuple):
    """A table as lines, and the names of the columns that are left out."""

    head: str
    lines: tuple[str, ...]
    omitted: tuple[str, ...]


def lay_out(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], width: int) -> Layout:
    """Return the table of *rows* for a terminal of *width* columns."""
    cells = [[(cell,) if isinstance(cell, str) else cell for cell in row] for row in rows]
    table = [(column, [row[number] for row in cells]) for number, column in enumerate(columns)]
    omitted: list[str] = []
    sentences: list[tuple[str, ...]] = [()] * len(cells)

    while True:
        widths = _widths(table, width)
        if _total(widths) <= width:
            break
        if table[-1][0].is_sentence:
            sentences = table.pop()[1]
            continue
        optional = [each for each in table if each[0].rank]
        if not optional:
            break
        least = max(optional, key=lambda each: each[0].rank)
        table.remove(least)
        omitted.append(least[0].name)

    head = _join([column.name for column, _ in table], widths)
    shown = zip(*(column_cells for _, column_cells in table), strict=True)
    lines = [
        line
        for row, sentence in zip(shown, sentences, strict=True)
        for line in (*_row(row, widths), *_below(sentence, width))
    ]
    return Layout(head, tuple(lines), tuple(omitted))


def _widths(table: Sequence[tuple[Column, Sequence[tuple[str, ...]]]], width: int) -> list[int]:
    """Return the width of each column: folded, if need be, as far as *width* asks for."""
    widths, least = [], []
    for column, cells in table:
        texts = [column.name, *(text for cell in cells for text in cell)]
        pieces = [column.name, *(piece for text in texts[1:] for piece in _PIECES.findall(text))]
        widths.append(max(map(len, texts)))
        smallest = max(len(piece.rstrip()) for piece in pieces)
        least.append(max(smallest, MIN_SENTENCE) if column.is_sentence else smallest)

    if table and table[-1][0].is_sentence:
        widths[-1] -= _excess(widths, least, width, len(widths) - 1)
    while _total(widths) > width:
        folding = [number for number, each in enumerate(widths) if each > least[number]]
        if not folding:
            break
        widest = max(folding, key=lambda number: widths[number])
        widths[widest] -= 1
    return widths


def _excess(widths: Sequence[int], least: Sequence[int], width: int, number: int) -> int:
    """Return by how much the column *number* can and has to shrink."""
    return max(0, min(_total(widths) - width, widths[number] - least[number]))


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _row(cells: Sequence[tuple[str, ...]], widths: Sequence[int]) -> Iterator[str]:
    folded = [
        [line for text in cell for line in _fold(text, width)]
        for cell, width in zip(cells, widths, strict=True)
    ]
    for line in zip_longest(*folded, fillvalue=""):
        yield _join(line, widths)


def _join(texts: Sequence[str], widths: Sequence[int]) -> str:
    padded = (text.ljust(width) for text, width in zip(texts, widths, strict=True))
    return (" " * GAP).join(padded).rstrip()


def _fold(text: str, width: int) -> list[str]:
    lines = [""]
    for piece in _PIECES.findall(text):
        if len(lines[-1]) + len(piece.rstrip()) > width and lines[-1]:
            lines.append(piece.lstrip())
        else:
            lines[-1] += piece
    return [line.rstrip() for line in lines]


def _below(sentence: tuple[str, ...], width: int) -> list[str]:
    return textwrap.wrap(
        " ".join(sentence),
        width,
        initial_indent=MARGIN,
        subsequent_indent=MARGIN,
        break_long_words=False,
        break_on_hyphens=False,
    )
