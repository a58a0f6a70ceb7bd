"""The server on loopback, with real TLS: deadlines, crowding, and a normal client beside them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from tests.unit.webhook.builders import envelope, pod
from webhook.app import create_app
from webhook.decision import Decision
from webhook.intake import Intake
from webhook.metrics import Metrics
from webhook.server import Server, webhook_server
from webhook.settings import WebhookSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from webhook.review import Review

BODY = json.dumps(envelope(pod("weave"))).encode()
HEAD = (
    b"POST /pods HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n"
)
REQUEST = HEAD % len(BODY) + BODY


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class Running:
    """A server with short deadlines, and clients for it."""

    def __init__(self, server: Server, authority: trustme.CA) -> None:
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

    async def _open(self, **tls: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, **tls)
        self._writers.append(writer)
        return reader, writer

    async def ask(self) -> bytes:
        """Send a normal review over a connection of its own; returns the status line."""
        reader, writer = await self.dial()
        writer.write(REQUEST)
        line = await reader.readline()
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
        return line

    async def close(self) -> None:
        """Drop every connection, then stop the server."""
        for writer in self._writers:
            writer.transport.abort()
        for writer in self._writers:
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()
        self.server.should_exit = True


@contextlib.asynccontextmanager
async def running(authority: trustme.CA, **limits: Any) -> AsyncIterator[Running]:
    settings = WebhookSettings(
        **{
            "address": "127.0.0.1",
            "port": free_port(),
            "header_seconds": 0.3,
            "handshake_seconds": 0.3,
            "body_seconds": 0.3,
            **limits,
        }
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    intake = Intake(
        largest=settings.max_body_bytes,
        together=settings.max_buffered_bytes,
        arriving=settings.max_arriving,
        seconds=settings.body_seconds,
    )
    server = webhook_server(create_app({"/pods": yes}, intake, Metrics()), settings, context)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has a flag, not an event
        await asyncio.sleep(0.01)
    one = Running(server, authority)
    try:
        yield one
    finally:
        await one.close()
        await serving


async def yes(_: Review) -> Decision:
    return Decision()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Return what came before the server closed the connection."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        return await asyncio.wait_for(reader.read(), 5)
    return b""


async def silent(one: Running) -> bytes:
    """Shake hands and say nothing."""
    reader, _ = await one.dial()
    return await ended(reader)


async def half_a_head(one: Running) -> bytes:
    """Begin a request and stop."""
    reader, writer = await one.dial()
    writer.write(REQUEST[:20])
    return await ended(reader)


async def dripping_head(one: Running) -> bytes:
    """Send a head byte by byte, each in time, the whole too late."""
    reader, writer = await one.dial()
    return await drip(reader, writer, b"POST /pods HTTP/1.1\r\nX: " + b"y" * 100)


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bytes:
    for byte in data:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)
        if writer.is_closing() or reader.at_eof():
            break
    return await ended(reader)


async def dripping_second_head(one: Running) -> bytes:
    """Behave once, then drip on the same connection."""
    reader, writer = await one.dial()
    writer.write(REQUEST)
    await reader.readuntil(b"}}")
    return await drip(reader, writer, b"POST /pods HTTP/1.1\r\nX: " + b"y" * 100)


async def dripping_body(one: Running) -> bytes:
    """Send a head, then a body that takes for ever."""
    reader, writer = await one.dial()
    writer.write(HEAD % len(BODY))
    return await drip(reader, writer, BODY)


async def no_handshake(one: Running) -> bytes:
    """Connect and say nothing at all."""
    reader, _ = await one.dial_plainly()
    return await ended(reader)


async def garbage(one: Running) -> bytes:
    """Send what is no TLS."""
    reader, writer = await one.dial_plainly()
    writer.write(b"GET / HTTP/1.1\r\n\r\n" * 10)
    return await ended(reader)


async def half_closed(one: Running) -> bytes:
    """Send half a body, then no more."""
    reader, writer = await one.dial_plainly()
    writer.write(b"\x16\x03\x01")
    writer.write_eof()
    return await ended(reader)


MISBEHAVIOUR = [
    silent,
    half_a_head,
    dripping_head,
    dripping_second_head,
    no_handshake,
    garbage,
    half_closed,
]


@pytest.mark.parametrize("misbehave", MISBEHAVIOUR, ids=lambda one: one.__name__)
def test_a_client_that_dawdles_is_cut_off(
    authority: trustme.CA, misbehave: Callable[[Running], Coroutine[Any, Any, bytes]]
) -> None:
    """It is gone in seconds, while a normal client is served."""

    async def scene() -> None:
        async with running(authority) as one:
            bad = asyncio.create_task(misbehave(one))
            await asyncio.sleep(0.05)
            assert b"200" in await one.ask()
            await asyncio.wait_for(bad, 5)
            assert b"200" in await one.ask()

    asyncio.run(scene())


def test_a_body_that_drips_is_told_so(authority: trustme.CA) -> None:
    """408, and the connection is closed."""

    async def scene() -> None:
        async with running(authority) as one:
            assert b"408 Request Timeout" in await dripping_body(one)

    asyncio.run(scene())


def test_a_client_that_leaves_in_the_middle_of_a_body_harms_nobody(authority: trustme.CA) -> None:
    """Nothing is logged as a fault, and the next client is served."""

    async def scene() -> None:
        async with running(authority) as one:
            _, writer = await one.dial()
            writer.write(HEAD % len(BODY) + BODY[:9])
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.transport.abort()
            assert b"200" in await one.ask()

    asyncio.run(scene())


def test_connections_that_never_asked_make_room_for_those_that_do(authority: trustme.CA) -> None:
    """Idle connections beyond the limit are closed, oldest deadline or not."""

    async def scene() -> None:
        async with running(authority, max_connections=8, header_seconds=60) as one:
            for _ in range(30):
                await one.dial()
            answers = [await one.ask() for _ in range(20)]
            assert all(b"200" in answer for answer in answers)
            assert len(one.server.server_state.connections) <= 8

    asyncio.run(scene())


def test_connections_at_work_are_not_closed_for_newcomers(authority: trustme.CA) -> None:
    """A client that has been served keeps its connection; the newcomer is turned away."""

    async def scene() -> None:
        async with running(authority, max_connections=8) as one:
            served = [await one.dial() for _ in range(8)]
            for reader, writer in served:
                writer.write(REQUEST)
                await reader.readuntil(b"}}")
            newcomer, _ = await one.dial()
            assert await ended(newcomer) == b""
            for reader, writer in served:
                writer.write(REQUEST)
                assert b"200" in await reader.readline()

    asyncio.run(scene())


def test_a_connection_stays_open_between_requests(authority: trustme.CA) -> None:
    """Longer than the deadline for a head: that begins with the head."""

    async def scene() -> None:
        async with running(authority) as one:
            reader, writer = await one.dial()
            for _ in range(2):
                writer.write(REQUEST)
                assert b"200" in await reader.readline()
                await reader.readuntil(b"}}")
                await asyncio.sleep(0.6)

    asyncio.run(scene())
