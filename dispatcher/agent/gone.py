"""Which containers with a record the runtime no longer has: the reaper knows, the agent says so.

How it works: a file in the folder of the records, which both containers share: one id a line.
No file: none is known to be gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from dispatcher.agent import files
from dispatcher.plugin.store import read_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NAME = ".reaper-gone"

log = structlog.get_logger("gone")


def write(state_dir: Path, containers: Iterable[str]) -> None:
    """Leave the ids of *containers* for the agent.

    Where the folder cannot be written nothing happens; the next look comes here again.
    """
    ids = set(containers)
    if ids == read(state_dir):
        return
    try:
        if ids:
            files.replace(state_dir / NAME, "\n".join(sorted(ids)).encode(), 0o600)
        else:
            (state_dir / NAME).unlink(missing_ok=True)
    except OSError as error:
        log.warning("cannot write which containers are gone", error=str(error))


def read(state_dir: Path) -> set[str]:
    """Return the ids of containers that are gone."""
    try:
        return set(read_file(str(state_dir / NAME)).decode(errors="replace").split())
    except OSError:
        return set()
