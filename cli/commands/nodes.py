"""What a node says of itself: ``doctor``, ``attachments`` and ``logs``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import cluster_names, kubectl
from cli.formats import Format
from cli.on_node import CONTAINER, agent_pods, genie_command, log_path, read_report
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
from cli.output import print_data, printable
from cli.session import Access, Session

commands = command_group()

NOT_STARTED = {126, 127}
"""Exit codes of ``chroot`` for a program that is missing or cannot run."""

NOT_STARTED_FIX = "kubectl genie status shows whether the plugin is installed there"


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
    session = Session(Access(kubeconfig, context), genie)
    raise typer.Exit(_run(session, node, ["doctor"], output))


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
    session = Session(Access(kubeconfig, context), genie)
    words = ["attachments", "--pod", pod] if pod else ["attachments"]
    raise typer.Exit(_run(session, node, words, output))


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
    session = Session(Access(kubeconfig, context), genie)
    pod = agent_pods(session.reader, genie, node)[node]
    for container in (each["name"] for each in pod["spec"]["containers"]):
        path = log_path(genie, pod["metadata"]["name"], container, tail)
        text = session.reader.client.get_text(path)
        for line in text.splitlines():
            typer.echo(printable(f"{container:<6} {line}"))


def _run(session: Session, node: str, command: list[str], output: Format) -> int:
    """Run the node's ``genie`` *command* on one node or on all.

    Return the exit code: 1 if it was another than 0 on a node.
    """
    reader, genie = session.reader, session.genie
    pods = agent_pods(reader, genie, node)
    api = kubectl.core(session.access)
    words = command if output is Format.TABLE else [*command, "--output", "json"]
    exit_code = 0
    collected: dict[str, Any] = {}
    for name, pod in sorted(pods.items()):
        program = genie_command(pod, words)
        ran = kubectl.execute(api, genie, pod["metadata"]["name"], CONTAINER, program)
        if ran.code:
            exit_code = 1
        if output is Format.TABLE:
            typer.echo(f"{name}:")
            _echo(ran.stdout, "  ")
        else:
            collected[name] = read_report(name, ran)
        if ran.code in NOT_STARTED:
            typer.echo(f"{name}: {program[2]} cannot be started: {NOT_STARTED_FIX}", err=True)
        _echo(ran.stderr, f"{name}: ", err=True)

    if output is not Format.TABLE:
        print_data(collected, output)
    session.finish()
    return exit_code


def _echo(text: str, prefix: str, *, err: bool = False) -> None:
    for line in text.splitlines():
        typer.echo(prefix + printable(line), err=err)
