"""``python -m dispatcher.reaper``: start the reaper's thread and run until SIGTERM."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import structlog

from dispatcher.node import startup
from dispatcher.node.loop import Loop
from dispatcher.reaper import cri, plugin_del
from dispatcher.reaper.acknowledged_settings import AcknowledgedSettings
from dispatcher.reaper.host_paths import resolve
from dispatcher.reaper.old_versions import OldVersions
from dispatcher.reaper.reaper import Reaper
from dispatcher.state import del_call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dispatcher.node.record_cache import CachedRecord
    from dispatcher.node.settings import NodeSettings

WATCH_SECONDS = 4.0
"""How often the main thread checks for new settings, and that the reaper's thread is not stuck."""

log = structlog.get_logger("reaper")


def main(arguments: Sequence[str]) -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    return startup.run("reaper", arguments, _serve)


def _serve(settings: NodeSettings, stopping: threading.Event) -> int:
    acknowledged, have_changed = AcknowledgedSettings(settings), threading.Event()
    loop = _make_loop(settings, acknowledged, have_changed)
    loop.start()
    log.info("reaper started", node=settings.node_name)
    if acknowledged.read() is None:
        log.info("waiting for the agent to acknowledge settings")

    # No probe can ask the reaper, which has no port. If it is stuck (a delegate cannot even be
    # killed), it exits, so that the restarts of its container show that.
    while not stopping.wait(WATCH_SECONDS):
        if not loop.is_progressing:
            log.error("the reaper's thread is stuck: exiting, so that kubelet restarts it")
            return 1
        if acknowledged.has_changed():
            have_changed.set()
            loop.wake.set()
    return 0


def _make_loop(
    settings: NodeSettings, acknowledged: AcknowledgedSettings, have_changed: threading.Event
) -> Loop:
    """Return the loop of the reaper's passes.

    A pass begins after each period. When *have_changed* is set, the loop only applies the mode of
    the new settings: the guarantees count passes, so these must not follow one another quickly.
    """
    versions = OldVersions(settings)

    def list_sandboxes() -> set[str]:
        # Resolved each time: the runtime may make the links to its socket later.
        path = resolve(settings.host_root, settings.runtime_socket)
        return cri.list_sandboxes(path, settings.pod_uid)

    def run_del(cached: CachedRecord) -> str:
        loop.beat()
        return plugin_del.run(reaper.settings, cached)

    reaper = Reaper(
        settings,
        list_sandboxes=list_sandboxes,
        run_del=run_del,
        allow_force=acknowledged.allow_force,
    )

    def make_pass() -> None:
        in_force = acknowledged.read()
        if in_force is None:
            return

        reaper.settings = in_force
        if have_changed.is_set():
            have_changed.clear()
            reaper.apply_mode()
        else:
            reaper.run_once()
            versions.prune()

    # Between two beats there is a wait, or one DEL for each CNI_IFNAME (mostly there is one).
    stuck_after = settings.reap_look_seconds + 3 * (settings.deadline_seconds + del_call.MARGIN)
    loop = Loop("reap", make_pass, settings.reap_look_seconds, stuck_after=stuck_after)
    return loop


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
