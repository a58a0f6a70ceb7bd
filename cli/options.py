"""The options that several commands share, and the form of their help."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import cluster_names
from cli.formats import Format

if TYPE_CHECKING:
    from collections.abc import Sequence

GENIE_NAMESPACE = "genie-system"

Output = Annotated[
    Format, typer.Option("--output", "-o", help="table for people, json or yaml for programs")
]
Kubeconfig = Annotated[
    str, typer.Option("--kubeconfig", help="kubeconfig to use; default: the one of kubectl")
]
Context = Annotated[
    str, typer.Option("--context", help="context of the kubeconfig; default: the current one")
]
GenieNamespace = Annotated[
    str,
    typer.Option("--genie-namespace", envvar="GENIE_NAMESPACE", help="where Genie is installed"),
]
Namespace = Annotated[
    str,
    typer.Option(
        "--namespace",
        "-n",
        help="default: the namespace of the context",
        autocompletion=cluster_names.namespaces,
    ),
]
Node = Annotated[
    str,
    typer.Argument(
        help="a node; default: every node with an agent", autocompletion=cluster_names.nodes
    ),
]


def command_group() -> typer.Typer:
    """Return an empty group of commands."""
    return typer.Typer(rich_markup_mode=None)


def notes(*examples: str, codes: Sequence[str], later: Sequence[str] = ()) -> str:
    """Return the end of a command's help: examples, and its exit codes.

    *codes* are the meanings of 0 and perhaps 1, *later* those from 3 on; 2 means the same for all
    commands. The first line keeps typer from folding the others.
    """
    numbered = [*enumerate(codes), (2, UNREADABLE), *enumerate(later, start=3)]
    exits = [f"  {code}  {meaning}" for code, meaning in numbered]
    shown = [f"  {each}" for each in examples]
    return "\n".join(["\b", "Examples:", *shown, "\b", "Exit codes:", *exits])


UNREADABLE = "wrong option, file or kubeconfig, or no answer from the API server"
