"""The cache of everything that takes long to make: folders named after what went into them.

A folder appears whole or not at all: it is made under another name and renamed. One maker at a
time works on one kind of thing; a second one waits for it and then finds the result.
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
    """Return where the cache is: GENIE_CACHE, or `genie-cluster` in the user's cache folder."""
    given = os.environ.get("GENIE_CACHE")
    if given:
        return Path(given).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "genie-cluster").absolute()


def digest(parts: Iterable[str | bytes]) -> str:
    """Return a short name for the parts together; two lists of parts do not share one."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(f"{len(data)}:".encode())
        total.update(data)
    return total.hexdigest()[:16]


def digest_files(folder: Path, files: Iterable[Path]) -> str:
    """Return a short name for the content, relative paths and executable bits of files."""
    parts: list[str | bytes] = []
    for file in sorted(files):
        executable = bool(file.stat().st_mode & 0o100)
        parts += [f"{file.relative_to(folder)} {executable}", file.read_bytes()]
    return digest(parts)


@contextlib.contextmanager
def locked(lock: Path) -> Iterator[None]:
    """Hold a file lock; wait for whoever has it.

    It ends with the process, however that ends, and with the programs that it still ran then.
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


def is_cached(kind: str, key: str) -> bool:
    """Say whether `cached` would find a thing, without making it."""
    return (cache_folder() / kind / key).is_dir()


def cached(kind: str, key: str, make: Callable[[Path], None], *, keep: int = 3) -> Path:
    """Return the folder of a thing, made by `make` (which fills an empty folder) if need be.

    Of the things of one kind the `keep` that were used last stay, the others are deleted.
    """
    home = cache_folder() / kind
    folder = home / key
    if folder.is_dir():
        os.utime(folder)
        return folder
    with locked(home / "lock"):
        if folder.is_dir():
            return folder
        for unfinished in home.glob("*.part"):  # of a maker that was killed
            shutil.rmtree(unfinished)
        part = home / f"{key}.part"
        part.mkdir()
        make(part)
        part.rename(folder)
        folders = sorted((f for f in home.iterdir() if f.is_dir()), key=lambda f: f.stat().st_mtime)
        for old in folders[:-keep]:
            shutil.rmtree(old)
    return folder
