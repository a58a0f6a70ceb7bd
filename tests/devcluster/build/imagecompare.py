"""Build the image twice and compare: ``python -m tests.devcluster.build.imagecompare``.

Two builds must give the same archive, byte by byte. If they do not, the command prints in which
files the layers differ: names, types, owners, permissions, times, targets of links, and content.
The builds share only the base and the registry of Python packages; each takes as long as a first
build.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, cast

from tests.devcluster.build import imagebuild
from tests.devcluster.build.oci import image_digest, image_files
from tests.devcluster.commands import step

if TYPE_CHECKING:
    import tarfile


class ImageEntry(NamedTuple):
    """One file, folder or link of an image."""

    entry_type: bytes
    owner: tuple[int, int]
    mode: int
    time: float
    target: str
    digest: str


def content(archive: Path) -> dict[str, ImageEntry]:
    """Return the entries of an image archive, by name; a higher layer hides a lower one."""
    return {member.name: _entry(layer, member) for layer, member in image_files(archive)}


def _entry(layer: tarfile.TarFile, member: tarfile.TarInfo) -> ImageEntry:
    digest = ""
    if member.isreg():
        file = cast("IO[bytes]", layer.extractfile(member))
        digest = hashlib.sha256(file.read()).hexdigest()
    owner = (member.uid, member.gid)
    return ImageEntry(member.type, owner, member.mode, member.mtime, member.linkname, digest)


def build_twice(folder: Path) -> list[Path]:
    """Build the image twice without a cache, below a folder; return the two archives."""
    archives = []
    for number in ("first", "second"):
        with step(f"{number} build, without a cache"):
            (folder / number).mkdir()
            archives.append(imagebuild.build_anew(folder / number))
    return archives


def differences(first: Path, second: Path) -> list[str]:
    """Return the differences of two image archives, one line each."""
    if first.read_bytes() == second.read_bytes():
        return []
    lines = [f"the image: first {image_digest(first)}, second {image_digest(second)}"]
    one, two = content(first), content(second)
    lines += [
        f"{name}: first {one.get(name)}, second {two.get(name)}"
        for name in sorted(one.keys() | two.keys())
        if one.get(name) != two.get(name)
    ]
    return lines


def main(argv: list[str] | None = None) -> int:
    """Build twice, compare, print the differences; return 0 if there are none."""
    argparse.ArgumentParser(
        prog="python -m tests.devcluster.build.imagecompare",
        description=(
            "Build the project's image twice without a cache and compare what it adds to its base "
            "and how. Print each difference; exit with 1 if there is one."
        ),
    ).parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        lines = differences(*build_twice(Path(scratch)))
    print("\n".join(lines or ["the two archives are identical"]))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
