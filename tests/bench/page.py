"""Write a benchmark's part of docs/performance.md, between its two markers, and the summary.

The summary is the page's first part. It repeats the most important figures of the others: a
reference in braces names a cell of a table that a benchmark wrote, by the benchmark, the first
cells of the row, and the column.
"""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "performance.md"

TEMPLATE = """\
| | without Genie | with Genie | with Multus, thin |
|---|---|---|---|
| ADD of a pod with one network, ms: median / p95 \
| {plugin > 1 > ADD > direct: median / p95} \
| {plugin > 1 > ADD > through Genie: median / p95} | |
| ADD of a pod with four networks, ms: median / p95 \
| {plugin > 4 > ADD > direct: median / p95} \
| {plugin > 4 > ADD > through Genie: median / p95} | |
| ADD of a pod with one definition, ms: median / p95 \
| {peers > the delegates, called directly > ADD: median / p95} \
| {peers > Genie > ADD: median / p95} \
| {peers > Multus 4.2.2, thin > ADD: median / p95} |
| its requests to the API server: ADD / DEL \
| {peers > the delegates, called directly > requests to the API server: ADD / DEL} \
| {peers > Genie > requests to the API server: ADD / DEL} \
| {peers > Multus 4.2.2, thin > requests to the API server: ADD / DEL} |
| 32 pods that start at one moment, ms until the last is attached \
| {boot > 32 > direct calls > slowest pod} \
| {boot > 32 > Genie > slowest pod} \
| {boot > 32 > Multus, thin, without API server > slowest pod} |

- Creating a pod that names networks takes \
{creation > added by all > pod with two networks: median} ms longer, \
creating a plain pod {creation > added by all > plain pod: median} ms.
- A core answers {webhook > pod that names networks > per processor second} reviews a second, \
{webhook > pod that names networks > ratio} times as many as a webhook in Go.
- Agent and reaper have {agent > both > resident, MiB} MiB on a node, and take \
{agent > both > of one core, %} % of a core while no pod starts or stops."""

NOT_MEASURED = "?"
"""In place of a figure of a section that has no table yet."""

_REFERENCE = re.compile(r"\{(.+?)\}")


def show(benchmark: str, figures: str) -> None:
    """Replace the part of the page that belongs to *benchmark* by *figures*, in Markdown.

    Raises ValueError for a page without its markers, and, once the part is written, for a summary
    that refers to a cell which no table has any more.
    """
    text = _replaced(PAGE.read_text(), benchmark, figures)
    PAGE.write_text(text)
    PAGE.write_text(_replaced(text, "summary", summary(text)))


def _replaced(text: str, benchmark: str, figures: str) -> str:
    start, end = _bounds(text, benchmark)
    return f"{text[:start]}{figures}\n{text[end:]}"


def part(text: str, benchmark: str) -> str:
    """Return the part of *benchmark* in a page's *text*. Raises ValueError without its markers."""
    start, end = _bounds(text, benchmark)
    return text[start:end]


def summary(text: str) -> str:
    """Return the section for a page with *text*. Raises ValueError for a cell that no table has."""
    return _REFERENCE.sub(lambda found: _cell(text, found[1].split(" > ")), TEMPLATE)


def _cell(text: str, reference: list[str]) -> str:
    benchmark, *row, column = reference
    section = part(text, benchmark)
    tables = [_table(lines) for lines in re.findall(r"(?m)(?:^\|.*\n)+", f"{section}\n")]
    if not tables:
        return NOT_MEASURED
    for head, *rows in tables:
        for cells in rows:
            if cells[: len(row)] == row and column in head:
                return cells[head.index(column)]
    raise ValueError(f"no table of docs/performance.md has the cell {reference}")


def _table(lines: str) -> list[list[str]]:
    """Return the cells of a Markdown table, row by row, without the line below its head."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.splitlines()]
    return [rows[0], *rows[2:]]


def _bounds(text: str, benchmark: str) -> tuple[int, int]:
    begin, end = (f"<!-- {benchmark} figures: {mark} -->\n" for mark in ("begin", "end"))
    start = text.index(begin) + len(begin)
    return start, text.index(end, start)
