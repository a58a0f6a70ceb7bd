"""The connections of one server: how long each may wait for its client, and how many there may be.

A connection is busy from the head of a request to the end of its response. All other time it
waits for its client, in one of the groups of :class:`ConnectionTable`. When there are too many
connections, the table closes one that waits, never a busy one.

API servers keep connections in reserve, used and unused, and do not repeat a request whose
connection was closed under it. So a waiting connection lives as long as the API server would keep
it, unless there are too many.

Bodies have their deadline in :mod:`webhook.body_reader`.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from webhook.deadlines import Deadlines

MAX_HANDSHAKES = 1024
"""Limit of concurrent TLS handshakes. Each may hold 115 KiB and a descriptor."""


class Connection(Protocol):
    """What the table needs of a connection."""

    def close(self) -> None:
        """Close it when everything is sent."""

    def abort(self) -> None:
        """Close it at once."""

    def shut_down(self) -> None:
        """Close it as soon as it is not busy."""

    def cancel(self) -> None:
        """Close it at once, also if it is busy."""


class ConnectionTable:
    """The open connections of one server, and which of them wait for what.

    ``limit`` is for all connections, busy ones included. *head_seconds* is the deadline of what a
    client has begun: to send the head of a request, or to read a response. *idle_seconds* is that
    for the next request, *tls_seconds* those for a TLS handshake and for the client to close.
    """

    def __init__(
        self,
        limit: int,
        *,
        head_seconds: float,
        idle_seconds: float,
        tls_seconds: float,
    ) -> None:
        self.limit = limit
        self.open: set[Connection] = set()
        self._is_empty = asyncio.Event()
        self.handshakes: Deadlines[asyncio.Transport] = Deadlines(tls_seconds, _abort)
        self.unused: Deadlines[Connection] = Deadlines(idle_seconds, _close)
        """Connections that have not begun a request."""
        self.idle: Deadlines[Connection] = Deadlines(idle_seconds, _close)
        """Connections between two requests."""
        self.heads: Deadlines[Connection] = Deadlines(head_seconds, _abort)
        """Connections that have sent a part of a head."""
        self.closing: Deadlines[Connection] = Deadlines(tls_seconds, _abort)
        """Connections that have got their last response and are not closed by the client yet."""
        self.unread: Deadlines[Connection] = Deadlines(head_seconds, _abort)
        """Connections, also busy ones, whose client leaves too much of its responses unread."""

    def add(self, connection: Connection) -> None:
        """Register a connection whose handshake has ended; evict one if there are too many."""
        self.open.add(connection)
        self.unused.add(connection)
        if len(self.open) > self.limit:
            self._evict()

    def remove(self, connection: Connection) -> None:
        """Forget a connection that has left its group."""
        self.open.discard(connection)
        if not self.open:
            self._is_empty.set()

    async def wait_until_empty(self) -> None:
        """Wait until no connection is open."""
        while self.open:
            self._is_empty.clear()
            await self._is_empty.wait()

    def _evict(self) -> None:
        """Close one connection that waits.

        Attackers have many connections and API servers few. So the largest group of those that
        wait for a request loses one: neither silent nor busy clients displace the others.
        """
        group = self.closing or max(self.unused, self.idle, self.heads, key=len)
        group.oldest.abort()

    def add_handshake(self, transport: asyncio.Transport) -> None:
        """Register a handshake; abort the oldest one if there are too many."""
        self.handshakes.add(transport)
        if len(self.handshakes) > MAX_HANDSHAKES:
            oldest = self.handshakes.oldest
            self.handshakes.discard(oldest)
            oldest.abort()


def _abort(connection: Connection | asyncio.Transport) -> None:
    connection.abort()


def _close(connection: Connection) -> None:
    connection.close()
