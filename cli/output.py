"""Prints values as a table, as JSON or as YAML, on standard output.

Tables are for people: as wide as the terminal, coloured on a terminal alone. JSON and YAML are for
programs: the same keys in every version, nothing else on standard output.
"""

from __future__ import annotations

import enum
import json
from typing import TYPE_CHECKING, Any

import typer
import yaml

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

COLOURS = {
    CheckState.OK: "green",
    CheckState.WARNING: "yellow",
    CheckState.FAILED: "red",
    CheckState.UNKNOWN: "white",
}

STATE_WIDTH = max(map(len, CheckState))


class Format(enum.StrEnum):
    """The forms of ``--output``."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class LintFormat(enum.StrEnum):
    """The forms of ``lint --output``."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"
    GITHUB = "github"
    SARIF = "sarif"


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

    A cell that is a tuple has a line for each of its texts.
    """
    from rich.table import Table  # noqa: PLC0415 - --help does without
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in head:
        table.add_column(name, overflow="fold")
    for row in rows:
        lines = ([cell] if isinstance(cell, str) else cell for cell in row)
        table.add_row(*(Text("\n".join(map(printable, each))) for each in lines))
    _print(table if table.row_count else empty)


def print_checks(checks: Sequence[Check]) -> None:
    """Print each check in one line, and what to do below those that need it.

    Lines are not folded, so that a command can be copied out of them.
    """
    width = max((len(each.subject) for each in checks), default=0)
    for each in checks:
        state = typer.style(f"{each.state:<{STATE_WIDTH}}", fg=COLOURS[each.state])
        typer.echo(f"{state} {printable(each.subject):<{width}}  {printable(each.seen)}")
        if each.fix:
            typer.echo(f"{'':<{STATE_WIDTH}} {'':<{width}}  -> {printable(each.fix)}")


def print_explanations(explanations: Sequence[Explanation], empty: str) -> None:
    """Print each explanation as a paragraph."""
    for number, each in enumerate(explanations):
        typer.echo("\n" * bool(number) + f"{printable(each.subject)}: chosen by {each.chosen_by}")
        for planned in each.attachments:
            primary = "  (primary)" if planned.is_primary else ""
            typer.echo(f"  {planned.interface:<15} {planned.network}{primary}")
        if each.attachments:
            total = len(each.nodes) + len(each.other_nodes)
            listed = f": {shorten(each.nodes)}" if each.nodes else ""
            typer.echo(f"  nodes that can attach all: {len(each.nodes)} of {total}{listed}")
        for refusal in each.refusals:
            typer.echo(f"  {typer.style('refused', fg='red')}: {printable(refusal)}")
        for warning in each.warnings:
            typer.echo(f"  {typer.style('warning', fg='yellow')}: {printable(warning)}")
    if not explanations:
        typer.echo(empty)


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
