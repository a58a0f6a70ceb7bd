"""The server on loopback, with real TLS: deadlines, crowding, and a normal client beside them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import trustme
import uvloop
from structlog.testing import capture_logs

from tests.unit.webhook.running_server import (
    BODY,
    HEAD,
    REQUEST,
    Running,
    answered,
    ended,
    probed,
    running,
)
from webhook import connection_limits, server
from webhook.decision import Decision

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from webhook.review import Review


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


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


async def answered_before_its_body(one: Running) -> bytes:
    """Send what is answered unread, and then some of the body: no timer is left for that."""
    reader, writer = await one.dial()
    writer.write(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n")
    assert b"404" in await reader.readline()
    writer.write(b"x")
    return await ended(reader)


async def asking_for_what_is_not_there(one: Running) -> bytes:
    """Get an answer that is no decision."""
    reader, writer = await one.dial()
    writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    return await ended(reader)


MISBEHAVIOUR = [
    half_a_head,
    dripping_head,
    dripping_second_head,
    no_handshake,
    garbage,
    half_closed,
    answered_before_its_body,
    asking_for_what_is_not_there,
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

    uvloop.run(scene())


def test_a_body_that_drips_is_told_so(authority: trustme.CA) -> None:
    """408, and the connection is closed."""

    async def scene() -> None:
        async with running(authority) as one:
            assert b"408 Request Timeout" in await dripping_body(one)

    uvloop.run(scene())


def test_a_client_that_leaves_in_the_middle_of_a_body_harms_nobody(authority: trustme.CA) -> None:
    """It is logged as a refusal, not as a fault, and the next client is served."""

    async def scene() -> None:
        async with running(authority) as one:
            _, writer = await one.dial()
            writer.write(HEAD % len(BODY) + BODY[:9])
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.transport.abort()
            assert b"200" in await one.ask()

    with capture_logs() as logged:
        uvloop.run(scene())
    lines = [(line["log_level"], line["event"], line.get("status")) for line in logged]
    assert lines == [("warning", "no decision", 400)]


def test_connections_that_never_asked_make_room_for_those_that_do(authority: trustme.CA) -> None:
    """Idle connections beyond the limit are closed, oldest deadline or not."""

    async def scene() -> None:
        async with running(authority, max_connections=8, header_seconds=60) as one:
            for _ in range(30):
                await one.dial()
            answers = [await one.ask() for _ in range(20)]
            assert all(b"200" in answer for answer in answers)
            assert len(one.server.table.open) <= 8

    uvloop.run(scene())


def test_served_connections_make_room_in_the_end(authority: trustme.CA) -> None:
    """Whoever was answered once does not keep its place for ever: the one idle longest goes."""

    async def scene() -> None:
        async with running(authority, max_connections=8) as one:
            served = [await one.served() for _ in range(8)]
            assert await answered(*served[0])
            assert b"200" in await one.ask()
            assert await ended(served[1][0]) == b""
            assert all([await answered(*other) for other in (served[0], *served[2:])])

    uvloop.run(scene())


def test_a_silent_crowd_does_not_push_out_who_was_served(authority: trustme.CA) -> None:
    """An API server's connections stay, however many strangers come."""

    async def scene() -> None:
        async with running(authority, max_connections=8) as one:
            served = [await one.served() for _ in range(3)]
            for _ in range(30):
                await one.dial()
            assert all([await answered(*other) for other in served])

    uvloop.run(scene())


def test_a_busy_crowd_does_not_push_out_who_has_yet_to_ask(authority: trustme.CA) -> None:
    """An API server's new connection has time for its request."""

    async def scene() -> None:
        async with running(authority, max_connections=8) as one:
            for _ in range(8):
                await one.served()
            stranger = await one.dial()
            for _ in range(8):
                await one.served()
            assert await answered(*stranger)

    uvloop.run(scene())


def test_connections_at_work_are_not_closed_for_newcomers(authority: trustme.CA) -> None:
    """When all are at work the newcomer is turned away, and each gets its answer."""

    async def scene() -> None:
        go = asyncio.Event()
        at_work = asyncio.Semaphore(0)

        async def slowly(_: Review) -> Decision:
            at_work.release()
            await go.wait()
            return Decision()

        async with running(authority, slowly, max_connections=8) as one:
            busy = [asyncio.create_task(one.ask()) for _ in range(8)]
            for _ in busy:
                await at_work.acquire()
            newcomer, _ = await one.dial()
            assert await ended(newcomer) == b""
            go.set()
            assert all(b"200" in line for line in await asyncio.gather(*busy))

    uvloop.run(scene())


