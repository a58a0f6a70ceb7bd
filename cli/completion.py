"""Completion for kubectl: the program ``kubectl_complete-genie``, which kubectl runs on a tab.

kubectl looks for ``kubectl_complete-NAME`` on the PATH, passes the words that stand behind
``kubectl NAME``, the last one incomplete, and expects one value per line, a tab, its description,
and in the last line a directive. typer computes the values, in its format for the shell fish, which
is the same format. Names of nodes and networks come from the cluster; an error there gives no
value, because nothing but values may reach the prompt.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
from typing import TYPE_CHECKING

import typer
from typer.completion import get_completion_inspect_parameters

from cli.app import app

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE_OPTIONS = {"-f", "--file", "--kubeconfig", "--cni-conf"}

VALUES_ONLY, FILES = ":4", ":0"
"""Directives of the protocol: offer the values alone; offer files."""

_VARIABLE = "_KUBECTL_GENIE_COMPLETE"


def main(words: Sequence[str] | None = None) -> None:
    """Print the completions of *words*, whose last is incomplete; default: the command line's."""
    arguments = sys.argv[1:] if words is None else list(words)
    if len(arguments) > 1 and arguments[-2] in FILE_OPTIONS:
        typer.echo(FILES)
        return
    get_completion_inspect_parameters()  # makes typer know the shells
    unfinished = arguments[-1] if arguments else ""
    line = f"genie {shlex.join(arguments[:-1])} {shlex.quote(unfinished) if unfinished else ''}"
    os.environ |= {
        _VARIABLE: "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": line,
    }
    values = io.StringIO()
    with contextlib.redirect_stdout(values), contextlib.suppress(SystemExit):
        app([], prog_name="kubectl genie", complete_var=_VARIABLE)
    for value in filter(None, values.getvalue().splitlines()):  # typer prints a blank line for none
        typer.echo(value)
    typer.echo(VALUES_ONLY)
