"""What may stand where a regular file is expected, and a limit for whoever waits for it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LIMIT = 20
"""When an operation counts as waiting without end, seconds."""


def _link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _link_to_nothing(path: Path) -> None:
    path.symlink_to("/none")


def _socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{folder}/{path.name}")  # such an address is short
    finally:
        os.close(folder)


IRREGULAR: dict[str, Callable[[Path], None]] = {
    "a pipe": os.mkfifo,
    "a link": _link,
    "a link to nothing": _link_to_nothing,
    "a socket": _socket,
}
irregular = pytest.mark.parametrize("put", IRREGULAR.values(), ids=IRREGULAR)


@contextlib.contextmanager
def ends() -> Iterator[None]:
    """Fail what is done here if it waits without end."""

    def stop(*_: object) -> None:
        raise AssertionError(f"it still waits after {LIMIT} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
