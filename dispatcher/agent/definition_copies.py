"""Keeps the copies of NetworkAttachmentDefinitions on the node's disk.

:mod:`dispatcher.nad.definition_copy` has the layout. A file is replaced by one rename and is synced
before, so a crash between any two steps leaves whole files, and the next complete list corrects
what is missing or left over. It also writes again what another program removed or changed
meanwhile: :meth:`DefinitionCopies.find_loss` says when such a list is needed.

Rules:

- A file is removed only for a definition that was deleted, or was missing in a complete list: while
  the API server does not answer, pods start with the copies that there are.
- What the validator refuses is copied without its config, with the reason.
- Memory has a digest and a signature for each file, and no config. On the disk, configs take at
  most :data:`MAX_TOTAL`; a definition beyond that is copied as refused until a later list has room.
- Names are validated again, although Kubernetes validates them, because they become paths.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from dispatcher.nad import definition_copy
from dispatcher.nad.definition import Definition, is_path_safe
from dispatcher.nad.definition_copy import StaleCopyError, SyncState
from dispatcher.nad.validation import check
from dispatcher.node import atomic_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dispatcher.nad.tenant_templates import TenantRules

    FileKey = tuple[str, str]
    """Namespace and name: the folder and the name of a file."""

    Signature = tuple[int, int, int]
    """Size, time of the last change, and inode: other programs change one of them."""

MAX_TOTAL = 256 << 20
"""Limit of all copies together, in bytes: 4,000 definitions of the greatest size."""

SIGN_SECONDS = 10.0
"""How much later the API server must have answered for ``.synced`` to be written again."""

CHECKED_FILES = 500
"""Files that one :meth:`DefinitionCopies.find_loss` looks at. It is called every few seconds, and
500 files take a millisecond."""

log = structlog.get_logger("definitions")


class _File:
    """What is known of a file that was written or read, with *signature* afterwards."""

    __slots__ = ("digest", "signature", "size")

    def __init__(self, data: bytes, signature: Signature | None) -> None:
        self.digest = _digest(data)
        self.size = len(data)
        self.signature = signature


class DefinitionCopies:
    """The copies in *directory*, by *rules* for tenants.

    *cni_names* returns the CNI names of the node's networks, each with its owner; reading them
    takes time for each network. *clock* is Unix time.
    """

    def __init__(
        self,
        directory: Path,
        rules: TenantRules,
        cni_names: Callable[[], Mapping[str, str]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._rules = rules
        self._cni_names = cni_names
        self._clock = clock
        self._lock = threading.Lock()
        self._files: dict[FileKey, _File] = {}
        self._total = 0
        self._listed: set[FileKey] | None = None
        self._names_of_list: Mapping[str, str] | None = None
        self._state = self._read_state()
        self._state_signature: Signature | None = None
        """That of ``.synced`` when this process wrote it last; None: it has not written it."""
        self._unchecked: Iterator[FileKey] = iter(())
        self._is_closed = False

    @property
    def is_complete(self) -> bool:
        """Whether the copies once were all that the API server had."""
        return self._state.is_complete

    def open(self) -> None:
        """Read which copies there are. Raises OSError."""
        with self._lock:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._files = dict(self._read_files())
            self._total = sum(file.size for file in self._files.values())

    def begin_list(self) -> None:
        """Begin a list of all definitions; :meth:`put` each, then :meth:`end_list`."""
        self._listed, self._names_of_list = set(), None

    def put(self, definition: Definition) -> None:
        """Copy *definition*. Raises OSError."""
        if not is_path_safe(definition):
            log.warning("definition ignored: invalid name", name=definition.full_name[:300])
            return

        key = (definition.namespace, definition.name)
        if self._listed is not None:
            self._listed.add(key)
        checked = check(definition, self._rules, self._name_owner)
        refused = checked.refused
        data = definition_copy.encode(definition, refused, checked.cni_args)
        with self._lock:
            if self._total - self._size(key) + len(data) > MAX_TOTAL:
                refused = f"the copies of this node have reached {MAX_TOTAL >> 20} MiB"
                data = definition_copy.encode(definition, refused)
            is_new = self._write(key, data)
        if is_new and refused:
            log.info("definition refused", name=definition.full_name, reason=refused)

    def remove(self, namespace: str, name: str) -> None:
        """Remove the copy of a definition that was deleted. Raises OSError."""
        with self._lock:
            self._unlink((namespace, name))

    def end_list(self) -> None:
        """Remove the copies of what the list did not have. Raises OSError."""
        listed, self._listed = self._listed or set(), None
        self._names_of_list = None
        with self._lock:
            for key in [*self._files.keys() - listed]:
                self._unlink(key)
            self._write_state(self._clock(), is_complete=True)

    def sign(self, age: float) -> None:
        """Write that the API server answered *age* seconds ago. Raises OSError."""
        alive = self._clock() - age
        # Lock before the comparison: another thread may just complete a list.
        with self._lock:
            if abs(alive - self._state.alive) >= SIGN_SECONDS:  # the clock may also go back
                self._write_state(alive, is_complete=self._state.is_complete)

    def find_loss(self) -> str:
        """Return a file that another program has removed or changed, or "".

        One call looks at ``.synced`` and at :data:`CHECKED_FILES` others, the next call at those
        after them. Only a list can restore a file, since no config is in memory.
        """
        with self._lock:
            synced = self._directory / definition_copy.SYNCED
            if self._state_signature not in {None, _signature(synced)}:
                return str(synced)

            checked = list(islice(self._unchecked, CHECKED_FILES))
            if not checked:
                self._unchecked = iter([*self._files])
                checked = list(islice(self._unchecked, CHECKED_FILES))
            for key in checked:
                if key in self._files and not self._is_in_place(key):
                    return str(self._path(key))
        return ""

    def close(self) -> None:
        """Write nothing any more: a thread may still be at work. The files stay."""
        with self._lock:
            self._is_closed = True

    def withdraw(self) -> None:
        """Remove everything, and write nothing any more."""
        self.close()
        with self._lock:
            self._files, self._total, self._state = {}, 0, SyncState()
            shutil.rmtree(self._directory, ignore_errors=True)

    def _name_owner(self, name: str) -> str:
        """Return which network of this node has the CNI name *name*, or "".

        The names are read once for a whole list: a thousand definitions may ask.
        """
        names = self._cni_names() if self._names_of_list is None else self._names_of_list
        if self._listed is not None:
            self._names_of_list = names
        return names.get(name, "")

    def _read_state(self) -> SyncState:
        try:
            data = (self._directory / definition_copy.SYNCED).read_bytes()
            return definition_copy.decode_sync(data)
        except (OSError, StaleCopyError):
            return SyncState()

    def _read_files(self) -> Iterator[tuple[FileKey, _File]]:
        atomic_file.sweep(self._directory)
        for folder in [each for each in self._directory.iterdir() if each.is_dir()]:
            atomic_file.sweep(folder)
            for path in filter(Path.is_file, list(folder.iterdir())):
                # The signature first: a change after it shows.
                signature = _signature(path)
                yield (folder.name, path.name), _File(path.read_bytes(), signature)
            _remove_if_empty(folder)

    def _size(self, key: FileKey) -> int:
        return self._files[key].size if key in self._files else 0

    def _path(self, key: FileKey) -> Path:
        return self._directory / key[0] / key[1]

    def _is_in_place(self, key: FileKey) -> bool:
        # Text, not Path: this is looked at for each file, again and again.
        present = _signature(f"{self._directory}/{key[0]}/{key[1]}")
        return present is not None and present == self._files[key].signature

    def _write(self, key: FileKey, data: bytes) -> bool:
        """Write the file unless it has this content; return whether it was written."""
        known = self._files.get(key)
        is_known = known is not None and known.digest == _digest(data)
        if self._is_closed or (is_known and self._is_in_place(key)):
            return False
        path = self._path(key)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        atomic_file.replace(path, data, 0o600)
        self._total += len(data) - self._size(key)
        self._files[key] = _File(data, _signature(path))
        return True

    def _unlink(self, key: FileKey) -> None:
        if self._is_closed or key not in self._files:  # of a name that was never copied
            return
        path = self._path(key)
        path.unlink(missing_ok=True)
        self._total -= self._files.pop(key).size
        _remove_if_empty(path.parent)

    def _write_state(self, alive: float, *, is_complete: bool) -> None:
        if self._is_closed:
            return
        state = SyncState(alive, is_complete=is_complete)
        path = self._directory / definition_copy.SYNCED
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        atomic_file.replace(path, definition_copy.encode_sync(state), 0o600)
        self._state, self._state_signature = state, _signature(path)


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


def _signature(path: Path | str) -> Signature | None:
    """Return the signature of the file *path*, or None if there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
