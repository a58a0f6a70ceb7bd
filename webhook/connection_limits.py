"""Connections: deadlines that uvicorn lacks, and a limit of their number.

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
from asyncio.sslproto import SSLProtocol
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import ssl

MAX_HANDSHAKES = 1024
"""Limit of concurrent TLS handshakes. Each may hold 115 KiB and a descriptor."""

TLS_BUFFER = 32 * 1024
"""Bytes that asyncio allocates for each TLS connection with its first packet.

Its default of 256 KiB would let 2,000 idle connections hold 512 MiB.
"""

MAX_UNREAD = 64 * 1024
"""Bytes of responses that a client may leave unread before its deadline starts."""


class ConnectionTable:
    """The connections of one server that wait for their clients, by group, each oldest first.

    ``limit`` is for all connections, busy ones included. ``seconds`` is the deadline of what a
    client has begun: to send the head of a request, or to read a response.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self.handshakes: dict[HttpConnection, asyncio.Transport] = {}
        self.unused: dict[HttpConnection, None] = {}
        """Connections that have not sent a request."""
        self.idle: dict[HttpConnection, None] = {}
        """Connections between two requests."""
        self.closing: dict[HttpConnection, None] = {}
        """Connections that have got their last response and are not closed by the client yet."""

    def evict(self) -> None:
        """Close one connection that waits.

        Attackers have many connections and API servers few. So the larger group of unused and
        idle connections loses one: neither silent nor busy clients displace the others.
        """
        group = self.closing or max(self.unused, self.idle, key=len)
        next(iter(group)).abort()

    def add_handshake(self, connection: HttpConnection, transport: asyncio.Transport) -> None:
        """Register a handshake; abort the oldest one if there are too many."""
        self.handshakes[connection] = transport
        if len(self.handshakes) > MAX_HANDSHAKES:
            self.handshakes.pop(next(iter(self.handshakes))).abort()


class TlsProtocol(SSLProtocol):
    """The TLS layer of one connection, as in asyncio's own servers, but registered in the table."""

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
            None,  # type: ignore[arg-type]  # no future waits for the end of the handshake
            server_side=True,
            ssl_handshake_timeout=seconds,  # type: ignore[arg-type]  # floats are accepted
            ssl_shutdown_timeout=seconds,
        )
        self._connection = connection
        self._table = table

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin the handshake."""
        self._table.add_handshake(self._connection, transport)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Remove the connection from the table, if its handshake has not ended."""
        self._table.handshakes.pop(self._connection, None)
        del self._connection  # it refers to this object: the cycle would wait for the collector
        super().connection_lost(exc)


class HttpConnection(H11Protocol):
    """One HTTP connection, from the end of its handshake on."""

    def __init__(self, table: ConnectionTable, **uvicorn_arguments: Any) -> None:
        super().__init__(**uvicorn_arguments)
        self._table = table
        self._group: dict[HttpConnection, None] = {}
        self._head_deadline: asyncio.TimerHandle | None = None
        self._read_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request; evict a connection if there are too many."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(MAX_UNREAD)
        self._table.handshakes.pop(self, None)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

        self._wait_in(self._table.unused)
        if len(self.connections) > self._table.limit:
            self._table.evict()

    def data_received(self, data: bytes) -> None:
        """Process *data*; the first byte of a head starts the head's deadline."""
        if self.transport.is_closing():
            return
        super().data_received(data)

        if self.conn.their_state is h11.IDLE:
            self._head_deadline = self._head_deadline or self._abort_later()
            return
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

        if self.transport.is_closing():  # uvicorn closed it: the data was not HTTP
            self._wait_in(self._table.closing)
        else:
            self._group.pop(self, None)

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the client to close after its last response."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:
            # The response came before the whole body. The rest could keep the connection for ever.
            self.transport.close()

        if self.transport.is_closing():
            self._wait_in(self._table.closing)
        elif self.conn.their_state is h11.IDLE:  # the next request has not begun
            self._wait_in(self._table.idle)

    def pause_writing(self) -> None:
        """Start the deadline for the client to read its responses."""
        super().pause_writing()
        self._read_deadline = self._abort_later()

    def resume_writing(self) -> None:
        """Cancel the deadline: the client has read its responses."""
        super().resume_writing()
        if self._read_deadline is not None:
            self._read_deadline.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection from the table."""
        self._group.pop(self, None)
        for deadline in (self._head_deadline, self._read_deadline):
            if deadline is not None:
                deadline.cancel()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # uvicorn does not do this after a reset

    def abort(self) -> None:
        """Close the connection at once."""
        self._group.pop(self, None)
        self.connections.discard(self)
        self.transport.abort()

    def _wait_in(self, group: dict[HttpConnection, None]) -> None:
        self._group.pop(self, None)
        self._group = group
        group[self] = None

    def _abort_later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self._table.seconds, self.abort)
