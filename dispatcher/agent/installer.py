"""The plugin on this node: put in place whole, switched in one step, kept as it should be.

How it works: everything that the plugin needs lies in one folder, ``.genie/<version>`` in the
runtime's directory of CNI plugins, and ``genie`` beside it is a launcher whose first line
names the interpreter in that folder. A new version gets a folder of its own, which has its
name only once it is complete; then the launcher is replaced by ``rename``. A call that runs
keeps the folder that it started from.

Rules: a file called ``genie`` that is not ours is never touched; of ours, whatever was
changed or removed is put back, and said.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from dispatcher import keys
from dispatcher.node import atomic_file
from dispatcher.node.plugin_layout import LAUNCHER_MARK, LOADER_PLACEHOLDER, VERSIONS_FOLDER


class InstallError(Exception):
    """The plugin cannot be put in place; the text names the file, the reason and the cure."""


class Signature(NamedTuple):
    """What tells without reading that a file is still the one that was verified."""

    size: int
    changed: int
    inode: int
    mode: int


class PluginInstaller:
    """The plugin in the directory *bin_dir*, to be as *source* has it.

    *source* is what :mod:`dispatcher.build.bundle` makes.
    """

    def __init__(self, source: Path, bin_dir: Path) -> None:
        folders = sorted(source.glob(f"{VERSIONS_FOLDER}/*/"))
        if len(folders) != 1:
            raise InstallError(
                f"{source / VERSIONS_FOLDER}: one version of the plugin is expected there"
            )
        self._source = source
        self._tree = folders[0]
        self.version = self._tree.name
        self._bin = bin_dir
        self.folder = bin_dir / VERSIONS_FOLDER / self.version
        self.launcher = bin_dir / keys.PLUGIN_TYPE
        self._names = sorted(
            path.relative_to(self._tree) for path in self._tree.rglob("*") if path.is_file()
        )
        self._verified: dict[Path, Signature] | None = None

    def install(self) -> list[str]:
        """Put in place what is not there; returns what had to be restored, in sentences.

        Raises :class:`InstallError`.
        """
        if self._whole:
            return []
        try:
            return self._install_files()
        except OSError as error:
            raise InstallError(f"{error.filename or self._bin}: {error.strerror}") from None

    @property
    def runs(self) -> bool:
        """Whether the runtime, calling us, would start a plugin of ours: this version or another.

        Of another, which stays where this one cannot be installed (a full disk), no more can be
        told than that its interpreter is there.
        """
        if self._whole:
            return True
        try:
            head = self.launcher.read_bytes()[:512]
        except OSError:
            return False
        interpreter = (
            Path(os.fsdecode(head[2:].split(maxsplit=1)[0])) if LAUNCHER_MARK in head else None
        )
        return (
            interpreter is not None
            and interpreter.parent != self.folder
            and os.access(interpreter, os.X_OK)
        )

    @property
    def is_foreign(self) -> bool:
        """Whether the launcher is another program's, so that nobody knows what it attaches."""
        try:
            return LAUNCHER_MARK not in self.launcher.read_bytes()[:512]
        except OSError:
            return False

    def remove(self) -> None:
        """Take the launcher and every version away; what is not ours stays."""
        self._verified = None
        if self.launcher.is_file() and LAUNCHER_MARK in self.launcher.read_bytes()[:512]:
            self.launcher.unlink()
        shutil.rmtree(self._bin / VERSIONS_FOLDER, ignore_errors=True)

    def text(self) -> bytes:
        """Return the launcher as it is to be on this node: with the interpreter's place here."""
        first, newline, rest = (self._source / keys.PLUGIN_TYPE).read_bytes().partition(b"\n")
        interpreter = self.folder / "python3"
        if (self._tree / "python3").is_file():
            # In UTF-8 mode: it has no other encodings, and the runtime's locale may ask for one.
            first = b"#!" + bytes(interpreter) + b" -ISXutf8"
        return first + newline + rest

    def _install_files(self) -> list[str]:
        self._refuse_foreign()
        self._bin.mkdir(mode=0o755, exist_ok=True)  # the folder above is the node's own
        (self._bin / VERSIONS_FOLDER).mkdir(mode=0o755, exist_ok=True)
        atomic_file.sweep(self._bin)
        atomic_file.sweep(self._bin / VERSIONS_FOLDER)
        restored = [] if self.folder.is_dir() else self._copy()
        restored += self._restore()  # also of what was copied: the switch is to a whole version
        restored += self._switch()
        self._verified = self._signatures()
        return restored

    def _refuse_foreign(self) -> None:
        if self.is_foreign:
            raise InstallError(
                f"{self.launcher} is there and is not ours (the original CNI-Genie's?): "
                "move it away, and the agent goes on"
            )

    def _copy(self) -> list[str]:
        known = self._verified is not None
        scratch = atomic_file.temporary_path(self._bin / VERSIONS_FOLDER)
        for name in self._names:
            target = scratch / name
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            atomic_file.write(target, self._content(name), self._mode(name))
        for folder in [scratch, *(path for path in scratch.rglob("*") if path.is_dir())]:
            folder.chmod(0o755)
            atomic_file.sync(folder)
        try:
            scratch.rename(self.folder)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            shutil.rmtree(scratch)  # another agent was quicker; what it made is verified next
        atomic_file.sync(self._bin / VERSIONS_FOLDER)
        return [f"{self.folder} was gone; it is back"] if known else []

    def _restore(self) -> list[str]:
        restored = []
        for name in self._names:
            target = self.folder / name
            reason = self._difference(target, self._content(name), self._mode(name))
            if reason:
                target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                atomic_file.replace(target, self._content(name), self._mode(name))
                restored.append(f"{target} {reason}; it is as it should be again")
        return restored

    def _switch(self) -> list[str]:
        wanted = self.text()
        known = self._verified is not None
        reason = self._difference(self.launcher, wanted, 0o755)
        if not reason:
            return []
        ours = self.launcher.is_file() and bytes(self.folder) in self.launcher.read_bytes()
        atomic_file.replace(self.launcher, wanted, 0o755)
        if known or ours:
            return [f"{self.launcher} {reason}; it is as it should be again"]
        return []

    @staticmethod
    def _difference(path: Path, content: bytes, mode: int) -> str:
        try:
            if path.read_bytes() != content:
                return "was changed"
            if path.stat().st_mode & 0o7777 != mode:
                return "had other permissions"
        except FileNotFoundError:
            return "was gone"
        return ""

    def _content(self, name: Path) -> bytes:
        content = (self._tree / name).read_bytes()
        if str(name) == "python3":
            loader = bytes(self.folder / "ld.so")
            return content.replace(LOADER_PLACEHOLDER, loader.ljust(len(LOADER_PLACEHOLDER), b"\0"))
        return content

    def _mode(self, name: Path) -> int:
        return 0o755 if (self._tree / name).stat().st_mode & 0o100 else 0o644

    @property
    def _whole(self) -> bool:
        return self._verified is not None and self._signatures() == self._verified

    def _signatures(self) -> dict[Path, Signature] | None:
        found = {}
        for path in [self.launcher, *(self.folder / name for name in self._names)]:
            try:
                stat = path.lstat()
            except OSError:
                return None
            found[path] = Signature(stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_mode)
        return found
