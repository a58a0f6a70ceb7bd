"""Writing files so that nobody ever reads half of one.

Rules: content is complete and on the disk before it gets its name, and the name changes in
one step (``rename`` in one directory). What a crash may leave behind is a name that begins
with ``.genie-``, which no container runtime reads and :func:`sweep` removes.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

TEMPORARY_PREFIX = ".genie-"
"""How the name of a file or folder begins that is not complete yet."""


def temporary_path(directory: Path) -> Path:
    """Return a new temporary name in *directory*."""
    return directory / f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}"


def replace(path: Path, data: bytes, mode: int) -> None:
    """Give *path* the content *data* and the permissions *mode*, at once and durably."""
    scratch = temporary_path(path.parent)
    try:
        write(scratch, data, mode)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write(path: Path, data: bytes, mode: int) -> None:
    """Create *path* with *data* and *mode*, whatever the umask is, and bring it to the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor
        file.write(data)
        file.flush()
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)


def sync(directory: Path) -> None:
    """Bring the names in *directory* to the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(directory: Path) -> None:
    """Remove what a crash left of temporary files in *directory*, where that can be done."""
    for path in directory.glob(f"{TEMPORARY_PREFIX}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
