"""TLS of one connection, between TCP and HTTP, with the public parts of the standard library.

To TCP it is the protocol, to HTTP the transport. The bytes pass through two memory buffers of
:mod:`ssl` (``MemoryBIO``), and nothing is allocated in reserve: asyncio's own TLS would hold
256 KiB for each connection, as soon as its client has sent anything.

Its phases: handshake, registered in the table; open, after HTTP was notified; closing, after
everything was sent, ``close_notify`` and the end of the stream included. A closing connection
waits for the client's end of the stream: to close it with unread data would take the last response
from the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from webhook.connection_limits import ConnectionTable

MAX_RECORD = 16 * 1024
"""Bytes that one record of TLS carries at most."""


class TlsConnection(asyncio.Protocol, asyncio.Transport):
    """The server's side of one TLS connection.

    After the handshake, *http* is connected to this transport.
    """

    def __init__(
        self, http: asyncio.Protocol, table: ConnectionTable, context: ssl.SSLContext
    ) -> None:
        super().__init__()
        self._http = http
        self._table = table
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._tcp: asyncio.Transport
        self._is_open = False
        self._is_closing = False
        self._is_paused = False

    # The protocol of TCP

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the handshake."""
        self._tcp = cast("asyncio.Transport", transport)
        self._table.add_handshake(self._tcp)

    def data_received(self, data: bytes) -> None:
        """Decrypt *data* and pass it on; before that, continue the handshake."""
        if self._is_closing:
            return  # only the end is awaited
        self._incoming.write(data)
        try:
            if not self._is_open:
                self._tls.do_handshake()
                self._open()
            self._read()
            self._flush()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError:  # not TLS, or another certificate than the one required
            self._is_closing = True
            self._flush()  # the alert
            self._tcp.close()

    def eof_received(self) -> None:
        """Let asyncio close the transport: HTTP needs no half-open connections."""

    def pause_writing(self) -> None:
        """Pass on that the client does not read."""
        if self._is_open:
            self._http.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the client reads again."""
        if self._is_open:
            self._http.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on the end."""
        self._is_closing = True
        self._table.handshakes.discard(self._tcp)
        http = self._http
        del self._http  # it refers to this object: the cycle would wait for the collector
        if self._is_open:
            self._is_open = False
            http.connection_lost(exc)

    def _open(self) -> None:
        self._flush()
        self._table.handshakes.discard(self._tcp)
        self._is_open = True
        self._http.connection_made(self)

    def _read(self) -> None:
        """Pass on what has arrived; raises SSLWantReadError in the middle of a record."""
        while not self._is_paused and not self._is_closing:
            data = self._tls.read(MAX_RECORD)
            if not data:  # the client's close_notify
                self.close()
                return
            self._http.data_received(data)
            if not (self._incoming.pending or self._tls.pending()):
                return  # another read would raise, which costs more than to decrypt a review

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._tcp.write(self._outgoing.read())

    # The transport of HTTP

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send *data*; without effect on a connection that is closing."""
        if self._is_closing:
            return
        rest = memoryview(data)
        while rest:
            rest = rest[self._tls.write(rest) :]
        self._flush()

    def close(self) -> None:
        """Close the connection when everything is sent, and then the client has closed it."""
        if self._is_closing:
            return
        self._is_closing = True
        with contextlib.suppress(ssl.SSLError):  # usually the client's close_notify is missing yet
            self._tls.unwrap()
        if not self._tcp.is_closing():
            self._flush()
            self._tcp.write_eof()
        if self._is_paused:
            self._tcp.resume_reading()

    def abort(self) -> None:
        """Close the connection at once."""
        self._is_closing = True
        self._tcp.abort()

    def is_closing(self) -> bool:
        """Tell whether nothing can be sent any more."""
        return self._is_closing

    def pause_reading(self) -> None:
        """Pass nothing on, and leave what arrives to the kernel."""
        self._is_paused = True
        self._tcp.pause_reading()

    def resume_reading(self) -> None:
        """Pass on again what arrives, and soon what has arrived."""
        if self._is_paused and not self._is_closing:
            self._is_paused = False
            self._tcp.resume_reading()
            asyncio.get_running_loop().call_soon(self.data_received, b"")

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set how much may be unsent before :meth:`pause_writing`."""
        self._tcp.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what TCP knows of the connection."""
        return self._tcp.get_extra_info(name, default)
