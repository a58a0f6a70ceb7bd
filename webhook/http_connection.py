"""HTTP/1.1 of one connection: requests are parsed, and an ASGI application answers them in turn.

llhttp (httptools) parses. What a client may send is bounded here: the bytes and the fields of a
head, and the part of a body that the application has not taken. How long a client may take is
limited by :class:`~webhook.connection_limits.ConnectionTable`: the connection registers there what
it waits for.

API servers send no request before the response to the previous one. Other clients may: their
requests are answered in turn, and meanwhile nothing more is read from them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import httptools

from webhook.http_exchange import Exchange

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from webhook.connection_limits import ConnectionTable
    from webhook.deadlines import Deadlines

MAX_HEAD = 32 * 1024
"""Bytes that the head of a request may have, counted in whole reads. API servers send 500."""

MAX_FIELDS = 64
"""Fields that a head may have. API servers send seven."""

MAX_WAITING = 8
"""Requests of one connection that may wait for the response to another. API servers send none."""

MAX_UNTAKEN = 64 * 1024
"""Bytes of a body that may wait for the application before no more are read."""

MAX_UNREAD = 64 * 1024
"""Bytes of responses that a client may leave unread before its deadline starts."""

_ASGI = {"version": "3.0", "spec_version": "2.3"}

MALFORMED = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 20\r\nconnection: close\r\n\r\nnot a valid request\n"
)


class OverLimitError(ValueError):
    """The head of a request is too large, or too many requests came at once."""


class HttpConnection(asyncio.Protocol):
    """One connection, from the end of its TLS handshake on."""

    def __init__(self, app: ASGIApp, table: ConnectionTable) -> None:
        self._app = app
        self._table = table
        self._transport: asyncio.Transport
        self._group: Deadlines[Any] | None = None
        self._is_stopping = False

        self._running: Exchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[Exchange] = deque()
        """Further requests, which came before the response to the one that is running."""

        self._parser: httptools.HttpRequestParser
        self._arriving: Exchange
        """The request whose body is arriving, or whose response is due."""
        self._is_in_head = False
        self._head_bytes = 0
        self._url = b""
        self._fields: list[tuple[bytes, bytes]] = []

    # The protocol of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(MAX_UNREAD)
        self._parser = httptools.HttpRequestParser(self)
        self._group = self._table.unused
        self._table.add(self)

    def data_received(self, data: bytes) -> None:
        """Parse *data*, and start the request whose head it completes."""
        if self._transport.is_closing():
            return
        try:
            self._parser.feed_data(data)
            if self._is_in_head:
                self._add_to_head(len(data))
        except (httptools.HttpParserError, OverLimitError):
            self._transport.write(MALFORMED)
            self.close()
        except httptools.HttpParserUpgrade:
            # The request is answered as if it had not asked to upgrade. What follows is not HTTP.
            self._arriving.keep_alive = False
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """Start the deadline for the client to read its responses."""
        self._table.unread.add(self)

    def resume_writing(self) -> None:
        """Stop the deadline of :meth:`pause_writing`: the client has read its responses."""
        self._table.unread.discard(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Leave the table, and let the application know."""
        self._leave()
        self._table.unread.discard(self)
        self._waiting.clear()
        if self._running is not None:
            self._running.disconnect()
        del self._parser  # it refers to this object: the cycle would wait for the collector

    # The table and the server

    def close(self) -> None:
        """Close the connection when everything is sent."""
        self._wait_in(self._table.closing)
        self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        self._leave()
        self._transport.abort()

    def shut_down(self) -> None:
        """Close the connection, but not before the response to the request that is running."""
        self._is_stopping = True
        if self._running is None:
            self.close()
        else:
            self._running.keep_alive = False

    def cancel(self) -> None:
        """Close the connection at once, and end the application's work for it."""
        if self._task is not None:
            self._task.cancel()
        self.abort()

    def _wait_in(self, group: Deadlines[Any] | None) -> None:
        """Join *group*, and leave the one before; None: the connection is busy."""
        if group is self._group:
            return
        if self._group is not None:
            self._group.discard(self)
        self._group = group
        if group is not None:
            group.add(self)

    def _leave(self) -> None:
        self._wait_in(None)
        self._table.remove(self)

    # The parser

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._is_in_head = True
        self._head_bytes = 0
        self._url = b""
        self._fields = []

    def on_url(self, url: bytes) -> None:
        """Take a part of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head, or of the trailer of a body."""
        if len(self._fields) == MAX_FIELDS:
            raise OverLimitError
        self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Start the request, or let it wait for the one before."""
        self._is_in_head = False
        if len(self._waiting) == MAX_WAITING:
            raise OverLimitError
        self._arriving = exchange = self._exchange()
        if self._running is None:
            self._start(exchange)
        else:
            self._waiting.append(exchange)
            self._transport.pause_reading()

    def on_body(self, chunk: bytes) -> None:
        """Take a part of the body; read no more if too much of it waits for the application."""
        self._arriving.add_body(chunk)
        if self._arriving.untaken_bytes > MAX_UNTAKEN:
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """Take the end of the body."""
        self._arriving.complete_body()

    def _add_to_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD:
            raise OverLimitError
        if self._running is None:
            self._wait_in(self._table.heads)

    def _exchange(self) -> Exchange:
        url = httptools.parse_url(self._url)
        version = self._parser.get_http_version()
        scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "method": self._parser.get_method().decode(),
            "scheme": "https",
            "path": unquote(url.path.decode("ascii")),
            "raw_path": url.path,
            "query_string": url.query or b"",
            "root_path": "",
            "headers": self._fields,
        }
        keep_alive = version == "1.1" and self._parser.should_keep_alive()
        return Exchange(self, scope, keep_alive=keep_alive)

    # The exchanges

    def _start(self, exchange: Exchange) -> None:
        self._running = exchange
        self._wait_in(None)
        self._task = asyncio.get_running_loop().create_task(exchange.run(self._app))

    def write(self, data: bytes) -> None:
        """Send *data*, if the connection is still open."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def resume_body(self) -> None:
        """Read on: the application waits for more of the body."""
        self._transport.resume_reading()

    def end_exchange(self, exchange: Exchange) -> None:
        """Close the connection, or go on with the next request."""
        self._running = self._task = None
        if self._arriving is exchange:
            del self._arriving  # an idle connection holds nothing of it
        if self._transport.is_closing():
            return
        if self._is_stopping or not exchange.keep_alive:
            self.close()
        elif self._waiting:
            self._start(self._waiting.popleft())
        else:
            self._wait_in(self._table.heads if self._is_in_head else self._table.idle)
            self._transport.resume_reading()
