"""What a node says of itself: ``doctor``, ``attachments`` and ``logs``."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import cluster_names
from cli.formats import Format
from cli.options import (
    GENIE_NAMESPACE,
    Context,
    GenieNamespace,
    Kubeconfig,
    Node,
    Output,
    command_group,
    notes,
)

commands = command_group()


@commands.command(
    epilog=notes(
        "kubectl genie doctor",
        "kubectl genie doctor node1 -o json",
        codes=["no node has a problem", "a node has a problem"],
    )
)
def doctor(
    *,
    node: Node = "",
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """Run `genie doctor` on nodes, through the agents' pods."""
    from cli.node_reports import run_on_nodes
    from cli.session import Access, Session

    session = Session(Access(kubeconfig, context), genie)
    raise typer.Exit(run_on_nodes(session, node, ["doctor"], output))


@commands.command(
    epilog=notes(
        "kubectl genie attachments node1",
        "kubectl genie attachments --pod default/web -o json",
        codes=["every record was read", "a node's command failed"],
    )
)
def attachments(
    *,
    node: Node = "",
    pod: Annotated[str, typer.Option(help="only this pod", metavar="NAMESPACE/NAME")] = "",
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """List what is attached on nodes, from their records."""
    from cli.node_reports import run_on_nodes
    from cli.session import Access, Session

    session = Session(Access(kubeconfig, context), genie)
    words = ["attachments", "--pod", pod] if pod else ["attachments"]
    raise typer.Exit(run_on_nodes(session, node, words, output))


@commands.command(
    epilog=notes(
        "kubectl genie logs node1",
        "kubectl genie logs node1 --tail 500",
        codes=["the logs are printed"],
    )
)
def logs(
    node: Annotated[
        str, typer.Argument(help="name of the node", autocompletion=cluster_names.nodes)
    ],
    *,
    tail: Annotated[int, typer.Option(help="lines of each container")] = 100,
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """Print the logs of agent and reaper on a node."""
    from cli.node_reports import print_logs
    from cli.session import Access, Session

    print_logs(Session(Access(kubeconfig, context), genie), node, tail)
