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

from cli.checks import CheckState
from cli.formats import Format
from cli.networks import shorten
from cli.table import lay_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from cli.checks import Check
    from cli.explain import Explanation
    from cli.table import Cell, Column

WIDTH = 80
"""Columns of a table where standard output is no terminal."""

MAX_SUBJECT = 30
"""Columns of the subjects of checks, beside their messages."""

COLOURS = {
    CheckState.OK: "green",
    CheckState.WARNING: "yellow",
    CheckState.FAILED: "red",
    CheckState.UNKNOWN: "white",
}

WORD_COLOURS = {"error": "red", "gone": "red", "check": "yellow", "warning": "yellow"}

STATE_WIDTH = max(map(len, CheckState))


def console() -> Console:
    """Return the console of standard output.

    It prints colours on a terminal alone; NO_COLOR, FORCE_COLOR and TERM=dumb have the meaning that
    rich gives them.
    """
    from rich.console import Console  # noqa: PLC0415 - --help does without

    terminal = Console(highlight=False)
    if terminal.is_terminal:
        return terminal
    return Console(highlight=False, width=max(WIDTH, terminal.width))


def print_line(*parts: str | tuple[str, str]) -> None:
    """Print one line; a part that is a pair has a style, which a terminal alone shows."""
    from rich.text import Text  # noqa: PLC0415 - --help does without

    console().print(Text.assemble(*parts), soft_wrap=True)


def print_data(value: Any, form: Format) -> None:
    """Print *value*, as :func:`as_data` has it, as JSON or YAML."""
    data = as_data(value)
    if form is Format.JSON:
        typer.echo(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        import yaml  # noqa: PLC0415 - tables do without

        typer.echo(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), nl=False)


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], empty: str) -> None:
    """Print a table as :mod:`cli.table` lays it out; without rows the sentence *empty*."""
    lines = [[_printable_cell(cell) for cell in row] for row in rows]
    if not lines:
        print_line(empty)
        return
    layout = lay_out(columns, lines, console().width)
    print_line((layout.head, "bold"), "\n", "\n".join(layout.lines))
    if layout.omitted:
        names = " and ".join(layout.omitted)
        note = f"note: {names} left out: the terminal is too narrow (--output yaml has all)"
        typer.echo(note, err=True)


def _printable_cell(cell: Cell) -> Cell:
    return printable(cell) if isinstance(cell, str) else tuple(map(printable, cell))


def print_checks(checks: Sequence[Check]) -> None:
    """Print each check, and what to do below those that need it.

    What to do is one line however long, so that a command can be copied out of it. A subject that
    would leave no room for messages has a line of its own.
    """
    widths = [len(each.subject) for each in checks if len(each.subject) <= MAX_SUBJECT]
    width = max(widths, default=0)
    margin = " " * (STATE_WIDTH + 1 + width + 2)
    for each in checks:
        message = _fold(printable(each.message), margin)
        state = (f"{each.state:<{STATE_WIDTH}}", COLOURS[each.state])
        subject = printable(each.subject)
        if len(subject) > width:
            print_line(state, f" {subject}")
            print_line(message)
        else:
            print_line(state, f" {subject:<{width}}  {message.strip()}")
        if each.fix:
            print_line(f"{margin}-> {printable(each.fix)}")


def print_findings(findings: Iterable[tuple[str, str, str, str]], empty: str) -> None:
    """Print findings as paragraphs: word and object, what is wrong, and a command or nothing.

    Sentences have the whole width; a command is one line however long, so that it can be copied.
    """
    margin = " " * (STATE_WIDTH + 1)
    for word, subject, message, command in findings:
        empty = ""
        print_line((f"{word:<{STATE_WIDTH}}", WORD_COLOURS.get(word, "")), f" {printable(subject)}")
        print_line(_fold(printable(message), margin))
        if command:
            print_line(f"{margin}-> {printable(command)}")
    if empty:
        print_line(empty)


def print_explanations(explanations: Sequence[Explanation], empty: str) -> None:
    """Print each explanation as a paragraph."""
    for number, each in enumerate(explanations):
        print_line("\n" * bool(number) + f"{printable(each.subject)}: chosen by {each.chosen_by}")
        for planned in each.attachments:
            primary = "  (primary)" if planned.is_primary else ""
            print_line(f"  {planned.interface:<15} {planned.network}{primary}")
        if each.attachments:
            print_line(f"  nodes that can attach all: {_nodes(each)}")
        for ignored in each.ignored:
            network = printable(ignored.network)
            print_line(f"  {ignored.interface:<15} {network}  (ignored: {ignored.annotation})")
        for word, colour, texts in (
            ("refused", "red", each.refusals),
            ("warning", "yellow", each.warnings),
        ):
            for text in texts:
                shown = _fold(printable(f"{word}: {text}"), "    ").strip()
                print_line("  ", (word, colour), shown.removeprefix(word))
    if not explanations:
        print_line(empty)


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
