"""Call the plugin that the agent installed on a node, as a container runtime does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.cluster.support.agents import CONFLIST, LAUNCHER

if TYPE_CHECKING:
    from tests.devcluster.node.node import Node


def call(
    node: Node, command: str, container: str, *, netns: str = "", check: bool = True, **conf: Any
) -> None:
    """Run one command for *container*, in the network namespace *netns* (default: of its name).

    *conf* are keys of Genie's configuration besides those of the installed conflist. Raises
    CommandError for another exit code than 0, unless *check* is false.
    """
    own = json.loads(node.path(CONFLIST).read_text())["plugins"][0]
    environment = [
        "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", f"CNI_COMMAND={command}",
        f"CNI_CONTAINERID={container}", f"CNI_NETNS={netns or f'/run/netns/{container}'}",
        "CNI_IFNAME=eth0", "CNI_PATH=/opt/cni/bin",
    ]  # fmt: skip
    stdin = json.dumps({**own, "name": "genie", "cniVersion": "1.0.0", **conf})
    node.run([*environment, LAUNCHER], input=stdin, check=check)
