"""Leaves the agent's problem on the node for ``genie doctor``, which cannot ask the agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher.node import atomic_file
from dispatcher.state import store

if TYPE_CHECKING:
    from pathlib import Path


class ProblemFile:
    """The file in *state_dir* with why the node is not as the settings say, a sentence a line."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / store.AGENT_PROBLEM
        self._written: str | None = None

    def write(self, problem: str) -> None:
        """Write *problem*, or remove the file if it is "".

        A directory that cannot be written is no error: the next call tries again, and doctor
        reports such a directory itself.
        """
        if problem == self._written:
            return
        try:
            if problem:
                atomic_file.replace(self._path, problem.encode() + b"\n", 0o600)
            else:
                self._path.unlink(missing_ok=True)
        except OSError:
            return
        self._written = problem

    def forget(self) -> None:
        """Write the file at the next call in any case: others may have removed it."""
        self._written = None
