"""The webhook's server on loopback, with real TLS, and clients for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

from tests.ports import free_port
from tests.unit.webhook.builders import envelope, pod
from webhook.app import create_app
from webhook.body_reader import BodyReader
from webhook.decision import Decision
from webhook.metrics import WebhookMetrics
from webhook.probes import create_probes
from webhook.server import HttpServer, probe_server, webhook_server
from webhook.settings import WebhookSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import trustme

    from webhook.app import ReviewHandler
    from webhook.review import Review

BODY = json.dumps(envelope(pod("weave"))).encode()
HEAD = (
    b"POST /pods HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n"
)
REQUEST = HEAD % len(BODY) + BODY


class Running:
    """A server with short deadlines for what clients may dawdle over, and clients for it."""

    def __init__(self, server: HttpServer, authority: trustme.CA) -> None:
        self.port = server.port
        self.server = server
        self._client = ssl.create_default_context()
        authority.configure_trust(self._client)
        self._writers: list[asyncio.StreamWriter] = []

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return an open TLS connection."""
        return await self._open(ssl=self._client, server_hostname="localhost")

    async def dial_plainly(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return an open connection without TLS."""
        return await self._open()

    def dial_blocking(self) -> ssl.SSLSocket:
        """Return an open TLS connection that nobody reads from."""
        plain = socket.create_connection(("127.0.0.1", self.port))
        return self._client.wrap_socket(plain, server_hostname="localhost")

    async def _open(self, **tls: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, **tls)
        self._writers.append(writer)
        return reader, writer

    async def served(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return an open TLS connection over which a review has been answered."""
        reader, writer = await self.dial()
        assert await answered(reader, writer)
        return reader, writer

    async def ask(self, *, tls: bool = True, request: bytes = REQUEST) -> bytes:
        """Send a normal request over a connection of its own; returns the status line."""
        reader, writer = await (self.dial() if tls else self.dial_plainly())
        writer.write(request)
        line = await reader.readline()
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
        return line

    async def until(self, holds: Callable[[int], bool]) -> None:
        """Wait until that holds of the number of connections."""
        async with asyncio.timeout(5):
            while not holds(len(self.server.table.open)):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Drop every connection, then stop the server."""
        for writer in self._writers:
            writer.transport.abort()
        for writer in self._writers:
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()
        self.server.stop()


async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Send a review; tells whether it was decided."""
    writer.write(REQUEST)
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        return (await reader.readuntil(b"}}")).startswith(b"HTTP/1.1 200")
    return False


async def yes(_: Review) -> Decision:
    return Decision()


def limits_of(**limits: Any) -> WebhookSettings:
    # A normal client sends heads and bodies whole, so that their deadlines may be short; its
    # handshake takes some time on a busy machine.
    short = {"header_seconds": 0.3, "handshake_seconds": 1.0, "body_seconds": 0.3}
    free = {"address": "127.0.0.1", "port": free_port(), "probe_port": free_port()}
    return WebhookSettings(**{**free, **short, **limits})


@contextlib.asynccontextmanager
async def running(
    authority: trustme.CA, handle: ReviewHandler = yes, **limits: Any
) -> AsyncIterator[Running]:
    settings = limits_of(**limits)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    body_reader = BodyReader(
        max_bytes=settings.max_body_bytes,
        max_buffered_bytes=settings.max_buffered_bytes,
        max_arriving=settings.max_arriving,
        seconds=settings.body_seconds,
    )
    server = webhook_server(
        create_app({"/pods": handle}, body_reader, WebhookMetrics()), settings, context
    )
    async with served_by(server, authority) as one:
        yield one


@contextlib.asynccontextmanager
async def probed(authority: trustme.CA) -> AsyncIterator[Running]:
    app = create_probes(lambda: "", CollectorRegistry())
    async with served_by(probe_server(app, limits_of()), authority) as one:
        yield one


@contextlib.asynccontextmanager
async def served_by(server: HttpServer, authority: trustme.CA) -> AsyncIterator[Running]:
    serving = asyncio.create_task(server.serve())
    while not server.is_listening:  # noqa: ASYNC110 - a property, not an event
        await asyncio.sleep(0.01)
    one = Running(server, authority)
    try:
        yield one
    finally:
        await one.close()
        await serving


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Return what came before the server closed the connection."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        return await asyncio.wait_for(reader.read(), 5)
    return b""
