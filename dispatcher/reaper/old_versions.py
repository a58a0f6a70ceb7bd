"""Removes versions of the plugin that nothing uses any more.

A call keeps the version that it started from, so a folder goes only when the launcher names
another one, no process of the host runs the interpreter in it, and both were so at the look
before, too: a launcher that was just read may not have become a process yet.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import structlog

from dispatcher import keys
from dispatcher.node import atomic_file
from dispatcher.node.plugin_layout import VERSIONS_FOLDER
from dispatcher.reaper.host_paths import resolve

if TYPE_CHECKING:
    from pathlib import Path

    from dispatcher.node.settings import NodeSettings

log = structlog.get_logger("versions")


class Versions:
    """The versions of the plugin on the node."""

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._idle: set[str] = set()

    def prune(self) -> list[str]:
        """Remove what was idle at two looks in a row; returns the names of the versions."""
        root = self._settings.host_root
        directory = resolve(root, self._settings.cni_bin_dir)
        try:
            launcher = (directory / keys.PLUGIN_TYPE).read_bytes()
            # The agent may be copying just now, however long that takes; it sweeps those itself.
            folders = {
                path.name
                for path in (directory / VERSIONS_FOLDER).iterdir()
                if path.is_dir() and not path.name.startswith(atomic_file.TEMPORARY_PREFIX)
            }
        except OSError:
            self._idle.clear()  # the agent is at work, or has not begun
            return []
        first = launcher.partition(b"\n")[0].decode(errors="replace")
        running = _programs(root)
        before, self._idle = self._idle, set()
        removed = []
        for name in sorted(folders):
            part = f"/{VERSIONS_FOLDER}/{name}/"
            if part in first or any(part in program for program in running):
                continue
            if name not in before:
                self._idle.add(name)
                continue
            shutil.rmtree(directory / VERSIONS_FOLDER / name, ignore_errors=True)
            log.info("removed an old version of the plugin", version=name)
            removed.append(name)
        return removed


def _programs(root: Path) -> set[str]:
    """Return the executables of all processes of the host."""
    found = set()
    for process in (root / "proc").iterdir():
        if process.name.isdecimal():
            try:
                found.add(str((process / "exe").readlink()))
            except OSError:
                continue  # it ended, or is the kernel's
    return found
