"""HTTP/1.1 of one connection, without a network: what the application gets, and what the client."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.webhook.transports import MemoryTransport
from webhook import http_connection
from webhook.connection_limits import ConnectionTable
from webhook.http_connection import MALFORMED, HttpConnection
from webhook.http_exchange import WHOLE_BODY

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from starlette.types import Receive, Scope, Send

POST = b"POST /pods HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


class Application:
    """Takes the whole body, remembers the request, and answers with its number."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, bytes]] = []
        self.scopes: list[Scope] = []
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        body, has_more = b"", True
        while has_more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.requests.append(("gone", scope["path"], body))
                return
            body += message["body"]
            has_more = message["more_body"]
        self.requests.append((scope["method"], scope["path"], body))
        self.scopes.append(scope)
        await self.go.wait()
        await respond(send, b"%d" % len(self.requests))


async def respond(send: Send, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


class Client:
    """A connection to *app*, and what the client sees of it."""

    def __init__(self, app: Any, *, idle_seconds: float = 9) -> None:
        self.table = ConnectionTable(9, head_seconds=9, idle_seconds=idle_seconds, tls_seconds=9)
        self.transport = MemoryTransport()
        self.connection = HttpConnection(app, self.table)
        self.connection.connection_made(self.transport)

    async def send(self, *parts: bytes) -> bytes:
        """Send *parts*, each when the server has taken the one before; return what it wrote."""
        for part in parts:
            self.connection.data_received(part)
            await settle()
        written, self.transport.written = self.transport.written, b""
        return written

    def leave(self) -> None:
        """End the connection."""
        self.connection.connection_lost(None)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def scene(play: Callable[[Client, Application], Coroutine[Any, Any, None]]) -> None:
    """Play it with an application and a connection to it."""

    async def run() -> None:
        app = Application()
        client = Client(app)
        await play(client, app)
        client.leave()
        await settle()
        assert not client.table.open

    asyncio.run(run())


def answer(number: int, *, closes: bool = False) -> bytes:
    close = b"connection: close\r\n" if closes else b""
    return b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n%b\r\n%d" % (close, number)


REQUESTS = [
    pytest.param(GET, ("GET", "/", b""), False, id="without-a-body"),
    pytest.param(POST, ("POST", "/pods", b"abc"), False, id="with-a-body"),
    pytest.param(
        b"POST /pods HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nab\r\n1\r\nc\r\n0\r\nX: trailer\r\n\r\n",
        ("POST", "/pods", b"abc"),
        False,
        id="with-a-body-in-chunks",
    ),
    pytest.param(
        b"GET /a%20b?c=%20 HTTP/1.1\r\nHost: h\r\n\r\n", ("GET", "/a b", b""), False, id="escaped"
    ),
    pytest.param(
        b"GET http://h/pods HTTP/1.1\r\nHost: h\r\n\r\n",
        ("GET", "/pods", b""),
        False,
        id="to-proxies",
    ),
    pytest.param(b"GET / HTTP/1.0\r\n\r\n", ("GET", "/", b""), True, id="of-old-clients"),
    pytest.param(
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        ("GET", "/", b""),
        True,
        id="that-is-the-last",
    ),
    pytest.param(
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        ("GET", "/", b""),
        True,
        id="that-asks-for-another-protocol",
    ),
]


@pytest.mark.parametrize(("request_bytes", "expected", "closes"), REQUESTS)
@pytest.mark.parametrize("is_whole", [True, False], ids=["whole", "byte-by-byte"])
def test_a_request_is_answered(
    request_bytes: bytes, expected: tuple[str, str, bytes], *, closes: bool, is_whole: bool
) -> None:
    """However it arrives, and the connection is closed only if the client wants it."""

    async def play(client: Client, app: Application) -> None:
        parts = [request_bytes] if is_whole else [bytes([byte]) for byte in request_bytes]
        assert await client.send(*parts) == answer(1, closes=closes)
        assert app.requests == [expected]
        assert client.transport.is_closing() is closes

    scene(play)


def test_an_application_knows_the_head() -> None:
    """Names of fields are in lower case, and the target is whole."""

    async def play(client: Client, app: Application) -> None:
        await client.send(b"GET /a%2Fb?c=d HTTP/1.1\r\nHost: h\r\nX-Y: Z z\r\n\r\n")
        (scope,) = app.scopes
        assert scope["headers"] == [(b"host", b"h"), (b"x-y", b"Z z")]
        assert (scope["path"], scope["raw_path"], scope["query_string"]) == (
            "/a/b",
            b"/a%2Fb",
            b"c=d",
        )

    scene(play)


MANY = b"".join(b"f%d: v\r\n" % number for number in range(http_connection.MAX_FIELDS + 1))
MALFORMED_REQUESTS = [
    pytest.param(b"this is no HTTP\r\n\r\n", id="no-http"),
    pytest.param(b"GET / HTTP/1.1\r\n" + MANY + b"\r\n", id="many-fields"),
    pytest.param(b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000, id="a-field-without-end"),
    pytest.param(b"GET /" + b"x" * 40_000, id="a-path-without-end"),
    pytest.param(b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", id="a-path-that-is-not-ascii"),
    pytest.param(b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", id="to-a-proxy"),
    pytest.param(
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        id="two-lengths",
    ),
    pytest.param(
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", id="lengths"
    ),
]


@pytest.mark.parametrize("request_bytes", MALFORMED_REQUESTS)
@pytest.mark.parametrize("size", [100, 16_384])
def test_what_is_no_request_is_the_end(request_bytes: bytes, size: int) -> None:
    """400, the connection is closed, and nothing that follows is read."""

    async def play(client: Client, app: Application) -> None:
        parts = [request_bytes[at : at + size] for at in range(0, len(request_bytes), size)]
        assert await client.send(*parts, GET) == MALFORMED
        assert client.transport.calls == ["close"]
        assert app.requests == []
        assert client.connection in client.table.closing

    scene(play)


@given(st.lists(st.integers(0, 3 * len(POST)), max_size=9).map(sorted))
def test_requests_are_the_same_wherever_they_are_cut(cuts: list[int]) -> None:
    """Three in a row, in any parts: three answers, in order."""

    async def play(client: Client, app: Application) -> None:
        text = POST * 3
        parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        assert await client.send(*parts) == answer(1) + answer(2) + answer(3)
        assert app.requests == [("POST", "/pods", b"abc")] * 3

    scene(play)


def test_a_client_that_does_not_wait_is_answered_in_turn_and_read_no_further() -> None:
    """What it sends meanwhile stays in the kernel."""

    async def play(client: Client, app: Application) -> None:
        app.go.clear()
        assert await client.send(POST + GET) == b""
        assert not client.transport.is_reading()
        assert len(app.requests) == 1
        app.go.set()
        assert await client.send(b"") == answer(1) + answer(2)
        assert client.transport.is_reading()

    scene(play)


def test_a_client_that_waits_for_nothing_is_cut_off() -> None:
    """A small packet has room for hundreds of requests, each of which takes memory."""

    async def play(client: Client, app: Application) -> None:
        app.go.clear()
        assert await client.send(GET * (http_connection.MAX_WAITING + 1)) == b""
        assert await client.send(GET) == MALFORMED
        assert client.transport.calls == ["close"]
        app.go.set()
        await settle()
        assert len(app.requests) == 1

    scene(play)


def test_a_connection_leaves_nothing_for_the_collector() -> None:
    """Neither an open one nor one whose handshake never ended: hostile clients make thousands."""

    async def run() -> list[weakref.ref[Any]]:
        app = Application()
        client = Client(app)
        await client.send(POST)
        never_open = HttpConnection(app, client.table)
        references = [weakref.ref(client.connection), weakref.ref(never_open)]
        client.leave()
        await settle()
        return references

    gc.disable()
    try:
        assert [reference() for reference in asyncio.run(run())] == [None, None]
    finally:
        gc.enable()


def test_a_large_body_is_read_as_the_application_takes_it() -> None:
    """A part of it is in memory, and no more."""

    async def play(client: Client, app: Application) -> None:
        head = b"POST / HTTP/1.1\r\nContent-Length: 200000\r\n\r\n"
        client.connection.data_received(head + b"x" * 100_000)
        assert not client.transport.is_reading()
        await settle()
        assert client.transport.is_reading()
        assert await client.send(b"x" * 100_000) == answer(1)
        assert len(app.requests[0][2]) == 200_000

    scene(play)


def test_an_application_may_take_a_body_that_is_there() -> None:
    """Without a call that could wait; a body that is not there yet it must wait for."""

    async def run() -> list[Any]:
        taken = []

        async def take(scope: Scope, receive: Receive, send: Send) -> None:
            whole = scope["extensions"][WHOLE_BODY]()
            taken.append(whole)
            taken.append((await receive())["body"])
            await respond(send, b"")

        client = Client(take)
        await client.send(POST)
        await client.send(POST[:-3], POST[-3:])
        return taken

    assert asyncio.run(run()) == [b"abc", b"", None, b"abc"]


def test_a_client_that_asks_whether_to_send_the_body_is_told_to() -> None:
    """Once, when the application waits for it."""

    async def play(client: Client, app: Application) -> None:
        head = b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        assert await client.send(head) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert await client.send(b"a", b"b") == answer(1)
        assert app.requests == [("POST", "/", b"ab")]

    scene(play)


def test_a_client_that_leaves_is_reported_to_the_application() -> None:
    """In the middle of a body; and an answer to nobody is written nowhere."""

    async def run() -> None:
        app = Application()
        early, late = Client(app), Client(app)
        await early.send(POST[:-1])
        app.go.clear()
        await late.send(POST)
        for client in (early, late):
            client.leave()
        await settle()
        app.go.set()
        await settle()
        assert sorted(app.requests) == [("POST", "/pods", b"abc"), ("gone", "/pods", b"ab")]
        assert early.transport.written == late.transport.written == b""

    asyncio.run(run())


async def failing(_: Scope, __: Receive, ___: Send) -> None:
    raise KeyError("x")


async def silent(_: Scope, __: Receive, ___: Send) -> None:
    pass


async def hasty(_: Scope, __: Receive, send: Send) -> None:
    await respond(send, b"")


async def closing(_: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await respond(send, b"x", (b"connection", b"close"), (b"content-length", b"1"))
    assert await receive() == {"type": "http.disconnect"}


async def in_parts(_: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 404, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": b"x", "more_body": True})
    await send({"type": "http.response.body", "body": b"y"})


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("app", "request_bytes", "response", "closes"),
    [
        pytest.param(failing, POST, b"", True, id="fails"),
        pytest.param(silent, POST, b"", True, id="does-not-answer"),
        pytest.param(
            hasty,
            POST[:-1],
            OK + b"content-length: 0\r\nconnection: close\r\n\r\n",
            True,
            id="answers-before-the-body",
        ),
        pytest.param(
            closing,
            POST,
            OK + b"content-length: 1\r\nconnection: close\r\n\r\nx",
            True,
            id="closes",
        ),
        pytest.param(
            in_parts,
            POST,
            b"HTTP/1.1 404 Not Found\r\na: b\r\ncontent-length: 2\r\n\r\nxy",
            False,
            id="answers-in-parts",
        ),
        pytest.param(
            in_parts,
            b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
            b"HTTP/1.1 404 Not Found\r\na: b\r\ncontent-length: 2\r\n\r\n",
            False,
            id="is-asked-for-the-head-alone",
        ),
    ],
)
def test_an_application_that(
    app: Any, request_bytes: bytes, response: bytes, *, closes: bool
) -> None:
    """Its answer is sent whole, and a connection whose state is unknown is closed."""

    async def run() -> None:
        client = Client(app)
        assert await client.send(request_bytes) == response
        assert client.transport.is_closing() is closes

    asyncio.run(run())


def waiting(table: ConnectionTable) -> list[str]:
    groups: Iterable[str] = ("unused", "idle", "heads", "closing", "unread")
    return [name for name in groups if len(getattr(table, name))]


def test_the_table_knows_what_a_connection_waits_for() -> None:
    """Nothing while it is busy."""

    async def play(client: Client, app: Application) -> None:
        assert waiting(client.table) == ["unused"]
        await client.send(POST[:9])
        assert waiting(client.table) == ["heads"]
        app.go.clear()
        await client.send(POST[9:])
        assert waiting(client.table) == []
        app.go.set()
        await settle()
        assert waiting(client.table) == ["idle"]
        await client.send(POST + POST[:9])
        assert waiting(client.table) == ["heads"]
        client.connection.pause_writing()
        assert waiting(client.table) == ["heads", "unread"]
        client.connection.resume_writing()
        client.connection.close()
        assert waiting(client.table) == ["closing"]

    scene(play)


@pytest.mark.parametrize("requests", [[], [POST]], ids=["unused", "used"])
def test_an_idle_connection_is_closed_in_the_end(requests: list[bytes]) -> None:
    """Before its first request, or after one."""

    async def run() -> None:
        client = Client(Application(), idle_seconds=0.5)
        await client.send(*requests)
        assert not client.transport.is_closing()
        async with asyncio.timeout(30):
            while not client.transport.is_closing():  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.02)
        assert client.transport.calls == ["close"]

    asyncio.run(run())


def test_a_server_that_stops_waits_for_answers_that_are_due() -> None:
    """An idle connection is closed at once, a busy one after its answer."""

    async def play(client: Client, app: Application) -> None:
        app.go.clear()
        await client.send(POST)
        client.connection.shut_down()
        assert not client.transport.is_closing()
        app.go.set()
        assert await client.send(b"") == answer(1, closes=True)
        assert client.transport.calls == ["close"]

        idle = Client(app)
        idle.connection.shut_down()
        assert idle.transport.calls == ["close"]

    scene(play)


def test_a_server_that_cannot_wait_longer_ends_what_is_running() -> None:
    """The application is cancelled."""

    async def play(client: Client, app: Application) -> None:
        app.go.clear()
        await client.send(POST)
        client.connection.cancel()
        assert client.transport.calls == ["abort"]
        app.go.set()
        await settle()
        assert client.transport.written == b""

    scene(play)
