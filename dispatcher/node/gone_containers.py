"""Lists the containers that have a record but no longer exist.

How it works: the reaper writes their ids, one a line, to a file in the folder of the records. Only
the reaper can ask the container runtime and see the host's network namespaces. The agent reads the
file, since such a record keeps Genie from being removed. The file is absent while the list is
empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from dispatcher.node import atomic_file
from dispatcher.state.store import read_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NAME = ".reaper-gone"

log = structlog.get_logger("gone")


def write(state_dir: Path, containers: Iterable[str]) -> None:
    """Write the ids of *containers* for the agent.

    A failure is only logged, since the reaper writes the list again within a minute.
    """
    ids = set(containers)
    if ids == read(state_dir):
        return
    try:
        if ids:
            atomic_file.replace(state_dir / NAME, "\n".join(sorted(ids)).encode(), 0o600)
        else:
            (state_dir / NAME).unlink(missing_ok=True)
    except OSError as error:
        log.warning("cannot write the list of containers that are gone", error=str(error))


def read(state_dir: Path) -> set[str]:
    """Return the ids of the containers that no longer exist."""
    try:
        return set(read_file(str(state_dir / NAME)).decode(errors="replace").split())
    except OSError:
        return set()
