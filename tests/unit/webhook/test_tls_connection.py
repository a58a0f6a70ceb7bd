"""TLS of one connection, without a network: the other side is the standard library's client."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from tests.unit.webhook.transports import MemoryTransport
from webhook.connection_limits import ConnectionTable
from webhook.tls_connection import TlsConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Recorder(asyncio.Protocol):
    """What HTTP gets of its transport."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.received = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember it."""
        self.events.append("made")
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Remember it."""
        self.received += data

    def pause_writing(self) -> None:
        """Remember it."""
        self.events.append("pause")

    def resume_writing(self) -> None:
        """Remember it."""
        self.events.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        """Remember it."""
        self.events.append("lost" if exc is None else exc)


class Pair:
    """The server's side of a connection, and a client."""

    def __init__(self, authority: trustme.CA, **client: Any) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        if client.pop("needs_certificate", False):
            authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        self.http = Recorder()
        self.tcp = MemoryTransport()
        self.table = ConnectionTable(9, head_seconds=9, idle_seconds=9, tls_seconds=0.05)
        self.server = TlsConnection(self.http, self.table, context)
        self.server.connection_made(self.tcp)

        trust = ssl.create_default_context()
        authority.configure_trust(trust)
        for name, value in client.items():
            setattr(trust, name, value)
        self._to_client, self._to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = trust.wrap_bio(self._to_client, self._to_server, server_hostname="localhost")

    def carry(self, size: int = 2**20) -> None:
        """Carry what either side has written to the other, in parts of *size*."""
        while self._to_server.pending:
            self.server.data_received(self._to_server.read(size))
        written, self.tcp.written = self.tcp.written, b""
        self._to_client.write(written)

    def shake(self, size: int = 2**20) -> None:
        """Do the handshake."""
        for _ in range(4):
            with contextlib.suppress(ssl.SSLWantReadError):
                self.client.do_handshake()
            self.carry(size)

    def read(self) -> bytes:
        """Return what the client can read; empty also at the end."""
        data = b""
        with contextlib.suppress(ssl.SSLWantReadError):
            while part := self.client.read(2**16):
                data += part
        return data

    def send(self, data: bytes, size: int = 2**20) -> None:
        """Let the client send *data*."""
        rest = memoryview(data)
        while rest:
            rest = rest[self.client.write(rest) :]
        self.carry(size)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def scene(play: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(play())


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("size", [1, 100, 2**20])
def test_bytes_pass_in_both_directions(
    authority: trustme.CA, version: ssl.TLSVersion, size: int
) -> None:
    """However TCP cuts them, and more than fits into a record."""

    async def play() -> None:
        pair = Pair(authority, maximum_version=version)
        pair.shake(size)
        assert pair.http.events == ["made"]
        assert not len(pair.table.handshakes)
        pair.send(b"question", size)
        assert pair.http.received == b"question"
        answer = bytes(range(256)) * 400
        pair.http.transport.write(answer)
        pair.http.transport.write(b"!")
        pair.carry()
        assert pair.read() == answer + b"!"
        pair.send(answer)
        assert pair.http.received == b"question" + answer
        assert pair.http.transport.get_extra_info("sockname") == "here"

    scene(play)


def test_what_comes_with_the_end_of_the_handshake_is_not_lost(authority: trustme.CA) -> None:
    """A client may send its request in the same packet."""

    async def play() -> None:
        pair = Pair(authority)
        with contextlib.suppress(ssl.SSLWantReadError):
            pair.client.do_handshake()
        pair.carry()
        pair.client.do_handshake()
        pair.send(b"at once")
        assert pair.http.received == b"at once"

    scene(play)


def test_a_server_that_closes_sends_everything_and_awaits_the_clients_end(
    authority: trustme.CA,
) -> None:
    """What comes meanwhile is dropped: a closed socket would take the answer from the client."""

    async def play() -> None:
        pair = Pair(authority)
        pair.shake()
        pair.http.transport.write(b"answer")
        pair.http.transport.close()
        pair.http.transport.close()
        pair.http.transport.write(b"too late")
        assert pair.tcp.calls == ["eof"]
        assert pair.http.transport.is_closing()
        pair.carry()
        assert pair.read() == b"answer"
        pair.send(b"more")
        assert pair.http.received == b""
        pair.server.eof_received()
        pair.server.connection_lost(None)
        assert pair.http.events == ["made", "lost"]

    scene(play)


def test_a_client_that_closes_is_answered_so(authority: trustme.CA) -> None:
    """Its close_notify ends the connection from either side."""

    async def play() -> None:
        pair = Pair(authority)
        pair.shake()
        with contextlib.suppress(ssl.SSLWantReadError):
            pair.client.unwrap()
        pair.carry()
        assert pair.tcp.calls == ["eof"]
        pair.client.unwrap()

    scene(play)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\xff" * 99])
def test_what_is_no_tls_is_the_end(authority: trustme.CA, data: bytes) -> None:
    """HTTP never hears of it."""

    async def play() -> None:
        pair = Pair(authority)
        pair.server.data_received(data)
        assert pair.tcp.calls == ["close"]
        pair.server.data_received(data)
        pair.server.pause_writing()
        pair.server.resume_writing()
        pair.server.connection_lost(None)
        assert pair.http.events == []
        assert not len(pair.table.handshakes)

    scene(play)


def test_garbage_after_the_handshake_is_the_end(authority: trustme.CA) -> None:
    """A record that cannot be decrypted."""

    async def play() -> None:
        pair = Pair(authority)
        pair.shake()
        pair.server.data_received(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        assert pair.tcp.calls == ["close"]
        assert pair.http.transport.is_closing()

    scene(play)


def test_a_client_without_the_required_certificate_is_refused(authority: trustme.CA) -> None:
    """By an alert that says so, before HTTP."""

    async def play() -> None:
        pair = Pair(authority, needs_certificate=True)
        pair.shake()
        with pytest.raises(ssl.SSLError, match="certificate required"):
            pair.read()
        assert pair.http.events == []
        assert pair.tcp.calls == ["close"]

    scene(play)


def test_a_handshake_has_a_deadline(authority: trustme.CA) -> None:
    """And it ends at once when the table has too many."""

    async def play() -> None:
        pair = Pair(authority)
        await asyncio.sleep(0.1)
        assert pair.tcp.calls == ["abort"]

    scene(play)


def test_reading_can_pause(authority: trustme.CA) -> None:
    """What is decrypted waits, and is passed on later, in order."""

    async def play() -> None:
        pair = Pair(authority)
        pair.shake()
        pair.http.transport.pause_reading()
        assert not pair.tcp.is_reading()
        pair.send(b"one")
        pair.send(b"two")
        assert pair.http.received == b""
        pair.http.transport.resume_reading()
        assert pair.tcp.is_reading()
        await asyncio.sleep(0)
        assert pair.http.received == b"onetwo"
        pair.http.transport.resume_reading()

        pair.http.transport.pause_reading()
        pair.http.transport.close()
        assert pair.tcp.is_reading()  # the client's end must be seen

    scene(play)


def test_slow_readers_are_reported_to_http(authority: trustme.CA) -> None:
    """And so is the error with which a connection ends."""

    async def play() -> None:
        pair = Pair(authority)
        pair.shake()
        pair.http.transport.set_write_buffer_limits(1)
        pair.server.pause_writing()
        pair.server.resume_writing()
        error = ConnectionResetError()
        pair.server.connection_lost(error)
        assert pair.http.events == ["made", "pause", "resume", error]
        pair.http.transport.abort()
        assert pair.tcp.calls == ["abort"]

    scene(play)
