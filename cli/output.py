"""Prints values as a table, as JSON or as YAML, on standard output.

Tables are for people: as wide as the terminal, coloured on a terminal alone. JSON and YAML are for
programs: the same keys in every version, nothing else on standard output.
"""

from __future__ import annotations

import enum
import json
import textwrap
from typing import TYPE_CHECKING, Any

import typer
import yaml

from cli.formats import Format
from cli.networks import shorten
from cli.status import CheckState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console
    from rich.table import Table

    from cli.explain import Explanation
    from cli.status import Check

    Cell = str | tuple[str, ...]

WIDTH = 80
"""Columns of a table where standard output is no terminal."""

GAP = 2
"""Blanks between two columns of a table."""

MIN_LAST = 20
"""Columns that the last column of a table has at least, before others are folded for it."""

COLOURS = {
    CheckState.OK: "green",
    CheckState.WARNING: "yellow",
    CheckState.FAILED: "red",
    CheckState.UNKNOWN: "white",
}

WORD_COLOURS = {"error": "red", "gone": "red", "check": "yellow", "warning": "yellow"}

STATE_WIDTH = max(map(len, CheckState))


def console() -> Console:
    """Return the console of standard output."""
    from rich.console import Console  # noqa: PLC0415 - --help does without

    found = Console(highlight=False, soft_wrap=False)
    return found if found.is_terminal else Console(highlight=False, width=max(WIDTH, found.width))


def print_data(value: Any, form: Format) -> None:
    """Print *value*, as :func:`as_data` has it, as JSON or YAML."""
    data = as_data(value)
    if form is Format.JSON:
        typer.echo(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        typer.echo(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), nl=False)


def print_table(head: Sequence[str], rows: Iterable[Sequence[Cell]], empty: str) -> None:
    """Print a table in kubectl's style; without rows the sentence *empty*.

    A cell that is a tuple has a line for each of its texts. Where the terminal is too narrow, the
    last column is folded first, then the widest.
    """
    from rich.table import Table  # noqa: PLC0415 - --help does without
    from rich.text import Text  # noqa: PLC0415

    lines = [[[cell] if isinstance(cell, str) else list(cell) for cell in row] for row in rows]
    widths = [
        max(len(text) for text in (name, *(text for texts in column for text in texts)))
        for name, *column in zip(head, *lines, strict=True)
    ]
    rest = console().width - sum(widths[:-1]) - GAP * (len(head) - 1)
    fits = rest >= MIN_LAST

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    for number, name in enumerate(head):
        is_last = number + 1 == len(head)
        width = min(widths[number], rest) if is_last else widths[number]
        table.add_column(name, overflow="fold", width=width if fits else None)
    for row in lines:
        table.add_row(*(Text("\n".join(map(printable, texts))) for texts in row))
    _print(table if lines else empty)


def print_checks(checks: Sequence[Check]) -> None:
    """Print each check, and what to do below those that need it.

    What to do is one line however long, so that a command can be copied out of it.
    """
    width = max((len(each.subject) for each in checks), default=0)
    margin = " " * (STATE_WIDTH + 1 + width + 2)
    for each in checks:
        state = typer.style(f"{each.state:<{STATE_WIDTH}}", fg=COLOURS[each.state])
        seen = _fold(printable(each.seen), margin).strip()
        typer.echo(f"{state} {printable(each.subject):<{width}}  {seen}")
        if each.fix:
            typer.echo(f"{margin}-> {printable(each.fix)}")


def print_findings(findings: Iterable[tuple[str, str, str, str]], empty: str) -> None:
    """Print findings as paragraphs: word and object, what is wrong, and a command or nothing.

    Sentences have the whole width; a command is one line however long, so that it can be copied.
    """
    margin = " " * (STATE_WIDTH + 1)
    for word, subject, message, command in findings:
        empty = ""
        state = typer.style(f"{word:<{STATE_WIDTH}}", fg=WORD_COLOURS.get(word))
        typer.echo(f"{state} {printable(subject)}")
        typer.echo(_fold(printable(message), margin))
        if command:
            typer.echo(f"{margin}-> {printable(command)}")
    if empty:
        typer.echo(empty)


def print_explanations(explanations: Sequence[Explanation], empty: str) -> None:
    """Print each explanation as a paragraph."""
    for number, each in enumerate(explanations):
        typer.echo("\n" * bool(number) + f"{printable(each.subject)}: chosen by {each.chosen_by}")
        for planned in each.attachments:
            primary = "  (primary)" if planned.is_primary else ""
            typer.echo(f"  {planned.interface:<15} {planned.network}{primary}")
        if each.attachments:
            typer.echo(f"  nodes that can attach all: {_nodes(each)}")
        for word, colour, texts in (
            ("refused", "red", each.refusals),
            ("warning", "yellow", each.warnings),
        ):
            for text in texts:
                shown = _fold(printable(f"{word}: {text}"), "    ").strip()
                typer.echo(f"  {typer.style(word, fg=colour)}{shown.removeprefix(word)}")
    if not explanations:
        typer.echo(empty)


def _fold(text: str, margin: str) -> str:
    """Return *text* in lines that fit the terminal, each behind *margin*; words stay whole."""
    return textwrap.fill(
        text,
        console().width,
        initial_indent=margin,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _nodes(explanation: Explanation) -> str:
    if explanation.nodes is None:
        return "unknown"
    total = len(explanation.nodes) + len(explanation.other_nodes)
    listed = f": {shorten(explanation.nodes)}" if explanation.nodes else ""
    return f"{len(explanation.nodes)} of {total}{listed}"


def _print(shown: Table | str) -> None:
    out = console()
    with out.capture() as captured:
        out.print(shown)
    for line in captured.get().splitlines():  # rich fills each cell up with blanks
        typer.echo(line.rstrip(), color=out.is_terminal)


def as_data(value: Any) -> Any:
    """Return *value* as JSON has it: lists for tuples, objects for named tuples, camelCase keys."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {_camel(key): as_data(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_data(each) for each in value]
    return str(value) if isinstance(value, enum.Enum) else value


def _camel(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(map(str.title, rest))


def printable(text: str) -> str:
    """Return *text* without what a terminal would obey: everything here comes from strangers."""
    return "".join(char if char.isprintable() else "�" for char in text)
