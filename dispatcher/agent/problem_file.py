"""Leaves what the agent knows on the node for ``genie doctor``, which cannot ask the agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher.node import atomic_file

if TYPE_CHECKING:
    from pathlib import Path


class ProblemFile:
    """The file *path* with problems, a sentence a line; there is no file without a problem."""

    def __init__(self, path: Path) -> None:
        self._path = path
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
