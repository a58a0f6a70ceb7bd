"""Pass the reaper's last error to the agent, which can emit Events: the reaper has no API access.

The error is one sentence in a file of ``stateDir``, whose changes wake the agent. Without an error
there is no file. ``genie doctor`` reads it as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from dispatcher.node import atomic_file
from dispatcher.state.store import REAPER_PROBLEM, read_file

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger("reaper")


def write(state_dir: Path, problem: str) -> None:
    """Write *problem* for the agent; "" removes the file.

    A failure is only logged, since the reaper writes the file again in its next pass.
    """
    if problem == read(state_dir):
        return
    try:
        atomic_file.replace_or_remove(state_dir / REAPER_PROBLEM, problem.encode(), 0o600)
    except OSError as error:
        log.warning("cannot pass a problem to the agent", problem=problem, error=str(error))


def read(state_dir: Path) -> str:
    """Return the reaper's problem, or ""."""
    try:
        return read_file(str(state_dir / REAPER_PROBLEM)).decode(errors="replace")
    except OSError:
        return ""
