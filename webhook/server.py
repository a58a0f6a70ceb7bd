"""The two servers: they accept connections, and stop without cutting off a response.

Each connection is HTTP (:mod:`webhook.http_connection`), below that TLS
(:mod:`webhook.tls_connection`) for the webhook. The TLS context comes from :mod:`certs`, which
replaces its certificate chain in place.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from typing import TYPE_CHECKING, Any

from webhook.connection_limits import ConnectionTable
from webhook.http_connection import HttpConnection
from webhook.tls_connection import TlsConnection

if TYPE_CHECKING:
    import ssl

    from webhook.settings import WebhookSettings

PROBE_CONNECTIONS = 128
"""Limit of connections to the probe port. Kubelet and Prometheus need one each; other clients must
not use up the descriptors that reviews need."""

BACKLOG = 2048
"""Connections that the kernel accepts before the server does."""

LAST_RESPONSES_SECONDS = 5.0
"""How long a server that stops waits for the responses that are due."""


class ListenError(OSError):
    """The server cannot listen on its port; the message names the setting."""


class HttpServer:
    """A server of one ASGI application on one port; *context* None: without TLS."""

    def __init__(
        self,
        app: Any,
        table: ConnectionTable,
        address: str,
        port: int,
        *,
        setting: str,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.table = table
        self._app = app
        self._address = address
        self._port = port
        self._setting = setting
        self._context = context
        self._listener: asyncio.Server | None = None
        self._stopping = asyncio.Event()

    async def serve(self) -> None:
        """Serve until :meth:`stop` is called, and then the last responses are sent.

        Raises :class:`ListenError`.
        """
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._connect, self._address or None, self._port, backlog=BACKLOG
            )
        except OSError as error:
            raise ListenError(
                f"setting {self._setting}: cannot listen on port {self._port}: {error}"
            ) from None
        await self._stopping.wait()
        self._listener.close()
        await self._close_connections()

    def stop(self) -> None:
        """Accept no more connections, and close those that are open after their responses."""
        self._stopping.set()

    @property
    def is_listening(self) -> bool:
        """Whether the server accepts connections."""
        return self._listener is not None and self._listener.is_serving()

    @property
    def port(self) -> int:
        """The port that the server listens on; the kernel chose it if the setting is 0."""
        sockets = self._listener.sockets if self._listener else ()
        number: int = sockets[0].getsockname()[1]
        return number

    def _connect(self) -> asyncio.BaseProtocol:
        connection = HttpConnection(self._app, self.table)
        if self._context is None:
            return connection
        return TlsConnection(connection, self.table, self._context)

    async def _close_connections(self) -> None:
        for connection in list(self.table.open):
            connection.shut_down()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_RESPONSES_SECONDS):
                await self.table.wait_until_empty()
        for connection in list(self.table.open):
            connection.cancel()


def webhook_server(app: Any, settings: WebhookSettings, context: ssl.SSLContext) -> HttpServer:
    """Return the HTTPS server for the API servers."""
    table = ConnectionTable(
        settings.max_connections,
        head_seconds=settings.header_seconds,
        idle_seconds=settings.keep_alive_seconds,
        tls_seconds=settings.handshake_seconds,
    )
    return HttpServer(
        app,
        table,
        settings.address,
        settings.port,
        setting="--port (GENIE_PORT)",
        context=context,
    )


def probe_server(app: Any, settings: WebhookSettings) -> HttpServer:
    """Return the plain HTTP server for probes and metrics."""
    table = ConnectionTable(
        PROBE_CONNECTIONS,
        head_seconds=settings.header_seconds,
        idle_seconds=settings.keep_alive_seconds,
        tls_seconds=settings.handshake_seconds,
    )
    return HttpServer(
        app, table, settings.address, settings.probe_port, setting="--probe-port (GENIE_PROBE_PORT)"
    )


def raise_descriptor_limit() -> None:
    """Raise the soft limit of file descriptors to the hard limit.

    Container runtimes set it to 1,024. That is less than all connections and handshakes may need,
    and without a descriptor no connection can be accepted.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The kernel refuses an inherited hard limit that is greater than fs.nr_open.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
