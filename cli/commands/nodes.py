"""What a node says of itself: ``doctor``, ``attachments`` and ``logs``."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from cli import kubectl
from cli.on_node import CONTAINER, agent_pods, find_pod, genie_command
from cli.options import GENIE_NAMESPACE, GenieNamespace, Kubeconfig, Node, Output, examples
from cli.output import Format, print_data, printable
from cli.session import Session

commands = typer.Typer()


@commands.command(epilog=examples("kubectl genie doctor", "kubectl genie doctor node1 -o json"))
def doctor(
    *,
    node: Node = "",
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """Run `genie doctor` on nodes, through the agents' pods."""
    raise typer.Exit(_run(Session(kubeconfig, genie), kubeconfig, node, ["doctor"], output))


@commands.command(
    epilog=examples(
        "kubectl genie attachments node1", "kubectl genie attachments --pod default/web -o json"
    )
)
def attachments(
    *,
    node: Node = "",
    pod: Annotated[str, typer.Option(help="only this pod", metavar="NAMESPACE/NAME")] = "",
    output: Output = Format.TABLE,
    kubeconfig: Kubeconfig = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """List what is attached on nodes, from their records."""
    words = ["attachments", "--pod", pod] if pod else ["attachments"]
    raise typer.Exit(_run(Session(kubeconfig, genie), kubeconfig, node, words, output))


@commands.command(
    epilog=examples("kubectl genie logs node1", "kubectl genie logs node1 --tail 500")
)
def logs(
    node: Annotated[str, typer.Argument(help="name of the node")],
    *,
    tail: Annotated[int, typer.Option(help="lines of each container")] = 100,
    kubeconfig: Kubeconfig = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """Print the logs of agent and reaper on a node."""
    session = Session(kubeconfig, genie)
    pod = find_pod(session.reader, genie, node)
    api = kubectl.core(kubeconfig)
    for container in (each["name"] for each in pod["spec"]["containers"]):
        text = kubectl.log(api, genie, pod["metadata"]["name"], container, tail)
        for line in text.splitlines():
            typer.echo(printable(f"{container:<6} {line}"))


def _run(session: Session, kubeconfig: str, node: str, command: list[str], output: Format) -> int:
    """Run the node's ``genie`` *command* on one node or on all; return the largest exit code."""
    reader, genie = session.reader, session.genie
    pods = {node: find_pod(reader, genie, node)} if node else agent_pods(reader, genie)
    api = kubectl.core(kubeconfig)
    words = command if output is Format.TABLE else [*command, "--output", "json"]
    exit_code = 0
    collected: dict[str, Any] = {}
    for name, pod in sorted(pods.items()):
        program = genie_command(pod, words)
        ran = kubectl.execute(api, genie, pod["metadata"]["name"], CONTAINER, program)
        exit_code = max(exit_code, ran.code)
        if output is Format.TABLE:
            typer.echo(f"{name}:")
            _echo(ran.stdout, "  ")
        else:
            collected[name] = json.loads(ran.stdout or "null")
        _echo(ran.stderr, f"{name}: ", err=True)

    if output is not Format.TABLE:
        print_data(collected, output)
    session.finish()
    return exit_code


def _echo(text: str, prefix: str, *, err: bool = False) -> None:
    for line in text.splitlines():
        typer.echo(prefix + printable(line), err=err)
