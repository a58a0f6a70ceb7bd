"""Build the image twice and compare the results: ``python -m tests.devcluster.build.imagecompare``.

What is compared is /opt/genie, all that the Dockerfile adds to its base: names, kinds, owners,
permissions, times, targets of links, and bytes. The two builds share nothing but the base and the
registry of Python packages; each takes as long as a first build does.
"""

from __future__ import annotations

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

    kind: bytes
    owner: tuple[int, int]
    mode: int
    time: float
    target: str
    digest: str


def content(archive: Path) -> dict[str, ImageEntry]:
    """Return what an image's archive (docker-archive) has below :data:`ROOT`, by name."""
    found: dict[str, ImageEntry] = {}
    with tarfile.open(archive) as image:
        [manifest] = json.load(_opened(image, image.getmember("manifest.json")))
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=_opened(image, image.getmember(layer))) as files:
                found |= {
                    member.name: _entry(files, member)
                    for member in files
                    if member.name == ROOT or member.name.startswith(f"{ROOT}/")
                }
    return found


def _opened(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    if member.issym() or member.islnk():  # a layer that another image has, too
        member = archive.getmember(member.linkname.removeprefix("../"))
    file = archive.extractfile(member)
    if file is None:
        raise ValueError(f"{member.name} is not a file")
    return file


def _entry(files: tarfile.TarFile, member: tarfile.TarInfo) -> ImageEntry:
    digest = ""
    if member.isreg():
        digest = hashlib.sha256(_opened(files, member).read()).hexdigest()
    owner = (member.uid, member.gid)
    return ImageEntry(member.type, owner, member.mode, member.mtime, member.linkname, digest)


def main() -> int:
    """Build, compare, say what differs; the exit code is 0 if nothing does."""
    images = []
    with tempfile.TemporaryDirectory() as scratch:
        for number in ("first", "second"):
            with step(f"{number} build, without anything cached"):
                folder = Path(scratch) / number
                folder.mkdir()
                images.append(content(imagebuild.build_anew(folder)))
    first, second = images
    differing = sorted(
        name for name in first.keys() | second.keys() if first.get(name) != second.get(name)
    )
    for name in differing:
        print(f"{name}: {first.get(name)} and {second.get(name)}")
    print(f"{len(differing)} of {len(first)} entries of /{ROOT} differ")
    return 1 if differing or not first else 0


if __name__ == "__main__":
    sys.exit(main())
