"""What keeps the reaper from its work, told to the agent, which has a voice: the reaper has none.

How it works: one sentence in a file of the folder that both share, the records'. Changes there
are what the agent's thread of the records waits for. No file: no complaint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from dispatcher.node import atomic_file
from dispatcher.state.store import REAPER_PROBLEM, read_file

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger("complaint")


def write(state_dir: Path, sentence: str) -> None:
    """Leave *sentence* for the agent, or take back what was left if it is "".

    Where the folder cannot be written nothing happens; the next look comes here again.
    """
    if sentence == read(state_dir):
        return
    try:
        if sentence:
            atomic_file.replace(state_dir / REAPER_PROBLEM, sentence.encode(), 0o600)
        else:
            (state_dir / REAPER_PROBLEM).unlink(missing_ok=True)
    except OSError as error:
        log.warning("the agent cannot be told", sentence=sentence, error=str(error))


def read(state_dir: Path) -> str:
    """Return the sentence that was left, or ""."""
    try:
        return read_file(str(state_dir / REAPER_PROBLEM)).decode(errors="replace")
    except OSError:
        return ""
