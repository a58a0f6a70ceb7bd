"""Build the image twice and compare: ``python -m tests.devcluster.build.imagecompare``.

The comparison covers /opt/genie, which is everything that the Dockerfile adds to its base: names,
types, owners, permissions, times, targets of links, and content. The builds share only the base
and the registry of Python packages; each takes as long as a first build.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import IO, NamedTuple

from tests.devcluster.build import imagebuild
from tests.devcluster.commands import step

ROOT = "opt/genie"


class ImageEntry(NamedTuple):
    """One file, folder or link of an image."""

    entry_type: bytes
    owner: tuple[int, int]
    mode: int
    time: float
    target: str
    digest: str


def content(archive: Path) -> dict[str, ImageEntry]:
    """Return the entries of an image archive (docker-archive) below :data:`ROOT`, by name."""
    entries: dict[str, ImageEntry] = {}
    with tarfile.open(archive) as image:
        [manifest] = json.load(_open(image, image.getmember("manifest.json")))
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=_open(image, image.getmember(layer))) as files:
                entries |= {
                    member.name: _entry(files, member)
                    for member in files
                    if member.name == ROOT or member.name.startswith(f"{ROOT}/")
                }
    return entries


def _open(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    if member.issym() or member.islnk():  # a layer that is shared with another image
        member = archive.getmember(member.linkname.removeprefix("../"))
    file = archive.extractfile(member)
    if file is None:
        raise ValueError(f"{member.name} is not a file")
    return file


def _entry(files: tarfile.TarFile, member: tarfile.TarInfo) -> ImageEntry:
    digest = ""
    if member.isreg():
        digest = hashlib.sha256(_open(files, member).read()).hexdigest()
    owner = (member.uid, member.gid)
    return ImageEntry(member.type, owner, member.mode, member.mtime, member.linkname, digest)


def main(argv: list[str] | None = None) -> int:
    """Build twice, compare, print the differences; return 0 if there are none."""
    argparse.ArgumentParser(
        prog="python -m tests.devcluster.build.imagecompare",
        description=(
            "Build the project's image twice without a cache and compare what it adds to its base "
            f"(/{ROOT}). Print each difference; exit with 1 if there is one."
        ),
    ).parse_args(argv)

    images = []
    with tempfile.TemporaryDirectory() as scratch:
        for number in ("first", "second"):
            with step(f"{number} build, without a cache"):
                folder = Path(scratch) / number
                folder.mkdir()
                images.append(content(imagebuild.build_anew(folder)))
    first, second = images
    differing = sorted(
        name for name in first.keys() | second.keys() if first.get(name) != second.get(name)
    )
    for name in differing:
        print(f"{name}: first {first.get(name)}, second {second.get(name)}")
    print(f"{len(differing)} of {len(first)} entries of /{ROOT} differ")
    return 1 if differing or not first else 0


if __name__ == "__main__":
    sys.exit(main())
