"""The options that several commands share, and the form of their help."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.output import Format

GENIE_NAMESPACE = "genie-system"

Output = Annotated[
    Format, typer.Option("--output", "-o", help="table for people, json or yaml for programs")
]
Kubeconfig = Annotated[
    str, typer.Option("--kubeconfig", help="kubeconfig to use; default: the one of kubectl")
]
GenieNamespace = Annotated[
    str,
    typer.Option("--genie-namespace", envvar="GENIE_NAMESPACE", help="where Genie is installed"),
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="namespace of the pods")]
Node = Annotated[str, typer.Argument(help="a node; default: every node with an agent")]


def examples(*commands: str) -> str:
    """Return the end of a command's help; the first line keeps click from folding the others."""
    return "\b\nExamples:\n" + "\n".join(f"  {each}" for each in commands)
