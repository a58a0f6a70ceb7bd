"""Uvicorn, with the deadlines it lacks: for handshakes and for the heads of requests.

The TLS context is one living object from :mod:`certs`, whose chain is exchanged in place as
leaves are renewed. Bodies have their deadline in :mod:`webhook.intake`.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.sslproto import SSLProtocol
from typing import TYPE_CHECKING, Any, ClassVar

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from webhook.settings import WebhookSettings

TLS_BUFFER = 32 * 1024
"""Bytes that asyncio sets aside for each TLS connection, from its first packet on. Its own
256 KiB would let 2,000 idle connections hold 512 MiB."""


class CannotListen(OSError):  # noqa: N818 - says what it is
    """The port cannot be listened on; the message names its setting."""


class Deadlines(H11Protocol):
    """One connection. A head that does not arrive in time ends it, and so does crowding."""

    header_seconds = 5.0
    max_connections = 512
    strangers: ClassVar[dict[Deadlines, None]] = {}
    """Connections that have yet to send a request, oldest first; one dict for each server."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request; make room if there are too many connections."""
        super().connection_made(transport)
        self.strangers[self] = None
        self._await_head()
        if len(self.connections) > self.max_connections:
            # Whoever has been served is left alone; the newcomer goes if there is nobody else.
            next(iter(self.strangers)).leave()

    def data_received(self, data: bytes) -> None:
        """Take *data*; whatever begins a head starts the head's deadline."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self.strangers.pop(self, None)
            self._cancel()
        elif self._deadline is None and self.timeout_keep_alive_task is None:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.strangers.pop(self, None)
        self._cancel()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(self.header_seconds, self.leave)

    def _cancel(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def leave(self) -> None:
        """End the connection at once."""
        self.strangers.pop(self, None)
        self.connections.discard(self)
        self.transport.abort()


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to its owner and limits TLS handshakes."""

    handshake_seconds: float | None = None
    port_setting = ""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: one process has two servers, and its owner drains before it stops them."""
        yield

    async def startup(self, sockets: Any = None) -> None:  # noqa: ARG002 - the base's signature
        """Listen; the base has no way to pass the handshake's deadline on.

        Raises :class:`CannotListen`.
        """
        await self.lifespan.startup()
        config = self.config
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(
                lambda: config.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn calls it
                    config=config, server_state=self.server_state, app_state=self.lifespan.state
                ),
                host=config.host or None,
                port=config.port,
                ssl=config.ssl,
                backlog=config.backlog,
                ssl_handshake_timeout=self.handshake_seconds,
            )
        except OSError as error:
            raise CannotListen(
                f"setting {self.port_setting}: cannot listen on port {config.port}: {error}"
            ) from None
        self.servers = [server]
        self.started = True

    @property
    def port(self) -> int:
        """The port that is listened on, also where any free one was asked for."""
        number: int = self.servers[0].sockets[0].getsockname()[1]
        return number


def webhook_server(app: Any, settings: WebhookSettings, context: ssl.SSLContext) -> Server:
    """Return the HTTPS server for the API servers."""
    SSLProtocol.max_size = TLS_BUFFER
    protocol = type(
        "Connection",
        (Deadlines,),
        {
            "header_seconds": settings.header_seconds,
            "max_connections": settings.max_connections,
            "strangers": {},
        },
    )
    server = Server(
        _config(
            app,
            settings.address,
            settings.port,
            http=protocol,
            ssl_context_factory=lambda _config, _default: context,
            timeout_keep_alive=settings.keep_alive_seconds,
        )
    )
    server.handshake_seconds = settings.handshake_seconds
    server.port_setting = "--port (GENIE_PORT)"
    return server


def probe_server(app: Any, settings: WebhookSettings) -> Server:
    """Return the plain HTTP server for probes and metrics."""
    server = Server(_config(app, settings.address, settings.probe_port, http=H11Protocol))
    server.port_setting = "--probe-port (GENIE_PROBE_PORT)"
    return server


def _config(app: Any, host: str, port: int, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=5,
        **more,
    )
