"""Records in files: ``<stateDir>/<containerID>.json``, one per container.

Each change is written to ``.json.tmp`` and renamed to ``.json``, so a reader sees the old record or
the new one, whole.

- :func:`stage` writes the first record, before the first delegate gets its configuration, and
  :func:`write_synced` the last one. Both wait for the disk (fdatasync): the record survives a
  power cut.
- :func:`write_unsynced` writes the steps of an ADD with several networks, and does not wait. A step
  survives a kill of the plugin. It need not survive a power cut, since network namespaces do not.
- The last synced version is hard-linked as ``.json.synced`` meanwhile, because a power cut may
  leave an unsynced file empty. :func:`read` uses it if ``.json`` is corrupt. It may lack
  the last steps: a result, say, or that the ADD of a planned attachment had begun. So DEL also
  releases planned attachments.
- The directory is never synced. After a power cut, the first record may still have the name
  ``.json.tmp``; :func:`commit_staged` renames it.

What a crash leaves, and what happens then (``sweep`` is that of ``leftovers``)::

    crash                               files left               read()    commit_staged(), sweep()
    kill, first record half written     .tmp, half               None      False; sweep removes it
    kill before its commit              .tmp, whole              None      rename it to .json
    power cut before its commit         .tmp, whole or half      None      as in the two lines above
    power cut after its commit          .tmp or .json, whole     None or   rename .tmp to .json
                                                                 .json
    kill in a later write               .json, .tmp              .json     not used: .json exists
    kill after an unsynced write        .json, .synced           .json     not used
    power cut after an unsynced write   .json corrupt, .synced   .synced   not used
    kill while a corrupt record is      .json corrupt, .corrupt  raises    not used; no program
    rebuilt                                                                removes .corrupt

Files have the mode 0600 in a directory of 0700, since a delegate's configuration may contain
secrets.

Rules of this file: a caller that changes a record holds the container's lock; a corrupt record is
kept as ``.json.corrupt``, and never lost; a pipe in the place of a file does not block a call.
"""

from __future__ import annotations

import posix

from dispatcher.conf import is_cni_name
from dispatcher.state.record import CorruptRecordError, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dispatcher.state.record import Record

SUFFIX = ".json"
STAGED = ".tmp"
"""Suffix of a record that is being written."""

SYNCED = ".synced"
"""Suffix of the last synced version, while ``.json`` has steps that are not synced."""

TEMPORARY = (STAGED, SYNCED)
"""Suffixes of files that a killed call may leave beside a record."""

CORRUPT = ".corrupt"
"""Suffix of a corrupt record that was set aside."""

AGENT_PROBLEM = ".agent-problem"
"""File in which the agent leaves its current problem on this node, for ``genie doctor``."""

REAPER_PROBLEM = ".reaper-problem"
"""File of the reaper's current problem, for ``genie doctor`` and the agent."""

NETWORK_PROBLEMS = ".network-problems"
"""File in which the agent leaves why networks do not work, for ``genie doctor``."""

STATUS_ANSWERS = ".status-answers"
"""File of what the networks answered to the reaper's last STATUS calls, for the agent."""

ACCEPTED_SETTINGS = ".settings"
"""File with the settings that the agent has accepted, for the reaper and the next agent."""


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
    """Rename a whole staged record to ``.json``. Return whether there was one.

    For a container without a record; the caller holds its lock. Raises OSError, NewerRecordError.
    """
    path = path_of(state_dir, container_id)
    try:
        if _read(path + STAGED, container_id) is None:
            return False
    except CorruptRecordError:
        return False  # half written: no delegate has got its configuration
    posix.replace(path + STAGED, path)
    return True


def _read(path: str, container_id: str) -> Record | None:
    try:
        data = read_file(path)
    except FileNotFoundError:
        return None
    except IrregularFileError as error:
        raise CorruptRecordError(error.strerror) from None
    # The IsADirectoryError of a directory is not caught: a corrupt record is copied and rebuilt,
    # and a directory cannot be. Every call fails until an administrator moves it.
    from dispatcher.state.record_reader import decode  # noqa: PLC0415 - the first ADD has no record

    record = decode(data)
    if record.container_id != container_id:
        raise CorruptRecordError(f"it is the record of another container, {record.container_id!r}")
    return record


def read_file(path: str) -> bytes:
    """Return the content of the regular file *path*. Raises what :func:`open_file` raises."""
    file = open_file(path)
    try:
        return read_rest(file)
    except OSError as error:
        error.filename = path  # an error on a descriptor does not name the file
        raise
    finally:
        posix.close(file)


def read_rest(file: int) -> bytes:
    """Return what the descriptor *file* has from its position to its end. Raises OSError."""
    size = posix.fstat(file).st_size
    data = b""
    while chunk := posix.read(file, size + 1):
        data += chunk
    return data


