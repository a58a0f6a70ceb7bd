"""The two servers: uvicorn, listening with connections of our own.

The TLS context is one living object from :mod:`certs`, whose chain is exchanged in place as
leaves are renewed.
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
"""Kubelet and Prometheus have one each; whoever else comes must not take what reviews need."""


class ListenError(OSError):
    """The port cannot be listened on; the message names its setting."""


class WebhookServer(uvicorn.Server):
    """A uvicorn server that leaves signals to its owner, and whose connections are a crowd."""

    def __init__(
        self,
        config: uvicorn.Config,
        table: ConnectionTable,
        port_setting: str,
        tls: tuple[ssl.SSLContext, float] | None = None,
    ) -> None:
        """*tls* are its context and the seconds for a handshake."""
        super().__init__(config)
        self._table = table
        self._port_setting = port_setting
        self._tls = tls

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: one process has two servers, and its owner drains before it stops them."""
        yield

    async def startup(self, sockets: Any = None) -> None:  # noqa: ARG002 - the base's signature
        """Listen; raises :class:`ListenError`."""
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
        """The port that is listened on, also where any free one was asked for."""
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
    """Let this process have as many descriptors as it may.

    Container runtimes start it with 1,024: fewer than there may be connections and handshakes,
    and without a descriptor no connection can even be accepted.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The kernel refuses a hard limit beyond fs.nr_open, though we may have inherited it.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


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
