"""Records in files: ``<stateDir>/<containerID>.json``, one per container.

How it works: every change goes into a temporary file that is renamed onto the record, so that
a reader sees the old record or the new one, whole.

- :func:`stage`, before the first delegate is told what to do, and :func:`write_synced`, after the
  last, wait for the disk (fdatasync): what they wrote outlives the kernel.
- :func:`write_unsynced` writes the steps of an ADD with several networks and does not wait: a step
  must outlive the plugin, but not a power cut, since network namespaces do not either. File systems
  differ in what a power cut leaves of such a file, down to an empty one; so the last synced record
  keeps a second name meanwhile, and :func:`read` takes that if the first is no record. It may lack
  a step, a result above all, and call an attachment planned whose ADD had begun: DEL releases what
  is planned, too.
- Nor is the directory synced: after a power cut, or after a kill before it was named, the first
  record may still have its temporary name, and :func:`commit_staged` gives it its own.

Files have the mode 0600 in a directory of 0700, since a delegate's configuration may contain
secrets.

Rules of this file: a caller that changes a record holds the container's lock; a corrupt record is
kept under another name, and never lost; a pipe in the place of a file does not block a call.
"""

from __future__ import annotations

import posix

from dispatcher.conf import is_cni_name
from dispatcher.state.record import CorruptRecordError, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dispatcher.state.record import Record

SUFFIX = ".json"
STAGED = ".tmp"
"""Suffix of a record that is being written."""

SYNCED = ".synced"
"""Suffix of the last synced record, while the record itself has steps that are not synced."""

TEMPORARY = (STAGED, SYNCED)
"""Suffixes of files that a killed call may leave beside a record."""

CORRUPT = ".corrupt"
"""Suffix of a corrupt record that was set aside."""

AGENT_PROBLEM = ".agent-problem"
"""File in which the agent leaves its current problem on this node, for ``genie doctor``."""

REAPER_PROBLEM = ".reaper-problem"
"""File of the reaper's current problem, for ``genie doctor`` and the agent."""


_READING = posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW | posix.O_NONBLOCK
_WRITING = posix.O_WRONLY | posix.O_CLOEXEC | posix.O_CREAT | posix.O_EXCL
_TYPE_MASK, _REGULAR, _FOLDER = 0o170000, 0o100000, 0o040000  # of st_mode, without importing stat
_NO_FILE = (6, 19, 40)  # ENXIO, ENODEV, ELOOP: a socket, a device without a driver, a symbolic link


class IrregularFileError(OSError):
    """A pipe, link, device or socket has the name of one of Genie's files."""


def path_of(state_dir: str, container_id: str) -> str:
    """Return the file of the record of *container_id*."""
    return f"{state_dir}/{container_id}{SUFFIX}"


def container_ids(state_dir: str) -> Iterator[str]:
    """Yield the containers that have a record, in lexical order."""
    try:
        entries = posix.listdir(state_dir)
    except FileNotFoundError:
        return
    for entry in sorted(entries):
        if entry.endswith(SUFFIX) and is_cni_name(entry):
            yield entry[: -len(SUFFIX)]


def read(state_dir: str, container_id: str) -> Record | None:
    """Return the record of *container_id*, or None if there is none.

    Raises :class:`NewerRecordError`, :class:`CorruptRecordError`, and OSError for a file that
    exists and cannot be read.
    """
    path = path_of(state_dir, container_id)
    try:
        return _read(path, container_id)
    except CorruptRecordError:
        synced = _read_synced(path, container_id)
        if synced is None:
            raise
        return synced


def _read_synced(path: str, container_id: str) -> Record | None:
    try:
        return _read(path + SYNCED, container_id)
    except CorruptRecordError:
        return None  # the fault of the record itself says more


def commit_staged(state_dir: str, container_id: str) -> bool:
    """Rename a staged record that is whole to its final name; return whether there was one.

    For a container without a record; the caller holds its lock. Raises OSError, NewerRecordError.
    """
    path = path_of(state_dir, container_id)
    try:
        if _read(path + STAGED, container_id) is None:
            return False
    except CorruptRecordError:
        return False  # half written: no delegate had its configuration yet
    posix.replace(path + STAGED, path)
    return True


def _read(path: str, container_id: str) -> Record | None:
    try:
        data = read_file(path)
    except FileNotFoundError:
        return None
    except IrregularFileError as error:
        raise CorruptRecordError(error.strerror) from None
    record = decode(data)
    if record.container_id != container_id:
        raise CorruptRecordError(f"it is the record of another container, {record.container_id!r}")
    return record


def read_file(path: str) -> bytes:
    """Return the content of the regular file *path*.

    Raises OSError, and :class:`IrregularFileError` for anything else: a pipe would block forever,
    and a link leads to a file that is not ours.
    """
    sentence = "it is not a regular file"
    try:
        file = posix.open(path, _READING)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise IrregularFileError(error.errno, sentence, path) from None
        raise

    try:
        status = posix.fstat(file)
        if status.st_mode & _TYPE_MASK not in {_REGULAR, _FOLDER}:
            raise IrregularFileError(_NO_FILE[0], sentence, path)
        data = b""
        while chunk := posix.read(file, status.st_size + 1):
            data += chunk
        return data
    except OSError as error:
        error.filename = path  # an error on a descriptor does not name the file
        raise
    finally:
        posix.close(file)