def open_file(path: str) -> int:
    """Open the regular file *path*, and return the descriptor.

    Raises OSError, also for a directory, and :class:`IrregularFileError` for a pipe, which would
    block forever, a link, which leads to a file that is not ours, a device or a socket.
    """
    sentence = "it is not a regular file"
    try:
        file = posix.open(path, _READING)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise IrregularFileError(error.errno, sentence, path) from None
        raise

    # A directory passes: reading it fails with IsADirectoryError, which names the problem.
    if posix.fstat(file).st_mode & _TYPE_MASK not in {_REGULAR, _FOLDER}:
        posix.close(file)
        raise IrregularFileError(_NO_FILE[0], sentence, path)
    return file


def stage(state_dir: str, record: Record) -> Callable[[], None]:
    """Write *record*, the first of a container, to ``.json.tmp``; return the commit.

    The commit is a function that syncs the file and renames it to ``.json``. The caller may start a
    delegate before the commit, but not give it its configuration: after a kill,
    :func:`commit_staged` finds the record. The caller holds the container's lock. Both raise
    OSError.
    """
    # A staged record beside a ``.json`` would be ignored after a kill: write it at once.
    if exists(state_dir, record.container_id):
        write_synced(state_dir, record)
        return lambda: None

    path = path_of(state_dir, record.container_id)
    file = _write_beside(path, encode(record))

    def commit() -> None:
        # After an error the staged file stays: a delegate is running that may hold something.
        _sync_and_rename(path, file, posix.fdatasync)
        _clear_name(path + SYNCED)

    return commit


def write_synced(state_dir: str, record: Record) -> None:
    """Replace the record on disk by *record*, which then survives a power cut.

    The caller holds the container's lock. Raises OSError; the old or the new record is whole then.
    """
    path = path_of(state_dir, record.container_id)
    _replace(path, encode(record), posix.fdatasync)
    _clear_name(path + SYNCED)


def write_unsynced(state_dir: str, record: Record) -> None:
    """Replace the record on disk by *record*, which survives a kill but not a power cut.

    The caller holds the container's lock. Raises OSError; the old record stays then.
    """
    path = path_of(state_dir, record.container_id)
    try:
        posix.link(path, path + SYNCED)
    except FileExistsError:
        pass  # linked at an earlier step
    except OSError:
        write_synced(state_dir, record)  # a file system without hard links
        return
    _replace(path, encode(record), lambda _: None)


def _replace(path: str, data: bytes, sync: Callable[[int], None]) -> None:
    file = _write_beside(path, data)
    try:
        _sync_and_rename(path, file, sync)
    except OSError:
        _clear_name(path + STAGED)
        raise


def _write_beside(path: str, data: bytes) -> int:
    """Write *data* to the temporary file of *path*, and return the descriptor."""
    file = -1
    try:
        file = _create(path + STAGED)
        left = memoryview(data)
        while left:
            left = left[posix.write(file, left) :]
    except OSError as error:
        if file >= 0:
            posix.close(file)
        _clear_name(path + STAGED)
        raise _with_file_name(error, path) from None
    return file


def _create(path: str) -> int:
    """Create the file *path*, in place of one that a killed call has left there."""
    try:
        return posix.open(path, _WRITING, 0o600)
    except FileExistsError:
        _clear_name(path)
        return posix.open(path, _WRITING, 0o600)


def _with_file_name(error: OSError, path: str) -> OSError:
    """Return *error* with the name of the temporary file, if it lacks a file name.

    An error on a descriptor names no file.
    """
    error.filename = error.filename or path + STAGED
    return error


def _sync_and_rename(path: str, file: int, sync: Callable[[int], None]) -> None:
    """Sync the temporary *file*, rename it to *path*, and close it."""
    try:
        sync(file)
        posix.replace(path + STAGED, path)
    except OSError as error:
        raise _with_file_name(error, path) from None
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
    # The record last: after a kill in between, the next DEL still finds it.
    for suffix in (*TEMPORARY, ""):
        _clear_name(path + suffix)


def remove_staged(state_dir: str, container_id: str) -> None:
    """Remove the temporary files that a killed plugin left beside a missing record."""
    for suffix in TEMPORARY:
        try:
            posix.unlink(path_of(state_dir, container_id) + suffix)
        except OSError:
            pass  # it does not exist, as usual, or the file system is read-only


def keep_corrupt_copy(state_dir: str, container_id: str) -> str:
    """Keep a copy of a corrupt record as ``.json.corrupt``, and return its path. Raises OSError.

    ``.json`` stays until another record replaces it or :func:`remove` is called: after a kill in
    between, the next call still finds the corrupt record.
    """
    path = path_of(state_dir, container_id)
    copy = path + CORRUPT
    _clear_name(copy)
    try:
        posix.link(path, copy, follow_symlinks=False)
    except OSError:  # a file system without hard links
        try:
            data = read_file(path)
        except IrregularFileError:
            posix.rename(path, copy)
        else:
            _replace(copy, data, posix.fdatasync)
    return copy


def _clear_name(path: str) -> None:
    """Remove the file *path*, or rename a directory: it is not Genie's, and may have content."""
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
