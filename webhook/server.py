"""The two servers: uvicorn, with the connections of :mod:`webhook.connection_limits`.

The TLS context comes from :mod:`certs`, which replaces its certificate chain in place.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from webhook.connection_limits import ConnectionTable, HttpConnection, TlsProtocol

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from webhook.settings import WebhookSettings

PROBE_CONNECTIONS = 128
"""Limit of connections to the probe port. Kubelet and Prometheus need one each; other clients must
not use up the descriptors that reviews need."""


class ListenError(OSError):
    """The server cannot listen on its port; the message names the setting."""


class WebhookServer(uvicorn.Server):
    """A uvicorn server with a :class:`ConnectionTable`, and without signal handlers."""

    def __init__(
        self,
        config: uvicorn.Config,
        table: ConnectionTable,
        port_setting: str,
        tls: tuple[ssl.SSLContext, float] | None = None,
    ) -> None:
        """Take *tls* as the context and the seconds for a handshake; None: plain HTTP."""
        super().__init__(config)
        self._table = table
        self._port_setting = port_setting
        self._tls = tls

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: the process has two servers, and :class:`Service` drains before it stops."""
        yield

    async def startup(self, sockets: Any = None) -> None:  # noqa: ARG002 - the base's signature
        """Begin to listen; raises :class:`ListenError`."""
        await self.lifespan.startup()
        config = self.config
        try:
            server = await asyncio.get_running_loop().create_server(
                self._connect, host=config.host or None, port=config.port, backlog=config.backlog
            )
        except OSError as error:
            raise ListenError(
                f"setting {self._port_setting}: cannot listen on port {config.port}: {error}"
            ) from None
        self.servers = [server]
        self.started = True

    def _connect(self) -> asyncio.BaseProtocol:
        connection = HttpConnection(
            self._table, config=self.config, server_state=self.server_state, app_state={}
        )
        return TlsProtocol(connection, self._table, *self._tls) if self._tls else connection

    @property
    def port(self) -> int:
        """The port that the server listens on; the kernel chose it if the setting is 0."""
        number: int = self.servers[0].sockets[0].getsockname()[1]
        return number


def webhook_server(app: Any, settings: WebhookSettings, context: ssl.SSLContext) -> WebhookServer:
    """Return the HTTPS server for the API servers."""
    keep_alive = settings.keep_alive_seconds
    return WebhookServer(
        _config(app, settings.address, settings.port, timeout_keep_alive=keep_alive),
        ConnectionTable(settings.max_connections, settings.header_seconds),
        "--port (GENIE_PORT)",
        (context, settings.handshake_seconds),
    )


def probe_server(app: Any, settings: WebhookSettings) -> WebhookServer:
    """Return the plain HTTP server for probes and metrics."""
    return WebhookServer(
        _config(app, settings.address, settings.probe_port),
        ConnectionTable(PROBE_CONNECTIONS, settings.header_seconds),
        "--probe-port (GENIE_PROBE_PORT)",
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


def _config(app: Any, host: str, port: int, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="asyncio",
        http=H11Protocol,
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
