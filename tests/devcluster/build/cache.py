"""Cache what takes long to build: folders named after a digest of their inputs.

A folder appears atomically: it is filled under another name and renamed. Builds of one category
run one at a time; the second waits for the first and then finds its result.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tests.devcluster.commands import held_locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


def cache_folder() -> Path:
    """Return the folder of the cache: $GENIE_CACHE, or one in the user's cache folder."""
    folder = os.environ.get("GENIE_CACHE")
    if folder:
        return Path(folder).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "genie-cluster").absolute()


def digest(parts: Iterable[str | bytes]) -> str:
    """Return a short digest of a list of parts, which depends on where one part ends."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(f"{len(data)}:".encode())
        total.update(data)
    return total.hexdigest()[:16]


def digest_files(folder: Path, files: Iterable[Path]) -> str:
    """Return a short digest of the content, relative paths and executable bits of files."""
    parts: list[str | bytes] = []
    for file in sorted(files):
        executable = bool(file.stat().st_mode & 0o100)
        parts += [f"{file.relative_to(folder)} {executable}", file.read_bytes()]
    return digest(parts)


@contextlib.contextmanager
def locked(lock: Path) -> Iterator[None]:
    """Hold a file lock; wait until it is free.

    The kernel releases it when this process, and every program that it was running, has ended.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        held_locks.add(file.fileno())
        try:
            yield
        finally:
            held_locks.discard(file.fileno())
            fcntl.flock(file, fcntl.LOCK_UN)


def is_cached(category: str, key: str) -> bool:
    """Return whether a folder is in the cache."""
    return (cache_folder() / category / key).is_dir()


def cached(category: str, key: str, build: Callable[[Path], None], *, keep: int = 3) -> Path:
    """Return a folder of the cache; if it is missing, `build` fills it.

    Of each category, the `keep` folders that were used last are kept; the others are deleted.
    """
    home = cache_folder() / category
    folder = home / key
    if folder.is_dir():
        os.utime(folder)
        return folder
    with locked(home / "lock"):
        if folder.is_dir():
            return folder
        for unfinished in home.glob("*.part"):  # of a build that was killed
            shutil.rmtree(unfinished)
        part = home / f"{key}.part"
        part.mkdir()
        build(part)
        part.rename(folder)
        folders = sorted((f for f in home.iterdir() if f.is_dir()), key=lambda f: f.stat().st_mtime)
        for old in folders[:-keep]:
            shutil.rmtree(old)
    return folder
