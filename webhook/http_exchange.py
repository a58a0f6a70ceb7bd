"""One request and its response, as an ASGI application sees them.

The response is sent in one piece, once the application has completed it.
"""

from __future__ import annotations

import asyncio
import http
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message, Scope

    from webhook.http_connection import HttpConnection

STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in http.HTTPStatus
}
CLOSE = b"connection: close\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_EXPECTS_CONTINUE = (b"expect", b"100-continue")

WHOLE_BODY = "cni-genie.io/whole-body"
"""An ASGI extension: a function that returns the body if all of it has arrived, else None.

So it is with nearly every review, and an application need not prepare to wait.
"""

log = structlog.get_logger("webhook")


class Exchange:
    """The state of one request; the connection fills in its body as it arrives.

    The connection stays open after the response only if ``keep_alive``.
    """

    def __init__(self, connection: HttpConnection, scope: Scope, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self.untaken_bytes = 0
        """Bytes of the body that the application has not taken."""
        self._connection = connection
        self._scope = scope
        scope["extensions"] = {WHOLE_BODY: self.take_whole_body}
        self._chunks: list[bytes] = []
        self._is_complete = False
        self._is_gone = False
        self._arrival: asyncio.Future[None] | None = None
        self._has_waited = False
        self._status = 0
        self._headers: Iterable[tuple[bytes, bytes]] = ()
        self._response: list[bytes] = []
        self._is_answered = False

    # For the connection

    def add_body(self, chunk: bytes) -> None:
        """Take a part of the body."""
        self._chunks.append(chunk)
        self.untaken_bytes += len(chunk)
        self._wake()

    def complete_body(self) -> None:
        """Take the end of the body."""
        self._is_complete = True
        self._wake()

    def disconnect(self) -> None:
        """Take the end of the connection."""
        self._is_gone = True
        self._wake()

    async def run(self, app: ASGIApp) -> None:
        """Let *app* answer the request."""
        try:
            await app(self._scope, self.receive, self.send)
        except Exception:
            log.exception("request failed")
        finally:
            del self._scope["extensions"]  # a cycle, which would wait for the collector
            self.keep_alive = self.keep_alive and self._is_answered
            self._connection.end_exchange(self)

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    # For the application

    async def receive(self) -> Message:
        """Return the next part of the body, or that the client has gone (ASGI)."""
        if not (self._chunks or self._is_complete or self._is_gone):
            await self._wait()
        if self._is_gone or self._is_answered:
            return {"type": "http.disconnect"}

        return {
            "type": "http.request",
            "body": self._take(),
            "more_body": not self._is_complete,
        }

    def take_whole_body(self) -> bytes | None:
        """Return the body; None if some of it has not arrived."""
        return self._take() if self._is_complete else None

    def _take(self) -> bytes:
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self.untaken_bytes = 0
        return body

    async def _wait(self) -> None:
        if not self._has_waited and _EXPECTS_CONTINUE in self._scope["headers"]:
            self._connection.write(CONTINUE)
        self._has_waited = True
        self._connection.resume_body()
        self._arrival = asyncio.get_running_loop().create_future()
        try:
            await self._arrival
        finally:
            self._arrival = None

    async def send(self, message: Message) -> None:
        """Take a part of the response (ASGI)."""
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], message["headers"]
            return
        self._response.append(message.get("body", b""))
        if not message.get("more_body", False) and not self._is_answered:
            self._is_answered = True
            if not self._is_gone:
                self._connection.write(self._encode())

    def _encode(self) -> bytes:
        head = [STATUS_LINES[self._status]]
        body = b"".join(self._response)
        has_length = False
        for name, value in self._headers:
            if name == b"connection":
                self.keep_alive = False  # applications set this header only to close
                continue
            has_length = has_length or name == b"content-length"
            head += (name, b": ", value, b"\r\n")

        if not has_length:
            head.append(b"content-length: %d\r\n" % len(body))
        if not self._is_complete:
            self.keep_alive = False  # a body that never ends would hold the connection
        if not self.keep_alive:
            head.append(CLOSE)
        head.append(b"\r\n")
        if self._scope["method"] != "HEAD":
            head.append(body)
        return b"".join(head)
