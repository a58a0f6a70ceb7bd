"""What a CNI plugin in Python must do to lose no address, and nothing else: a floor for a bench.

:mod:`tests.bench.floors` compiles this file, and lists what it lacks. Never install it on a node.
"""

from __future__ import annotations

import posix
from fcntl import LOCK_EX, flock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_CHUNK = 65536


def main(state_dir: str, delegate: str) -> NoReturn:
    """Answer one ADD or DEL with the plugin *delegate*, and end the process."""
    environ = posix.environ
    record = f"{state_dir}/{environ[b'CNI_CONTAINERID'].decode()}"
    flags = posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC
    flock(posix.open(f"{record}.lock", flags, 0o600), LOCK_EX)
    if environ[b"CNI_COMMAND"] == b"DEL":
        posix.unlink(record)
        posix.unlink(f"{record}.lock")
        posix.execv(delegate, [delegate])

    conf = _read(0)
    staged = _stage(record, conf)
    child, stdin, stdout = _start(delegate)
    _commit(record, staged)
    posix.write(stdin, conf)
    posix.close(stdin)

    result = _read(stdout)
    _, status = posix.waitpid(child, 0)
    _commit(record, _stage(record, conf + result))
    posix.write(1, result)
    posix._exit(1 if status else 0)


def _read(file: int) -> bytes:
    data = b""
    while chunk := posix.read(file, _CHUNK):
        data += chunk
    return data


def _stage(record: str, content: bytes) -> int:
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC
    file = posix.open(f"{record}.tmp", flags, 0o600)
    posix.write(file, content)
    return file


def _commit(record: str, file: int) -> None:
    posix.fdatasync(file)
    posix.replace(f"{record}.tmp", record)
    posix.close(file)


def _start(delegate: str) -> tuple[int, int, int]:
    """Return process, standard input and standard output of *delegate*, which waits for input."""
    its_stdin, stdin = posix.pipe2(posix.O_CLOEXEC)
    stdout, its_stdout = posix.pipe2(posix.O_CLOEXEC)
    actions = [(posix.POSIX_SPAWN_DUP2, its_stdin, 0), (posix.POSIX_SPAWN_DUP2, its_stdout, 1)]
    child = posix.posix_spawn(delegate, [delegate], posix.environ, file_actions=actions)
    posix.close(its_stdin)
    posix.close(its_stdout)
    return child, stdin, stdout
