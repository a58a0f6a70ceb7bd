"""Reads the settings that the agent has accepted: the reaper acts on these only.

The agent writes what is in force to a file of ``stateDir``
(:mod:`dispatcher.node.accepted_settings`). Before the first such file the reaper does nothing. When
Genie leaves the node, the agent removes the file after the last record, and its last content counts
from then on.

The mode "remove --force" releases the networks of running pods, so it needs more than that file:
the ConfigMap, which the reaper mounts as well, must still contain the settings that the agent
accepted. If somebody takes the mode back, the reaper stops at once, while the agent may wait for
its random time, or be down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher.kube.errors import InvalidSettingsError
from dispatcher.node import accepted_settings, settings_dir
from dispatcher.reaper.host_paths import resolve

if TYPE_CHECKING:
    from dispatcher.node.accepted_settings import AcceptedSettings
    from dispatcher.node.settings import NodeSettings


class SettingsReader:
    """Reads what the agent of this node has accepted; *settings* has all other settings."""

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._state_dir = resolve(settings.host_root, settings.state_dir)
        self._accepted: AcceptedSettings | None = None

    def read(self) -> NodeSettings | None:
        """Return the settings to act on, or None if the agent has accepted none yet."""
        self._accepted = accepted_settings.read(self._state_dir) or self._accepted
        return self._settings.with_live(self._accepted.in_force) if self._accepted else None

    def has_changed(self) -> bool:
        """Return whether the agent has accepted others since :meth:`read`."""
        return accepted_settings.read(self._state_dir) not in {None, self._accepted}

    def allow_force(self) -> bool:
        """Return whether the mode "remove --force" is in force and has not been revoked."""
        if self.has_changed() or not self._accepted or not self._accepted.in_force.mode.is_forced:
            return False
        if self._settings.settings_dir is None:
            return True
        try:
            return settings_dir.read(self._settings.settings_dir) == self._accepted.wanted
        except InvalidSettingsError:
            return False
