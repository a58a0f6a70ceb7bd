"""Runs the node's own ``genie`` command, through the privileged container of the agent's pod.

No SSH is needed: the reaper's container has the node's file system at ``/host``. Its right is the
user's own, ``create pods/exec`` in Genie's namespace.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from cli.networks import shorten
from dispatcher.kube.errors import KubeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.reader import Reader

CONTAINER = "reaper"
SELECTOR = "app.kubernetes.io/name=genie-agent"
BIN_DIR = "/opt/cni/bin"
BIN_DIR_SETTING = "GENIE_CNI_BIN_DIR"


class Ran(NamedTuple):
    """What a command printed, and its exit code."""

    stdout: str
    stderr: str
    code: int


def agent_pods(reader: Reader, genie: str, node: str = "") -> dict[str, dict[str, Any]]:
    """Return the running agent's pod on *node*, or on every node, by the node's name.

    Raises KubeError with a sentence if there is none.
    """
    items = reader.list_all("pods", namespace=genie, selector=SELECTOR)
    if items is None:
        message = f"nodes are asked through pods in namespace {genie}, which you may not list"
        raise KubeError(0, "Forbidden", message)
    running = [each for each in items if (each.get("status") or {}).get("phase") == "Running"]
    pods = {(each.get("spec") or {}).get("nodeName", ""): each for each in running}
    if node in pods:
        return {node: pods[node]}
    if node:
        listed = shorten(tuple(sorted(pods))) or "none"
        message = (
            f"node {node}: no running agent in namespace {genie} (nodes with one: {listed}); "
            f"kubectl -n {genie} get pods -o wide shows why"
        )
        raise KubeError(0, "NoAgent", message)
    if not pods:
        message = f"no running agent in namespace {genie}; kubectl genie status says more"
        raise KubeError(0, "NoAgent", message)
    return pods


def genie_command(pod: dict[str, Any], words: Sequence[str]) -> list[str]:
    """Return the command that runs the node's ``genie`` with *words*, in the node's own root.

    Its directory is the one that the agent installs into, which k3s has elsewhere.
    """
    containers = (pod.get("spec") or {}).get("containers") or []
    settings = [each for container in containers for each in container.get("env") or []]
    directories = [each.get("value") for each in settings if each.get("name") == BIN_DIR_SETTING]
    directory = next(filter(None, directories), BIN_DIR)
    return ["chroot", "/host", f"{directory}/genie", *words]


def log_path(namespace: str, pod: str, container: str, lines: int) -> str:
    """Return the path of the last *lines* of a container's log."""
    path = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}/log"
    return f"{path}?container={quote(container)}&tailLines={lines}"


def read_report(node: str, ran: Ran) -> Any:
    """Return the JSON that the command printed on *node*; None for none. Raises KubeError."""
    try:
        return json.loads(ran.stdout or "null")
    except ValueError:
        message = f"node {node}: its genie printed no JSON; its version may be another one"
        raise KubeError(0, "NoReport", f"{message}: kubectl genie version") from None
