"""Reads the parts of a support archive: from the API server, the nodes, and the pods' logs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from cli import kubectl
from cli.bundle import LOG_LINES, own_events
from cli.installation import read_installation
from cli.on_node import CONTAINER, agent_pods, genie_command, log_path, read_report
from cli.status import checks
from dispatcher.kube.errors import KubeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli.bundle import Part
    from cli.checks import Check
    from cli.session import Session


def read_parts(session: Session, api: Any, api_server: dict[str, Any] | None) -> Iterator[Part]:
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
