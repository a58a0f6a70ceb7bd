"""Hostile clients beside a normal one, all on loopback against the webhook's own server process."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import ssl
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from tests.bench.reviews import NAMED, loads
from tests.bench.webhook_processes import ours

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

SILENT = 900
IDLE = 560
"""Connections with TLS: more than the server's max_connections, so that it ends some of them."""

REQUESTS = 100
EIGHT_MIB = 8 * 2**20
MEMORY_LIMIT_MIB = 384
PATH, (BODY,) = loads()[NAMED]
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: "


class Target:
    """The server: its process, and connections to it."""

    def __init__(self, pid: int, port: int, authority: trustme.CA) -> None:
        self.pid = pid
        self._port = port
        self._trust = ssl.create_default_context()
        authority.configure_trust(self._trust)

    def most_mib(self) -> float:
        """Return the most memory that the server has had resident."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    @contextlib.asynccontextmanager
    async def connection(self, *, tls: bool = True) -> AsyncIterator[Any]:
        """Give a reader and a writer."""
        how: dict[str, Any] = {"ssl": self._trust, "server_hostname": "localhost"} if tls else {}
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, **how)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    # Deadlines so long that all idle connections are there at the same time: that the short ones
    # hold is shown by tests/unit/webhook/test_server.py.
    monkeypatch.setenv("GENIE_HANDSHAKE_SECONDS", "60")
    monkeypatch.setenv("GENIE_HEADER_SECONDS", "60")
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "leaf.pem"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))  # as container runtimes start it
    with ours("webhook", tmp_path, 0) as (pid, port):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # for the clients
        yield Target(pid, port, authority)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def normal(target: Target) -> list[bytes]:
    """Send reviews as an API server does: some on one connection, some on new ones."""
    answers = []
    request = f"{HEAD}{len(BODY)}\r\n\r\n".encode() + BODY
    async with target.connection() as (reader, writer):
        for _ in range(REQUESTS):
            writer.write(request)
            answers.append(await _answer(reader))
            async with target.connection() as (other_reader, other):
                other.write(request)
                answers.append(await _answer(other_reader))
            await asyncio.sleep(0.05)
    return answers


async def _answer(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
    return head.split(b"\r\n")[0]


async def idle(target: Target, *, tls: bool) -> None:
    """Connect, and say nothing."""
    async with target.connection(tls=tls) as (reader, _):
        await reader.read()


async def slow_head(target: Target) -> None:
    """Send a head byte by byte."""
    async with target.connection() as (_, writer):
        for byte in f"{HEAD}1\r\nX: {'x' * 1000}".encode():
            writer.write(bytes([byte]))
            await asyncio.sleep(0.2)


async def slow_body(target: Target) -> None:
    """Announce 7 MiB, and send a little of it now and then."""
    async with target.connection() as (_, writer):
        writer.write(f"{HEAD}{7 * 2**20}\r\n\r\n".encode())
        while True:
            writer.write(b" " * 1000)
            await writer.drain()
            await asyncio.sleep(0.1)


async def large_body(target: Target) -> None:
    """Send 8 MiB at once."""
    async with target.connection() as (reader, writer):
        writer.write(f"{HEAD}{EIGHT_MIB}\r\n\r\n".encode() + b" " * EIGHT_MIB)
        await reader.read()


async def many_values(target: Target) -> None:
    """Send what takes thirty times its size once it is read."""
    body = b"[%b]" % b",".join([b'{"":1}'] * 10**6)
    async with target.connection() as (reader, writer):
        writer.write(f"{HEAD}{len(body)}\r\n\r\n".encode() + body)
        await reader.read()


async def unread_body(target: Target) -> None:
    """Send what is answered before its body has come, and go on with the body."""
    async with target.connection() as (_, writer):
        writer.write(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.2)


async def garbage(target: Target) -> None:
    """Send what is no TLS."""
    async with target.connection(tls=False) as (reader, writer):
        writer.write(bytes(range(256)) * 64)
        await reader.read()


async def half_closed(target: Target) -> None:
    """Begin a handshake and close the sending side."""
    async with target.connection(tls=False) as (reader, writer):
        writer.write(b"\x16\x03\x01\x02\x00")
        writer.write_eof()
        await reader.read()


async def again_and_again(attack: Callable[[], Any], stop: asyncio.Event) -> None:
    while not stop.is_set():
        with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
            await attack()
        await asyncio.sleep(2)


def attacks(target: Target) -> list[Callable[[], Any]]:
    waiting = [partial(idle, target, tls=tls) for tls in (False,) * SILENT + (True,) * IDLE]
    slow = [slow_head, slow_body, unread_body] * 20
    quick = [large_body, many_values, garbage, half_closed] * 2
    return [*waiting, *(partial(attack, target) for attack in slow + quick)]


def test_a_normal_client_is_served_beside_hostile_ones(target: Target) -> None:
    """Idle connections beyond the limit, slow heads, bodies of all bad kinds: no request fails."""

    async def scene() -> list[bytes]:
        stop = asyncio.Event()
        hostile = [asyncio.create_task(again_and_again(one, stop)) for one in attacks(target)]
        await asyncio.sleep(2)
        answers = await normal(target)
        stop.set()
        for one in hostile:
            one.cancel()
        await asyncio.gather(*hostile, return_exceptions=True)
        return answers

    answers = asyncio.run(scene())
    assert answers == [b"HTTP/1.1 200 OK"] * (2 * REQUESTS)
    assert target.most_mib() < MEMORY_LIMIT_MIB


def test_values_of_many_megabytes_are_not_remembered(target: Target) -> None:
    """Each is refused, as often as its like comes, and keeps nothing of the memory that it took."""

    async def refused(number: int) -> bytes:
        value = f"{number}{'x' * (6 * 2**20)}\U0001f600"  # which takes four bytes a character
        body = BODY.replace(b" net1 , net2 ", value.encode())
        async with target.connection() as (reader, writer):
            writer.write(f"{HEAD}{len(body)}\r\n\r\n".encode() + body)
            head: bytes = await reader.readline()
            return head.strip()

    async def scene() -> list[bytes]:
        return [await refused(number) for number in range(30)]

    assert asyncio.run(scene()) == [b"HTTP/1.1 200 OK"] * 30
    assert target.most_mib() < MEMORY_LIMIT_MIB
