"""Keeps the copies of NetworkAttachmentDefinitions on the node's disk.

:mod:`dispatcher.nad.definition_copy` has the layout. A file is replaced by one rename and is synced
before, so a crash between any two steps leaves whole files, and the next complete list corrects
what is missing or left over.

Rules:

- A file is removed only for a definition that was deleted, or was missing in a complete list: while
  the API server does not answer, pods start with the copies that there are.
- What the validator refuses is copied without its config, with the reason.
- Memory has one digest for each file, and no config. On the disk, configs take at most
  :data:`MAX_TOTAL`; a definition beyond that is copied as refused until a later list has room.
- Names are validated again, although Kubernetes validates them, because they become paths.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from hashlib import blake2b
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

MAX_TOTAL = 256 << 20
"""Limit of all copies together, in bytes: 4,000 definitions of the greatest size."""

SIGN_SECONDS = 10.0
"""How much later the API server must have answered for ``.synced`` to be written again."""

log = structlog.get_logger("definitions")


class _File:
    """What is known of a file that was written or read."""

    __slots__ = ("digest", "size")

    def __init__(self, data: bytes) -> None:
        self.digest = blake2b(data, digest_size=16).digest()
        self.size = len(data)


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
        self._is_withdrawn = False

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

    def withdraw(self) -> None:
        """Remove everything, and write nothing any more: a thread may still be at work."""
        with self._lock:
            self._is_withdrawn = True
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
                yield (folder.name, path.name), _File(path.read_bytes())
            _remove_if_empty(folder)

    def _size(self, key: FileKey) -> int:
        return self._files[key].size if key in self._files else 0

    def _write(self, key: FileKey, data: bytes) -> bool:
        """Write the file unless it has this content; return whether it was written."""
        file = _File(data)
        known = self._files.get(key)
        if self._is_withdrawn or (known is not None and known.digest == file.digest):
            return False
        folder = self._directory / key[0]
        folder.mkdir(mode=0o700, exist_ok=True)
        atomic_file.replace(folder / key[1], data, 0o600)
        self._total += file.size - self._size(key)
        self._files[key] = file
        return True

    def _unlink(self, key: FileKey) -> None:
        if key not in self._files:  # of a name that was never copied
            return
        folder = self._directory / key[0]
        (folder / key[1]).unlink(missing_ok=True)
        self._total -= self._files.pop(key).size
        _remove_if_empty(folder)

    def _write_state(self, alive: float, *, is_complete: bool) -> None:
        if self._is_withdrawn:
            return
        state = SyncState(alive, is_complete=is_complete)
        path = self._directory / definition_copy.SYNCED
        atomic_file.replace(path, definition_copy.encode_sync(state), 0o600)
        self._state = state


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
