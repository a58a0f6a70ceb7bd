"""A ConfigMap that is mounted as the kubelet does it (kubernetes/pkg/volume/util/atomic_writer)."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Mount:
    """The directory *path*; each key is a link to ``..data``, a link to a folder of one version."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.mkdir()
        self._versions = itertools.count()

    def write(self, data: Mapping[str, str | bytes]) -> None:
        """Replace all files by *data* in one step."""
        link = self.path / "..data"
        former = Path(os.path.realpath(link)) if link.is_symlink() else None
        folder = self.path / f"..version{next(self._versions)}"
        folder.mkdir()
        for key, value in data.items():
            content = value if isinstance(value, bytes) else value.encode()
            (folder / key).write_bytes(content)

        scratch = self.path / "..data_tmp"
        scratch.symlink_to(folder.name)
        scratch.replace(link)
        for key in data:
            if not (self.path / key).is_symlink():
                (self.path / key).symlink_to(f"..data/{key}")
        if former:
            shutil.rmtree(former)
