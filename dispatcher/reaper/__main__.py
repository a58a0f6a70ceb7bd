"""``python -m dispatcher.reaper``: settings in, one thread that frees, until SIGTERM.

A reaper that is stuck (a delegate that cannot even be killed) ends, so that its container's
restarts show it.
"""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING

import structlog

from dispatcher.kube import logs
from dispatcher.kube.errors import InvalidSettingsError
from dispatcher.node.loop import Loop
from dispatcher.node.settings_loader import load
from dispatcher.reaper import cri, plugin_del
from dispatcher.reaper.host_paths import resolve
from dispatcher.reaper.old_versions import Versions
from dispatcher.reaper.reaper import Reaper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dispatcher.node.record_cache import CachedRecord

WATCH_SECONDS = 30.0
"""How often it is looked whether the reaper still turns."""

log = structlog.get_logger("reaper")


def main(arguments: Sequence[str]) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        settings = load(arguments)
    except InvalidSettingsError as error:
        print(f"the reaper cannot start: {error}", file=sys.stderr)  # noqa: T201 - before the log
        return 1
    logs.configure(settings.log_level)
    versions = Versions(settings)

    def free(stored: CachedRecord) -> str:
        loop.beat()
        return plugin_del.run(settings, stored)

    reaper = Reaper(
        settings,
        ask=lambda: cri.sandboxes(
            resolve(settings.host_root, settings.runtime_socket), settings.pod_uid
        ),
        free=free,
    )

    def turn() -> None:
        reaper.turn()
        versions.prune()

    # Between two beats: a wait, and a DEL for each interface that was asked for (mostly it is one).
    silence = settings.reap_look_seconds + 3 * (settings.deadline_seconds + plugin_del.MARGIN)
    loop = Loop("reap", turn, settings.reap_look_seconds, silence=silence)
    loop.start()
    log.info("reaper started", node=settings.node_name)
    while not stopping.wait(WATCH_SECONDS):
        if not loop.is_alive:
            log.error("the reaper is stuck; its container is to be started anew")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
