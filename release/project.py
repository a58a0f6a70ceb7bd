"""What is released: the version, and the commit from which it is built."""

from __future__ import annotations

import datetime as dt
import os
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.devcluster.commands import run

if TYPE_CHECKING:
    from pathlib import Path


class ReleaseError(Exception):
    """A release cannot be built: the message names the object, the problem and the fix."""


@dataclass(frozen=True, slots=True)
class Project:
    """A tree of sources to release."""

    tree: Path
    version: str
    revision: str
    """The commit; with the suffix ``-dirty`` if the tree has changes or new files."""
    epoch: int
    """The time of every artifact and its files, in seconds since 1970."""
    tags: tuple[str, ...] = ()

    @property
    def created(self) -> dt.datetime:
        """Return the time of every artifact."""
        return dt.datetime.fromtimestamp(self.epoch, dt.UTC)

    def check_final(self) -> None:
        """Raise ReleaseError if the tree is not exactly the commit with the tag of the version."""
        if self.revision.endswith("-dirty"):
            raise ReleaseError(
                f"{self.tree} has changes or new files that are not committed: commit them, or put"
                " them away with `git stash --include-untracked`"
            )
        if f"v{self.version}" not in self.tags:
            raise ReleaseError(
                f"commit {self.revision} has no tag v{self.version}: tag it, or correct the version"
                " in pyproject.toml"
            )


def read_project(tree: Path) -> Project:
    """Return the project in a clone of its repository.

    The time is SOURCE_DATE_EPOCH, or else that of the commit.
    """
    text = (tree / "pyproject.toml").read_text()
    version = tomllib.loads(text)["project"]["version"]
    revision, epoch = _git(tree, "show", "--no-patch", "--format=%H %ct", "HEAD").split()
    # New files count: wheel, chart and image take folders as they are. Ignored files do not count.
    changes = _git(tree, "status", "--porcelain", "--untracked-files=normal")
    return Project(
        tree,
        version,
        f"{revision}-dirty" if changes else revision,
        int(os.environ.get("SOURCE_DATE_EPOCH") or epoch),
        tuple(_git(tree, "tag", "--points-at", "HEAD").split()),
    )


def _git(tree: Path, *words: str) -> str:
    # The tree may belong to another user than root, who builds releases. git refuses it because its
    # configuration can name programs to run; but this very program comes from that tree, too.
    return run(["git", "-C", tree, "-c", "safe.directory=*", *words]).stdout.strip()
