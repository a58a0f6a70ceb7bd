"""Write and verify SHA256SUMS, in the form of ``sha256sum``."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FILE = "SHA256SUMS"


def sha256(file: Path) -> str:
    """Return the digest of a file, in hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def write_sums(folder: Path) -> None:
    """Write the digests of all files of a folder to its SHA256SUMS."""
    files = sorted(file for file in folder.iterdir() if file.name != FILE)
    (folder / FILE).write_text("".join(f"{sha256(file)}  {file.name}\n" for file in files))


def wrong_files(folder: Path) -> list[str]:
    """Return the files of a folder that differ from its SHA256SUMS, are missing or not listed."""
    lines = (folder / FILE).read_text().splitlines()
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    existing = {file.name: sha256(file) for file in folder.iterdir() if file.name != FILE}
    names = listed.keys() | existing.keys()
    return sorted(name for name in names if listed.get(name) != existing.get(name))
