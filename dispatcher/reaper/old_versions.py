"""Remove versions of the plugin that are no longer used."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import structlog

from dispatcher import keys
from dispatcher.node import atomic_file
from dispatcher.node.plugin_layout import VERSIONS_FOLDER
from dispatcher.reaper import host_state
from dispatcher.reaper.host_paths import resolve

if TYPE_CHECKING:
    from pathlib import Path

    from dispatcher.node.settings import NodeSettings

log = structlog.get_logger("versions")


class OldVersions:
    """Remove the folders of versions that were unused in two passes in a row.

    A version is used while the launcher names it or a process of the host runs its interpreter. Two
    passes are needed: a runtime that has just read the launcher may not have started the process.
    """

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._unused: set[str] = set()

    def prune(self) -> list[str]:
        """Make one pass; return the versions that were removed."""
        bin_dir = resolve(self._settings.host_root, self._settings.cni_bin_dir)
        try:
            launcher = (bin_dir / keys.PLUGIN_TYPE).read_bytes()
            versions = _versions(bin_dir / VERSIONS_FOLDER)
        except OSError:
            self._unused.clear()  # the agent is about to install the plugin, or to remove it
            return []

        first_line = launcher.partition(b"\n")[0].decode(errors="replace")
        used_paths = {first_line, *host_state.executables(self._settings.host_root)}
        unused = {
            version
            for version in versions
            if not any(f"/{VERSIONS_FOLDER}/{version}/" in path for path in used_paths)
        }
        removed = sorted(unused & self._unused)  # unused in two passes: see the class
        self._unused = unused - set(removed)

        for version in removed:
            shutil.rmtree(bin_dir / VERSIONS_FOLDER / version, ignore_errors=True)
            log.info("removed an unused version of the plugin", version=version)
        return removed


def _versions(folder: Path) -> set[str]:
    """Return the names of the installed versions. Raises OSError."""
    return {
        path.name
        for path in folder.iterdir()
        # The agent copies into temporary folders, however long that takes, and sweeps them itself.
        if path.is_dir() and not path.name.startswith(atomic_file.TEMPORARY_PREFIX)
    }
