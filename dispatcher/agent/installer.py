"""Installs the plugin on this node whole, switches versions in one step, and restores its files.

Everything that the plugin needs is in one folder, ``.genie/<version>`` in the runtime's directory
of CNI plugins. ``genie`` beside it is a launcher whose first line names the interpreter in that
folder. A new version is written under a temporary name and renamed once it is complete. Then the
launcher is replaced by ``rename``. A call that runs keeps the folder that it started from.

Rules: a file called ``genie`` that Genie did not write is never touched. A file of ours that was
changed or removed is restored and reported. A copy that fails leaves nothing behind, and none
begins that would fill the disk: records are often on the same one, and without room for them no pod
starts.
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

SPARE_BYTES = 16 << 20
"""What an installation leaves free on its file system: room for thousands of records."""


class InstallError(Exception):
    """The plugin cannot be installed; the text names the file, the reason and the fix."""


class Signature(NamedTuple):
    """The metadata by which a verified file is known again without reading it."""

    size: int
    changed: int
    inode: int
    mode: int


class PluginInstaller:
    """Installs the plugin in *source* into the directory *bin_dir*.

    :mod:`dispatcher.build.bundle` makes *source*.
    """

    def __init__(self, source: Path, bin_dir: Path) -> None:
        folders = sorted(source.glob(f"{VERSIONS_FOLDER}/*/"))
        if len(folders) != 1:
            raise InstallError(
                f"{source / VERSIONS_FOLDER} must contain one version of the plugin, "
                f"but contains {len(folders)}"
            )
        self._source = source
        self._payload = folders[0]
        self.version = self._payload.name
        self._bin_dir = bin_dir
        self.folder = bin_dir / VERSIONS_FOLDER / self.version
        self.launcher = bin_dir / keys.PLUGIN_TYPE
        self._files = sorted(
            path.relative_to(self._payload) for path in self._payload.rglob("*") if path.is_file()
        )
        # Text, not Path: these are looked at in every pass of the agent, and no other step of an
        # idle pass costs as much.
        self._installed_paths = [
            os.fspath(path)
            for path in (self.launcher, *(self.folder / each for each in self._files))
        ]
        self._installed_signatures: list[Signature] | None = None
        """Signatures of these files when they were last verified.

        None: this process has not verified them yet, or has removed the plugin.
        """

    def install(self) -> list[str]:
        """Install what is missing; return the restored files, a sentence each.

        Raises :class:`InstallError`.
        """
        if self._is_verified:
            return []
        try:
            return self._install_files()
        except OSError as error:
            path = error.filename or self._bin_dir
            raise InstallError(f"the agent cannot install {path}: {error.strerror}") from None

    @property
    def runs(self) -> bool:
        """Whether the runtime can start a plugin of ours, this version or another.

        Another version stays if this one cannot be installed (a full disk). Of that one, only the
        interpreter is checked.
        """
        if self._is_verified:
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
    def version_in_place(self) -> str:
        """The version that the launcher on this node names; empty without a launcher of ours."""
        try:
            head = self.launcher.read_bytes()[:512]
        except OSError:
            return ""
        version, colon, _ = head.partition(LAUNCHER_MARK)[2].partition(b":")
        return version.decode("ascii", "replace") if colon else ""

    @property
    def is_foreign(self) -> bool:
        """Whether the launcher belongs to another program."""
        try:
            return LAUNCHER_MARK not in self.launcher.read_bytes()[:512]
        except OSError:
            return False

    def remove(self) -> None:
        """Remove the launcher and all versions; files of other programs stay.

        Raises :class:`InstallError`.
        """
        self._installed_signatures = None
        versions = self._bin_dir / VERSIONS_FOLDER
        try:
            if self.launcher.is_file() and LAUNCHER_MARK in self.launcher.read_bytes()[:512]:
                self.launcher.unlink()
            if versions.exists():
                shutil.rmtree(versions)
        except OSError as error:
            path = error.filename or versions
            reason = error.strerror or error
            raise InstallError(f"the agent cannot remove {path}: {reason}") from None

    def launcher_content(self) -> bytes:
        """Return the launcher of this node: its first line names the interpreter's path here."""
        first, newline, rest = (self._source / keys.PLUGIN_TYPE).read_bytes().partition(b"\n")
        interpreter = self.folder / "python3"
        if (self._payload / "python3").is_file():
            # In UTF-8 mode: it has no other encodings, and the runtime's locale may ask for one.
            first = b"#!" + bytes(interpreter) + b" -ISXutf8"
        return first + newline + rest

    def _install_files(self) -> list[str]:
        self._raise_if_foreign()
        self._bin_dir.mkdir(mode=0o755, exist_ok=True)  # the folder above is the node's own
        (self._bin_dir / VERSIONS_FOLDER).mkdir(mode=0o755, exist_ok=True)
        atomic_file.sweep(self._bin_dir)
        atomic_file.sweep(self._bin_dir / VERSIONS_FOLDER)

        restored = [] if self.folder.is_dir() else self._copy()
        # This verifies the copy, too: the launcher must never name an incomplete version.
        restored += self._restore_files()
        restored += self._switch_launcher()
        self._installed_signatures = self._signatures()
        return restored

    def _raise_if_foreign(self) -> None:
        if self.is_foreign:
            raise InstallError(
                f"{self.launcher} exists but was not written by Genie; "
                "move it out of this directory, and the agent will continue"
            )

    def _copy(self) -> list[str]:
        is_lost = self._installed_signatures is not None
        self._raise_if_disk_would_fill()
        scratch = atomic_file.temporary_path(self._bin_dir / VERSIONS_FOLDER)
        try:
            self._write_files(scratch)
            scratch.rename(self.folder)
        except OSError as error:
            shutil.rmtree(scratch, ignore_errors=True)
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            # Another agent was first; its files are verified next.
        atomic_file.sync(self._bin_dir / VERSIONS_FOLDER)
        return [f"{self.folder} was deleted; restored"] if is_lost else []

    def _write_files(self, folder: Path) -> None:
        """Write every file of this version into the new *folder*, and sync them."""
        for file in self._files:
            target = folder / file
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            atomic_file.write(target, self._content(file), self._mode(file))
        for each in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
            each.chmod(0o755)
            atomic_file.sync(each)

    def _raise_if_disk_would_fill(self) -> None:
        """Raise :class:`InstallError` if a copy would leave less than :data:`SPARE_BYTES` free."""
        disk = os.statvfs(self._bin_dir)
        if not disk.f_blocks:  # no limit: ramfs, or the root of a node without a disk
            return
        # Not f_bavail: agent and plugin run as root, so root's reserve is room for them.
        free = disk.f_bfree * disk.f_frsize
        copy = sum((self._payload / each).stat().st_size for each in self._files)
        needed = copy + SPARE_BYTES
        if free < needed:
            raise InstallError(
                f"the agent cannot install {self.folder}: its file system has {free >> 20} MiB "
                f"free, and {-(-needed >> 20)} MiB are needed; free space on this node"
            )

    def _restore_files(self) -> list[str]:
        restored = []
        for file in self._files:
            target = self.folder / file
            reason = self._difference(target, self._content(file), self._mode(file))
            if reason:
                # No pod starts without this file, so it may take the last space: no check for it.
                target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                atomic_file.replace(target, self._content(file), self._mode(file))
                restored.append(f"{target} {reason}; restored")
        return restored

    def _switch_launcher(self) -> list[str]:
        content = self.launcher_content()
        reason = self._difference(self.launcher, content, 0o755)
        if not reason:
            return []

        # A launcher of another version is an upgrade, not a loss.
        names_version = self.launcher.is_file() and bytes(self.folder) in self.launcher.read_bytes()
        is_lost = self._installed_signatures is not None or names_version
        atomic_file.replace(self.launcher, content, 0o755)
        if is_lost:
            return [f"{self.launcher} {reason}; restored"]
        return []

    @staticmethod
    def _difference(path: Path, content: bytes, mode: int) -> str:
        try:
            if path.read_bytes() != content:
                return "was changed"
            if path.stat().st_mode & 0o7777 != mode:
                return "had the wrong permissions"
        except FileNotFoundError:
            return "was deleted"
        return ""

    def _content(self, file: Path) -> bytes:
        content = (self._payload / file).read_bytes()
        if str(file) == "python3":
            loader = bytes(self.folder / "ld.so")
            return content.replace(LOADER_PLACEHOLDER, loader.ljust(len(LOADER_PLACEHOLDER), b"\0"))
        return content

    def _mode(self, file: Path) -> int:
        return 0o755 if (self._payload / file).stat().st_mode & 0o100 else 0o644

    @property
    def _is_verified(self) -> bool:
        return (
            self._installed_signatures is not None
            and self._signatures() == self._installed_signatures
        )

    def _signatures(self) -> list[Signature] | None:
        """Return the present signatures of the installed files; None if one is missing."""
        try:
            return [_signature(path) for path in self._installed_paths]
        except OSError:
            return None


def _signature(path: str) -> Signature:
    status = os.lstat(path)
    return Signature(status.st_size, status.st_mtime_ns, status.st_ino, status.st_mode)
