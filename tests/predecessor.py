"""The predecessor: what a release before this tree is, taken from the history.

Upgrades and downgrades are tested against it. After a release :data:`COMMIT` is that release's.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

TREE = Path(__file__).parents[1]

COMMIT = "9b126213d844e21caedc831a6ce2cd573cd1f890"

FORMAT = 1
"""The format of its records."""

BUILD = "dispatcher.plugin.build"
PAYLOAD = "dispatcher.agent.payload"
INSTALLER = ("dispatcher.agent.plugin", "Plugin", "look")
RECORD = "dispatcher.plugin.record"
"""The names of its modules that tests start (of the installer, class and method, too).

They may be other ones in this tree.
"""


class NoPredecessorError(Exception):
    """The commit is not in this clone; the text says what to do."""


def export(folder: Path, commit: str = COMMIT) -> Path:
    """Put the predecessor's tree into *folder*, which must not exist; return *folder*.

    Raises :class:`NoPredecessorError`.
    """
    # The tree may belong to another user than root, who runs these tests.
    command = ["git", "-C", str(TREE), "-c", "safe.directory=*", "archive", "--format=tar", commit]
    result = subprocess.run(command, capture_output=True, check=False)
    if result.returncode:
        raise NoPredecessorError(
            f"commit {commit}, the predecessor, is not in the history of {TREE}: fetch all of it "
            f"(git fetch --unshallow). git says: {result.stderr.decode(errors='replace').strip()}"
        )
    folder.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-C", folder], input=result.stdout, check=True)
    return folder
