"""Write archives that depend on nothing but their content: one time, no owner, fixed order."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


class TarEntry(NamedTuple):
    """A file of an archive."""

    name: str
    content: bytes
    mode: int = 0o644


def write_tar_gz(archive: Path, entries: Iterable[TarEntry], epoch: int) -> None:
    """Write *entries*, in their order, to a compressed tar file; *epoch* is the time of each."""
    with (
        archive.open("wb") as file,
        # Without the file's name and with a fixed time, which gzip would write into the header.
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=epoch) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for entry in entries:
            header = tarfile.TarInfo(entry.name)
            header.size, header.mode, header.mtime = len(entry.content), entry.mode, epoch
            tar.addfile(header, io.BytesIO(entry.content))


def read_tar_gz(archive: Path) -> list[TarEntry]:
    """Return the files of a compressed tar file, in its order."""
    with tarfile.open(archive) as tar:
        files = ((member, tar.extractfile(member)) for member in tar if member.isreg())
        return [TarEntry(m.name, file.read(), m.mode) for m, file in files if file is not None]


def normalise_zip(archive: Path) -> None:
    """Write a zip file again, compressed: sorted entries, each with the mode 0644 and its time.

    What is in front of the entries stays: a zipapp has the line of its interpreter there.
    """
    with zipfile.ZipFile(archive) as old:
        headers = sorted(old.infolist(), key=lambda header: header.filename)
        contents = [old.read(header) for header in headers]
    prefix = archive.read_bytes()[: min(header.header_offset for header in headers)]

    with archive.open("wb") as file:
        file.write(prefix)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
            for header, content in zip(headers, contents, strict=True):
                entry = zipfile.ZipInfo(header.filename, header.date_time)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.create_system = 3  # Unix, wherever it is built: the attributes are a mode
                entry.external_attr = (stat.S_IFREG | 0o644) << 16
                new.writestr(entry, content)
