"""``python -m dispatcher.agent``: start the agent's threads and run until SIGTERM."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import structlog

from dispatcher.agent.agent import Agent
from dispatcher.agent.installer import InstallError, PluginInstaller
from dispatcher.kube.client import Kube, KubeError
from dispatcher.node import startup

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from dispatcher.node.settings import NodeSettings

USER_AGENT = "cni-genie-agent"

log = structlog.get_logger("agent")


def main(arguments: Sequence[str]) -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    return startup.run("agent", arguments, _serve)


def _serve(settings: NodeSettings, stopping: threading.Event) -> int:
    try:
        plugin = PluginInstaller(settings.plugin_source, settings.cni_bin_dir)
        agent = Agent(settings, plugin, Kube.load(USER_AGENT))
        agent.start()
    except (InstallError, KubeError, OSError) as error:
        raise startup.StartError(error) from None

    log.info("agent started", node=settings.node_name, plugin=plugin.version)
    stopping.wait()
    log.info("agent stops")
    agent.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