def stage(state_dir: str, record: Record) -> Callable[[], None]:
    """Write *record*, the first of a container, under its temporary name; return its commit.

    The commit syncs it and gives it its name. In between the caller may start a delegate, but not
    give it its configuration: after a kill, :func:`commit_staged` finds the record. The caller
    holds the container's lock. Both raise OSError.
    """
    # commit_staged() ignores a staged record beside an earlier one: write it at once.
    if exists(state_dir, record.container_id):
        write_synced(state_dir, record)
        return lambda: None
    path = path_of(state_dir, record.container_id)
    file = _write_beside(path, encode(record))

    def commit() -> None:
        # After an error the staged file stays: a delegate is running that may hold something.
        _name(path, file, posix.fdatasync)
        _unlink(path + SYNCED)

    return commit


def write_synced(state_dir: str, record: Record) -> None:
    """Replace the record on disk by *record*, and wait until that is durable.

    The caller holds the container's lock. Raises OSError; the old or the new record is whole then.
    """
    path = path_of(state_dir, record.container_id)
    _put(path, encode(record), posix.fdatasync)
    _unlink(path + SYNCED)


def write_unsynced(state_dir: str, record: Record) -> None:
    """Replace the record on disk by *record*, which survives a kill but not a power cut.

    The caller holds the container's lock. Raises OSError; the old record stays then.
    """
    path = path_of(state_dir, record.container_id)
    try:
        posix.link(path, path + SYNCED)
    except FileExistsError:
        pass  # from the step before
    except OSError:
        write_synced(state_dir, record)  # a file system without hard links
        return
    _put(path, encode(record), lambda _: None)


def _put(path: str, data: bytes, sync: Callable[[int], None]) -> None:
    file = _write_beside(path, data)
    try:
        _name(path, file, sync)
    except OSError:
        _unlink(path + STAGED)
        raise


def _write_beside(path: str, data: bytes) -> int:
    """Write *data* under the temporary name of *path*, and return the descriptor."""
    file = -1
    try:
        file = _create(path + STAGED)
        left = memoryview(data)
        while left:
            left = left[posix.write(file, left) :]
    except OSError as error:
        if file >= 0:
            posix.close(file)
        _unlink(path + STAGED)
        raise _of(error, path) from None
    return file


def _create(path: str) -> int:
    """Create the file *path*, in place of one that a killed call has left there."""
    try:
        return posix.open(path, _WRITING, 0o600)
    except FileExistsError:
        _unlink(path)
        return posix.open(path, _WRITING, 0o600)


def _of(error: OSError, path: str) -> OSError:
    """Return *error* with the name of the file, which an error on a descriptor lacks."""
    error.filename = error.filename or path + STAGED
    return error


def _name(path: str, file: int, sync: Callable[[int], None]) -> None:
    """Sync the temporary *file*, rename it to *path*, and close it."""
    try:
        sync(file)
        posix.replace(path + STAGED, path)
    except OSError as error:
        raise _of(error, path) from None
    finally:
        posix.close(file)


def exists(state_dir: str, container_id: str) -> bool:
    """Tell whether *container_id* has a record, readable or not."""
    try:
        posix.lstat(path_of(state_dir, container_id))
    except OSError:
        return False
    return True


def remove(state_dir: str, container_id: str) -> None:
    """Remove the record of *container_id*, if there is one. Raises OSError."""
    path = path_of(state_dir, container_id)
    for suffix in (*TEMPORARY, ""):
        _unlink(path + suffix)


def remove_staged(state_dir: str, container_id: str) -> None:
    """Remove the temporary files of a plugin that was killed while it wrote the first record."""
    for suffix in TEMPORARY:
        try:
            posix.unlink(path_of(state_dir, container_id) + suffix)
        except OSError:
            pass  # it does not exist, as usual, or the file system is read-only


def keep_corrupt_copy(state_dir: str, container_id: str) -> str:
    """Give a corrupt record a second name, and return that. Raises OSError.

    The first name stays until another record takes it or :func:`remove` is called: after a kill in
    between, the next call still finds the record.
    """
    path = path_of(state_dir, container_id)
    aside = path + CORRUPT
    _unlink(aside)
    try:
        posix.link(path, aside, follow_symlinks=False)
    except OSError:  # a file system without hard links
        try:
            data = read_file(path)
        except IrregularFileError:
            posix.rename(path, aside)
        else:
            _put(aside, data, posix.fdatasync)
    return aside


def _unlink(path: str) -> None:
    try:
        posix.unlink(path)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        posix.rename(path, path + CORRUPT)


def make_dir(state_dir: str) -> None:
    """Create *state_dir* (0700) and its parents where they are missing. Raises OSError."""
    try:
        _make_dir(state_dir)
    except FileNotFoundError:
        make_dir(state_dir.rstrip("/").rpartition("/")[0] or "/")
        _make_dir(state_dir)


def _make_dir(path: str) -> None:
    try:
        posix.mkdir(path, 0o700)
    except FileExistsError:
        pass  # also if a call for another container has created it just now