def test_connections_that_were_told_to_go_make_room(authority: trustme.CA) -> None:
    """A client that does not close its side of TLS holds no place meanwhile."""

    async def scene() -> None:
        async with running(authority, max_connections=8, handshake_seconds=60) as one:
            held = [await asyncio.to_thread(one.dial_blocking) for _ in range(8)]
            for client in held:
                client.sendall(b"this is no HTTP\r\n\r\n")
            await one.until(lambda connections: connections == len(one.server.table.closing) == 8)
            assert b"200" in await one.ask()
            for client in held:
                client.close()

    uvloop.run(scene())


def test_handshakes_that_do_not_end_make_room(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hold descriptors and memory, too: the oldest is given up."""
    monkeypatch.setattr(connection_limits, "MAX_HANDSHAKES", 8)

    async def scene() -> None:
        async with running(authority, handshake_seconds=60) as one:
            waiting = [await one.dial_plainly() for _ in range(9)]
            assert b"200" in await one.ask()
            assert [await ended(reader) for reader, _ in waiting[:2]] == [b"", b""]
            assert not any(reader.at_eof() for reader, _ in waiting[2:])

    uvloop.run(scene())


def test_a_client_that_takes_no_answers_is_cut_off(authority: trustme.CA) -> None:
    """They would stay in our memory, and the connection at work for ever."""
    large = Decision(patch=[{"op": "add", "path": "/x", "value": "x" * 2**24}])

    async def scene() -> None:
        has_begun = asyncio.Event()

        async def much(_: Review) -> Decision:
            has_begun.set()
            return large

        async with running(authority, much) as one:
            reader, writer = await one.dial()
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # see above
            writer.write(2 * REQUEST)
            await has_begun.wait()
            await one.until(lambda connections: connections == 0)
            writer.transport.resume_reading()  # type: ignore[attr-defined]  # see above
            assert len(await ended(reader)) < 2 * 2**24

    uvloop.run(scene())


def test_a_server_that_stops_waits_for_no_response_without_end(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is closed and the work for it is cancelled."""
    monkeypatch.setattr(server, "LAST_RESPONSES_SECONDS", 0.1)

    async def scene() -> None:
        begun, ended_by = asyncio.Event(), []

        async def never(_: Review) -> Decision:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                ended_by.append(error)
                raise
            return Decision()

        async with running(authority, never) as one:
            reader, writer = await one.dial()
            writer.write(REQUEST)
            await begun.wait()
            one.server.stop()
            assert await ended(reader) == b""
            await asyncio.sleep(0)
            assert len(ended_by) == 1

    uvloop.run(scene())


def test_a_connection_may_wait_for_its_first_request(authority: trustme.CA) -> None:
    """API servers keep some in reserve: the deadline for a head begins with the head."""

    async def scene() -> None:
        async with running(authority, header_seconds=0.05) as one:
            reserve = await one.dial()
            await asyncio.sleep(0.2)
            assert await answered(*reserve)

    uvloop.run(scene())


GET = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"


def test_the_probes_port_has_deadlines_too(authority: trustme.CA) -> None:
    """Half a head, and a body that nobody reads."""

    async def scene() -> None:
        async with probed(authority) as one:
            for begun in (GET[:9], GET[:-2] + b"Content-Length: 9\r\n\r\n"):
                reader, writer = await one.dial_plainly()
                writer.write(begun)
                await ended(reader)
            assert b"200" in await one.ask(tls=False, request=GET)

    uvloop.run(scene())


def test_the_probes_port_is_not_kept_from_kubelet(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever holds connections there gives way."""
    monkeypatch.setattr(server, "PROBE_CONNECTIONS", 8)

    async def scene() -> None:
        async with probed(authority) as one:
            for _ in range(30):
                await one.dial_plainly()
            assert b"200" in await one.ask(tls=False, request=GET)
            assert len(one.server.table.open) <= 8

    uvloop.run(scene())


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

    uvloop.run(scene())
