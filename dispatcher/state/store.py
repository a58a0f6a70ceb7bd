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

Files have the mode 0600, since a delegate's configuration may hold secrets, in a directory of
0700.

Rules of this file: who changes a record holds the container's lock; a record that nobody can
read is kept beside its place, never thrown away; nothing that is no regular file is waited for.
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
"""What is added to the name of a record while it is written."""

SYNCED = ".synced"
"""What is added to the name of the record that is certain while steps are noted."""

TEMPORARY = (STAGED, SYNCED)

CORRUPT = ".corrupt"
"""What is added to the name of a record that nobody could read."""

AGENT_PROBLEM = ".agent-problem"
"""Where the agent leaves what keeps it from its work on this node, for ``genie doctor``."""

REAPER_PROBLEM = ".reaper-problem"
"""The same of the reaper, for the agent as well."""


_READING = posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW | posix.O_NONBLOCK
_WRITING = posix.O_WRONLY | posix.O_CLOEXEC | posix.O_CREAT | posix.O_EXCL
_KIND, _REGULAR, _FOLDER = 0o170000, 0o100000, 0o040000  # as in stat, which would be an import
_NO_FILE = (6, 19, 40)  # ENXIO, ENODEV, ELOOP: a socket, a device without a driver, a symbolic link


class IrregularFileError(OSError):
    """A pipe, a link, a device or a socket that has the name of a file of ours."""


def path_of(state_dir: str, container_id: str) -> str:
    """Return where the record of *container_id* is kept."""
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
        return None  # what is wrong with the record itself says more


def commit_staged(state_dir: str, container_id: str) -> bool:
    """Make a record of what was written whole and not renamed; tell whether there was any.

    For a container without a record; the caller holds its lock. Raises OSError, NewerRecordError.
    """
    path = path_of(state_dir, container_id)
    try:
        if _read(path + STAGED, container_id) is None:
            return False
    except CorruptRecordError:
        return False  # killed while it was written, or lost in a power cut: nobody was told to act
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
        raise CorruptRecordError(f"it speaks of the container {record.container_id!r}")
    return record


def read_file(path: str) -> bytes:
    """Return the content of the regular file *path*, without waiting for anybody.

    Raises OSError; that is :class:`IrregularFileError` for what nobody could read: a pipe would be
    waited for without end, and a link leads to what is not ours.
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
        if status.st_mode & _KIND not in {_REGULAR, _FOLDER}:
            raise IrregularFileError(_NO_FILE[0], sentence, path)
        data = b""
        while chunk := posix.read(file, status.st_size + 1):
            data += chunk
        return data
    except OSError as error:
        error.filename = path  # what fails on an open file does not name it
        raise
    finally:
        posix.close(file)


def stage(state_dir: str, record: Record) -> Callable[[], None]:
    """Write *record*, the first of a container, whole; return what makes it durable and names it.

    In between a delegate may be started that does not know yet what to do: were we killed then,
    :func:`commit_staged` would find what was written. Where the container has a record already,
    nobody would look for that, and all is done at once. The caller holds the container's lock.
    Both raise OSError.
    """
    if exists(state_dir, record.container_id):
        write_synced(state_dir, record)
        return lambda: None
    path = path_of(state_dir, record.container_id)
    file = _write_beside(path, encode(record))

    def finish() -> None:
        # What fails leaves the file: a delegate runs that may have done something, told or not.
        _name(path, file, posix.fdatasync)
        _unlink(path + SYNCED)

    return finish


def write_synced(state_dir: str, record: Record) -> None:
    """Put *record* on disk, durably, in place of the one that was there.

    The caller holds the container's lock. Raises OSError; one of the two then stands, whole.
    """
    path = path_of(state_dir, record.container_id)
    _put(path, encode(record), posix.fdatasync)
    _unlink(path + SYNCED)


def write_unsynced(state_dir: str, record: Record) -> None:
    """Put *record*, which is on disk already, there with a step more. See above.

    The caller holds the container's lock. Raises OSError; the old record then still stands.
    """
    path = path_of(state_dir, record.container_id)
    try:
        posix.link(path, path + SYNCED)
    except FileExistsError:
        pass  # since the step before
    except OSError:
        write_synced(state_dir, record)  # a file system without second names
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
    """Write *data* under the temporary name of *path*, and return the file."""
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
    """Make the file *path*, in place of what a killed call, or anybody else, left there."""
    try:
        return posix.open(path, _WRITING, 0o600)
    except FileExistsError:
        _unlink(path)
        return posix.open(path, _WRITING, 0o600)


def _of(error: OSError, path: str) -> OSError:
    """Let *error* name the file: what fails on an open one does not."""
    error.filename = error.filename or path + STAGED
    return error


def _name(path: str, file: int, sync: Callable[[int], None]) -> None:
    """Give the temporary *file* the name *path* after *sync*, and close it."""
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
    """Take the record of *container_id* from the disk, if there is one. Raises OSError."""
    path = path_of(state_dir, container_id)
    for suffix in (*TEMPORARY, ""):
        _unlink(path + suffix)


def remove_staged(state_dir: str, container_id: str) -> None:
    """Remove what a plugin left that was killed while it wrote the first record."""
    for suffix in TEMPORARY:
        try:
            posix.unlink(path_of(state_dir, container_id) + suffix)
        except OSError:
            pass  # it is not there, as nearly always, or the file system is read-only


def keep_corrupt_copy(state_dir: str, container_id: str) -> str:
    """Keep a corrupt record under another name, and return it. Raises OSError.

    It keeps its old name too, until another record takes it or :func:`remove` is called:
    whoever is killed in between leaves what the next call needs to see.
    """
    path = path_of(state_dir, container_id)
    aside = path + CORRUPT
    _unlink(aside)
    try:
        posix.link(path, aside, follow_symlinks=False)
    except OSError:  # a file system without second names
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
    """Make *state_dir* (0700), and what is above it, where it is not there. Raises OSError."""
    try:
        _make_dir(state_dir)
    except FileNotFoundError:
        make_dir(state_dir.rstrip("/").rpartition("/")[0] or "/")
        _make_dir(state_dir)


def _make_dir(path: str) -> None:
    try:
        posix.mkdir(path, 0o700)
    except FileExistsError:
        pass  # perhaps since a moment ago, by the call for another container
