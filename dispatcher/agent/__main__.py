"""``python -m dispatcher.agent``: settings in, threads out, until SIGTERM."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING

import structlog

from dispatcher.agent.agent import Agent
from dispatcher.agent.installer import InstallError, Plugin
from dispatcher.kube import logs
from dispatcher.kube.client import Kube, KubeError
from dispatcher.kube.errors import InvalidSettingsError
from dispatcher.node.settings_loader import load

if TYPE_CHECKING:
    from collections.abc import Sequence

USER_AGENT = "cni-genie-agent"

log = structlog.get_logger("agent")


def main(arguments: Sequence[str]) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        settings = load(arguments)
        logs.configure(settings.log_level)
        plugin = Plugin(settings.plugin_source, settings.cni_bin_dir)
        agent = Agent(settings, plugin, Kube.load(USER_AGENT))
        agent.start()
    except (InvalidSettingsError, InstallError, KubeError, OSError) as error:
        print(f"the agent cannot start: {error}", file=sys.stderr)  # noqa: T201 - before the log
        return 1
    log.info("agent started", node=settings.node_name, plugin=plugin.version, mode=settings.mode)
    stopping.wait()
    log.info("agent stops")
    agent.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
