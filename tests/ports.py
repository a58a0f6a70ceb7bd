"""TCP ports for servers that tests start."""

from __future__ import annotations

import socket

_given: set[int] = set()


def free_port() -> int:
    """Return a TCP port that is free at the moment, and none twice.

    The kernel may give the same one twice in a row, and a server needs two.
    """
    while True:
        with socket.socket() as listener:
            listener.bind(("", 0))
            port: int = listener.getsockname()[1]
        if port not in _given:
            _given.add(port)
            return port
