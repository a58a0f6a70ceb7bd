"""Write a benchmark's part of docs/performance.md, between its two markers, and the summary.

The summary is the page's first part (:mod:`tests.bench.summary`). It repeats the most important
figures of the others, which are looked up in their tables.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.bench import summary

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "performance.md"

_REFERENCE = re.compile(r"\{(.+?)\}")
_NUMBER = re.compile(r"\d+(\.\d+)?")


def show(benchmark: str, figures: str) -> None:
    """Replace the part of the page that belongs to *benchmark* by *figures*, in Markdown.

    Raises ValueError for a page without its markers, and, once the part is written, for a summary
    that refers to a cell which no table has any more.
    """
    text = _replaced(PAGE.read_text(), benchmark, figures)
    PAGE.write_text(text)
    PAGE.write_text(_replaced(text, "summary", summary_of(text)))
    (DOCS / summary.CHART).write_text(summary.chart(bars(text)))


def _replaced(text: str, benchmark: str, figures: str) -> str:
    start, end = _bounds(text, benchmark)
    return f"{text[:start]}{figures}\n{text[end:]}"


def part(text: str, benchmark: str) -> str:
    """Return the part of *benchmark* in a page's *text*. Raises ValueError without its markers."""
    start, end = _bounds(text, benchmark)
    return text[start:end]


def summary_of(text: str) -> str:
    """Return the summary of a page with *text*. Raises ValueError for a cell that no table has."""
    return _REFERENCE.sub(lambda match: _cell(text, match[1]), summary.TEXT)


def bars(text: str) -> list[tuple[str, dict[str, float]]]:
    """Return the groups of the summary's chart, without what is not measured yet.

    Raises ValueError for a cell that no table has.
    """
    groups = []
    for group in summary.GROUPS:
        cells = {label: _cell(text, reference) for label, reference in group.cells.items()}
        numbers = {label: _NUMBER.match(cell) for label, cell in cells.items()}
        values = {label: float(number[0]) for label, number in numbers.items() if number}
        if values:
            groups.append((group.title, values))
    return groups


def _cell(text: str, reference: str) -> str:
    benchmark, *row, column = reference.split(" > ")
    section = part(text, benchmark)
    tables = [_table(lines) for lines in re.findall(r"(?m)(?:^\|.*\n)+", f"{section}\n")]
    if not tables:
        return summary.NOT_MEASURED
    for head, *rows in tables:
        for cells in rows:
            if cells[: len(row)] == row and column in head:
                return cells[head.index(column)]
    raise ValueError(f"no table of docs/performance.md has the cell {reference!r}")


def _table(lines: str) -> list[list[str]]:
    """Return the cells of a Markdown table, row by row, without the line below its head."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.splitlines()]
    return [rows[0], *rows[2:]]


def _bounds(text: str, benchmark: str) -> tuple[int, int]:
    begin, end = (f"<!-- {benchmark} figures: {mark} -->\n" for mark in ("begin", "end"))
    start = text.index(begin) + len(begin)
    return start, text.index(end, start)
