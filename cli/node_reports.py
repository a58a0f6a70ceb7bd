"""Runs the node's own command on one node or on all, and prints what it says, or a node's logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from cli import kubectl
from cli.formats import Format
from cli.on_node import CONTAINER, agent_pods, genie_command, log_path, read_report
from cli.output import print_data, printable

if TYPE_CHECKING:
    from cli.session import Session

NOT_STARTED = {126, 127}
"""Exit codes of ``chroot`` for a program that is missing or cannot run."""

NOT_STARTED_FIX = "kubectl genie status shows whether the plugin is installed there"


def run_on_nodes(session: Session, node: str, command: list[str], output: Format) -> int:
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


def print_logs(session: Session, node: str, tail: int) -> None:
    """Print the last *tail* lines of each container of the agent's pod on *node*."""
    genie = session.genie
    pod = agent_pods(session.reader, genie, node)[node]
    for container in (each["name"] for each in pod["spec"]["containers"]):
        path = log_path(genie, pod["metadata"]["name"], container, tail)
        text = session.reader.client.get_text(path)
        for line in text.splitlines():
            typer.echo(printable(f"{container:<6} {line}"))
