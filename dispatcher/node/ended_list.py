"""Pass the ids of containers that have a record but no longer exist from the reaper to the agent.

Only the reaper can ask the container runtime and see the host's network namespaces. The agent needs
the list because such records keep Genie from being removed. It is a file in ``stateDir`` with one
id a line, and there is no file while the list is empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from dispatcher.node import atomic_file
from dispatcher.state.store import read_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FILE_NAME = ".reaper-gone"

log = structlog.get_logger("reaper")


def write(state_dir: Path, containers: Iterable[str]) -> None:
    """Write the ids of *containers* for the agent.

    A failure is only logged, since the reaper writes the list again in its next pass.
    """
    ids = set(containers)
    if ids == read(state_dir):
        return
    try:
        content = "\n".join(sorted(ids)).encode()
        atomic_file.replace_or_remove(state_dir / FILE_NAME, content, 0o600)
    except OSError as error:
        log.warning(
            "cannot pass the list of containers that no longer exist to the agent", error=str(error)
        )


def read(state_dir: Path) -> set[str]:
    """Return the ids of the containers that no longer exist."""
    try:
        return set(read_file(str(state_dir / FILE_NAME)).decode(errors="replace").split())
    except OSError:
        return set()
