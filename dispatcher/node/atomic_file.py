"""Write files so that no reader sees half of one, and none is lost in a power cut.

The content is complete and synced before the file gets its name, by ``rename`` in one directory. A
crash can leave only a temporary name. It begins with ``.genie-``, no container runtime reads it,
and :func:`sweep` removes it.
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
    """Write *data* to *path* with the permissions *mode*, atomically and durably.

    Raises OSError.
    """
    scratch = temporary_path(path.parent)
    try:
        write(scratch, data, mode)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    sync(path.parent)


def replace_or_remove(path: Path, data: bytes, mode: int) -> None:
    """Write *data* to *path* like :func:`replace`; remove the file if there is no data."""
    if data:
        replace(path, data, mode)
    else:
        path.unlink(missing_ok=True)


def write(path: Path, data: bytes, mode: int) -> None:
    """Create and sync *path* with *data* and *mode*, whatever the umask. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor
        file.write(data)
        file.flush()
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)


def sync(directory: Path) -> None:
    """Sync the names in *directory* to the disk. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(directory: Path) -> None:
    """Remove the temporary files and folders that a crash left in *directory*, if possible."""
    for path in directory.glob(f"{TEMPORARY_PREFIX}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
