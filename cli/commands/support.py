"""The command for a support case: ``bundle``."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import kubectl
from cli.bundle import LOG_LINES, archive, own_events
from cli.installation import read_installation
from cli.on_node import CONTAINER, agent_pods, genie_command, log_path, read_report
from cli.options import (
    GENIE_NAMESPACE,
    Context,
    GenieNamespace,
    Kubeconfig,
    command_group,
    notes,
)
from cli.session import Access, Session
from cli.status import checks
from dispatcher.kube.errors import KubeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.bundle import Part
    from cli.checks import Check

commands = command_group()


@commands.command(
    epilog=notes(
        "kubectl genie bundle",
        "kubectl genie bundle --file /tmp/genie.tar.gz",
        codes=["the archive is written; errors.txt says what is missing in it"],
    )
)
def bundle(
    *,
    file: Annotated[
        str, typer.Option("--file", "-f", help="archive to write; default: a name with the time")
    ] = "",
    kubeconfig: Kubeconfig = "",
    context: Context = "",
    genie: GenieNamespace = GENIE_NAMESPACE,
) -> None:
    """Write an archive for a bug report: settings, checks, Events, node reports and logs."""
    folder = time.strftime("genie-bundle-%Y%m%d-%H%M%S")
    path = Path(file or f"{folder}.tar.gz")
    session = Session(Access(kubeconfig, context), genie)
    # An archive of failures helps nobody, so an API server that does not answer ends the command.
    api_server = session.reader.one("/version", "get /version")
    parts = _parts(session, kubectl.core(session.access), api_server)
    data = archive(parts, folder, lambda name: typer.echo(f"collecting {name}", err=True))
    path.touch()
    path.chmod(0o600)  # before the content, also where the file exists
    path.write_bytes(data)
    session.finish()
    typer.echo(str(path))


def _parts(session: Session, api: Any, api_server: dict[str, Any] | None) -> Iterator[Part]:
    """Yield the files of the archive; those of nodes last, since they take longest."""
    yield "version.json", lambda: {"apiServer": api_server, "parts": session.versions}
    yield "settings.json", lambda: session.settings
    yield "status.json", lambda: _checks(session)
    yield "networks.json", lambda: session.networks
    yield "events.json", lambda: own_events(session.list_or_own("events"))

    try:
        webhook_pods = session.webhook_pods or ()
    except KubeError as error:
        yield "webhook.txt", partial(str, error)
        webhook_pods = ()
    for pod in webhook_pods:
        yield from _logs(session, pod, f"webhook/{pod['metadata']['name']}")

    try:
        pods = agent_pods(session.reader, session.genie)
    except KubeError as error:
        yield "nodes.txt", partial(str, error)
        return
    for node, pod in sorted(pods.items()):
        for command in ("doctor", "attachments"):
            yield f"nodes/{node}/{command}.json", partial(_report, session, api, pod, command)
        yield from _logs(session, pod, f"nodes/{node}")


def _logs(session: Session, pod: dict[str, Any], directory: str) -> Iterator[Part]:
    """Yield the log of each container of *pod*, in *directory*."""
    name = pod["metadata"]["name"]
    for container in (each["name"] for each in pod["spec"]["containers"]):
        path = log_path(session.genie, name, container, LOG_LINES)
        yield f"{directory}/{container}.log", partial(session.reader.client.get_text, path)


def _checks(session: Session) -> list[Check]:
    return checks(read_installation(session, session.current_namespace))


def _report(session: Session, api: Any, pod: dict[str, Any], command: str) -> Any:
    program = genie_command(pod, [command, "--output", "json"])
    name = pod["metadata"]["name"]
    ran = kubectl.execute(api, session.genie, name, CONTAINER, program)
    return read_report(pod["spec"]["nodeName"], ran)
