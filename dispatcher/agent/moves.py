"""Detects when a network's name moves from one configuration file to another.

The agent keeps the file of each name in :data:`STATE_FILE` in the state directory, so it
detects a move while no agent ran, too. A name that has no file keeps its last one for a day: an
installer that removes its file and writes it again moves nothing. After that day the name is
forgotten, so a network that is installed months later has not moved, and the file stays small.
The day starts anew when the agent does.

Rules: a file that is rewritten is no move, whatever it contains. A renamed file is a move.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from dispatcher.agent.state_file import StateFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STATE_FILE = ".agent-networks"
"""The file with the last file of each name: ``{"<network>": "<path>"}``."""

ABSENT_SECONDS = 86_400.0
"""How long a name keeps its last file while it has none."""


class Move(NamedTuple):
    """Names that went from the file *old* to the file *new*."""

    names: tuple[str, ...]
    old: str
    new: str

    @property
    def sentence(self) -> str:
        """The message for a person."""
        names = ", ".join(f'"{name}"' for name in self.names)
        subject, verb = ("name", "belongs") if len(self.names) == 1 else ("names", "belong")
        return (
            f"the network {subject} {names} now {verb} to {self.new} (before: {self.old}): "
            f"new pods use {self.new}, running pods keep their networks"
        )


class Moves:
    """Keeps the file of each name in *state_dir*."""

    def __init__(self, state_dir: Path) -> None:
        self._state_file = StateFile(state_dir / STATE_FILE, str)
        self._places = dict(self._state_file.content)
        self._absent_since: dict[str, float] = {}

    def record_places(self, places: Mapping[str, str], now: float) -> list[Move]:
        """Record *places*, the file of each name that has one now; return the moves.

        *now* is a monotonic time in seconds.
        """
        moves: dict[tuple[str, str], list[str]] = {}
        for name, new in sorted(places.items()):
            old = self._places.get(name, new)
            if old != new:
                moves.setdefault((old, new), []).append(name)

        self._absent_since = {
            name: self._absent_since.get(name, now) for name in self._places.keys() - places.keys()
        }
        for name, since in self._absent_since.items():
            if now - since >= ABSENT_SECONDS:
                del self._places[name]

        self._places |= places
        # The next call tries again; doctor itself reports a folder that cannot be written.
        with contextlib.suppress(OSError):
            self._state_file.save(self._places)
        return [Move(tuple(names), old, new) for (old, new), names in moves.items()]
