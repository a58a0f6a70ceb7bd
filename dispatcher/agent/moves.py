"""Notices when a network's name moves from one configuration file to another.

How it works: the file that has each name is remembered, in :data:`MEMORY` in the state directory,
so a move while no agent ran is noticed, too. A name keeps its file while it has none: an installer
that removes its file and writes it again moves nothing.

Rules: a file that is rewritten is no move, whatever is in it; one that is renamed is one, once.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from dispatcher.agent import files
from dispatcher.plugin.store import read_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MEMORY = ".agent-networks"
"""The file that says which file had each name last: ``{"<network>": "<path>"}``."""


class Move(NamedTuple):
    """Names that went from the file *old* to the file *new*."""

    names: tuple[str, ...]
    old: str
    new: str

    @property
    def sentence(self) -> str:
        """What happened, and for whom."""
        names = ", ".join(f'"{name}"' for name in self.names)
        return (
            f"network {names} moved from {self.old} to {self.new}: "
            "new pods get what the new file says, running pods keep what they have"
        )


class Moves:
    """Which file has each name, remembered in *state_dir*."""

    def __init__(self, state_dir: Path) -> None:
        self._memory = state_dir / MEMORY
        self._on_disk = _load(self._memory)
        self._places = dict(self._on_disk)

    def look(self, places: Mapping[str, str]) -> list[Move]:
        """Return what has moved; *places* has the file of each name that has one now."""
        moves: dict[tuple[str, str], list[str]] = {}
        for name, new in sorted(places.items()):
            old = self._places.get(name, new)
            if old != new:
                moves.setdefault((old, new), []).append(name)

        self._places |= places
        self._save()
        return [Move(tuple(names), old, new) for (old, new), names in moves.items()]

    def _save(self) -> None:
        if self._places == self._on_disk:
            return
        try:
            files.replace(self._memory, json.dumps(self._places).encode(), 0o600)
        except OSError:
            return  # tried again with the next look; doctor reports such a folder by itself
        self._on_disk = dict(self._places)


def _load(memory: Path) -> dict[str, str]:
    """Return what an earlier agent left; of a file that cannot be read, nothing."""
    try:
        content = json.loads(read_file(str(memory)))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {name: path for name, path in content.items() if isinstance(path, str)}
