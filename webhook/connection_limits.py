"""Connections: deadlines where uvicorn waits without one, and room for those who ask.

A connection is busy from the head of a request to the end of its answer. All other time it
waits for its client, in one of the groups of :class:`ConnectionTable`. When there are too many
connections, the table closes one that waits, never a busy one.

An API server keeps connections in reserve, used and unused, and does not resend a request that
met the end of one. So a waiting connection lives as long as the API server itself would keep it,
unless there are too many.

Bodies have their deadline in :mod:`webhook.body_reader`.
"""

from __future__ import annotations

import asyncio
from asyncio.sslproto import SSLProtocol
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import ssl

HANDSHAKES = 1024
"""TLS handshakes at one time. Each may hold 115 KiB, and a descriptor."""

TLS_BUFFER = 32 * 1024
"""Bytes that asyncio sets aside for each TLS connection, from its first packet on. Its own
256 KiB would let 2,000 idle connections hold 512 MiB."""

UNTAKEN = 64 * 1024
"""Bytes of answers that a client may leave untaken before its time to take them runs."""


class ConnectionTable:
    """The connections of one server that wait for their clients, each group oldest first.

    ``limit`` is for all connections, those at work included; ``seconds`` are for what a client
    has begun: the head of a request, and taking an answer.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self.handshakes: dict[HttpConnection, asyncio.Transport] = {}
        self.unused: dict[HttpConnection, None] = {}
        """Have yet to send a request."""
        self.idle: dict[HttpConnection, None] = {}
        self.closing: dict[HttpConnection, None] = {}
        """Have got their last answer, and not said good-bye yet."""

    def evict_waiting(self) -> None:
        """End one connection that waits.

        Attackers are many and API servers few: of unused and idle ones the larger group
        gives way, so neither silent nor busy crowds push out the others.
        """
        group = self.closing or max(self.unused, self.idle, key=len)
        next(iter(group)).abort()

    def add_handshake(self, connection: HttpConnection, transport: asyncio.Transport) -> None:
        """Take note of a handshake that begins; the oldest makes room for it."""
        self.handshakes[connection] = transport
        if len(self.handshakes) > HANDSHAKES:
            self.handshakes.pop(next(iter(self.handshakes))).abort()


class TlsProtocol(SSLProtocol):
    """The TLS below one connection: what asyncio's own servers use, and counted."""

    max_size = TLS_BUFFER

    def __init__(
        self,
        connection: HttpConnection,
        table: ConnectionTable,
        context: ssl.SSLContext,
        seconds: float,
    ) -> None:
        super().__init__(
            asyncio.get_running_loop(),
            connection,
            context,
            None,  # type: ignore[arg-type]  # nobody waits for the handshake's end
            server_side=True,
            ssl_handshake_timeout=seconds,  # type: ignore[arg-type]  # floats will do
            ssl_shutdown_timeout=seconds,
        )
        self._connection = connection
        self._table = table

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin the handshake."""
        self._table.add_handshake(self._connection, transport)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection, whose handshake may not have ended."""
        self._table.handshakes.pop(self._connection, None)
        del self._connection  # which refers to us: a cycle would wait for the garbage collector
        super().connection_lost(exc)


class HttpConnection(H11Protocol):
    """One connection, from the end of its handshake on."""

    def __init__(self, table: ConnectionTable, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._table = table
        self._group: dict[HttpConnection, None] = {}
        self._head: asyncio.TimerHandle | None = None
        self._answer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request; make room if there are too many connections."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(UNTAKEN)
        self._table.handshakes.pop(self, None)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )
        self._wait_in(self._table.unused)
        if len(self.connections) > self._table.limit:
            self._table.evict_waiting()

    def data_received(self, data: bytes) -> None:
        """Take *data*; whatever begins a head starts the head's deadline."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._head = self._head or self._abort_later()
            return
        if self._head is not None:
            self._head.cancel()
            self._head = None
        if self.transport.is_closing():  # it was no HTTP
            self._wait_in(self._table.closing)
        else:
            self._group.pop(self, None)

    def on_response_complete(self) -> None:
        """Wait for the next request, unless the client has been answered for the last time."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:
            # Answered before its body had come, which then could keep the connection for ever.
            self.transport.close()
        if self.transport.is_closing():
            self._wait_in(self._table.closing)
        elif self.conn.their_state is h11.IDLE:  # and has not sent the next request already
            self._wait_in(self._table.idle)

    def pause_writing(self) -> None:
        """Give the client some time to take its answers."""
        super().pause_writing()
        self._answer = self._abort_later()

    def resume_writing(self) -> None:
        """Go on: it has."""
        super().resume_writing()
        if self._answer is not None:
            self._answer.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._group.pop(self, None)
        for timer in (self._head, self._answer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # which uvicorn forgets after a reset

    def abort(self) -> None:
        """End the connection at once."""
        self._group.pop(self, None)
        self.connections.discard(self)
        self.transport.abort()

    def _wait_in(self, group: dict[HttpConnection, None]) -> None:
        self._group.pop(self, None)
        self._group = group
        group[self] = None

    def _abort_later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self._table.seconds, self.abort)
