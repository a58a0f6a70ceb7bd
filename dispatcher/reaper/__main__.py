"""``python -m dispatcher.reaper``: start the reaper's threads and run until SIGTERM."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

import structlog

from dispatcher import networks
from dispatcher.node import startup, status_answers
from dispatcher.node.loop import Loop
from dispatcher.reaper import cri, plugin_del, plugin_status
from dispatcher.reaper.host_paths import resolve
from dispatcher.reaper.old_versions import OldVersions
from dispatcher.reaper.reaper import Reaper
from dispatcher.reaper.settings_reader import SettingsReader
from dispatcher.reaper.status_poll import StatusPoll
from dispatcher.state import del_call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dispatcher.conf import Conf
    from dispatcher.node.record_cache import CachedRecord
    from dispatcher.node.settings import NodeSettings
    from dispatcher.node.status_answers import StatusAnswer

WATCH_SECONDS = 4.0
"""How often the main thread checks for new settings, and that no thread is stuck."""

log = structlog.get_logger("reaper")


def main(arguments: Sequence[str]) -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    return startup.run("reaper", arguments, _serve)


def _serve(settings: NodeSettings, stopping: threading.Event) -> int:
    reader, have_changed = SettingsReader(settings), threading.Event()
    loops = (
        _make_loop(settings, reader, have_changed),
        _make_status_loop(settings, SettingsReader(settings)),
    )
    for loop in loops:
        loop.start()
    log.info("reaper started", node=settings.node_name)
    if reader.read() is None:
        log.info("waiting for the agent to accept settings")

    # No probe can ask the reaper, which has no port. If it is stuck (a delegate cannot even be
    # killed), it exits, so that the restarts of its container show that.
    while not stopping.wait(WATCH_SECONDS):
        if not all(loop.is_progressing for loop in loops):
            log.error("a thread of the reaper is stuck: exiting, so that kubelet restarts it")
            return 1
        if reader.has_changed():
            have_changed.set()
            loops[0].wake.set()
    return 0


def _make_loop(
    settings: NodeSettings, reader: SettingsReader, have_changed: threading.Event
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
        allow_force=reader.allow_force,
    )

    def make_pass() -> None:
        in_force = reader.read()
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


def _make_status_loop(settings: NodeSettings, reader: SettingsReader) -> Loop:
    """Return the loop that asks the networks for their STATUS, while Genie stays on the node."""
    root, state_dir = settings.host_root, resolve(settings.host_root, settings.state_dir)
    conf_dirs = [str(resolve(root, each)) for each in settings.conf_dirs]

    def ask(conf: Conf) -> StatusAnswer:
        loop.beat()
        return plugin_status.ask(conf, root, settings.bin_dirs)

    poll = StatusPoll(ask, settings.status_seconds, time.monotonic)

    def make_pass() -> None:
        in_force = reader.read()
        if in_force is None or in_force.mode.is_leaving:
            return
        scan = networks.scan(conf_dirs, in_force.ignored_networks)
        answers = poll.answers(scan.confs)
        status_answers.write(state_dir, time.time(), answers)

    loop = Loop("status", make_pass, settings.status_seconds)
    return loop


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
