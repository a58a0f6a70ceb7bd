"""Request bodies, read under limits: of size, of time, and of memory for all of them together.

A normal review arrives in one piece. When too many or too large bodies are arriving at once, the
one that has been arriving longest is dropped: under an attack with slow bodies, that is the
attacker's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from webhook.deadlines import Deadlines

if TYPE_CHECKING:
    from starlette.types import Receive


class BodyTooLargeError(ValueError):
    """The body is larger than the limit (HTTP 413)."""


class BodyTimeoutError(TimeoutError):
    """The body did not arrive in time, or was dropped to make room for others (HTTP 408)."""


class ClientDisconnectedError(ConnectionError):
    """The client closed the connection before its body was complete."""


class BodyReader:
    """Reads request bodies; one instance for the whole server.

    ``max_bytes`` is the limit of one body, ``max_buffered_bytes`` that of all bodies that are
    arriving, ``max_arriving`` that of their number. Each body has ``seconds`` to arrive.
    """

    def __init__(
        self, *, max_bytes: int, max_buffered_bytes: int, max_arriving: int, seconds: float
    ) -> None:
        self._max_bytes = max_bytes
        self._max_buffered_bytes = max_buffered_bytes
        self._max_arriving = max_arriving
        self._deadlines = Deadlines(seconds, self._drop)
        self._sizes: dict[asyncio.Timeout, int] = {}  # of the arriving bodies, oldest first
        self._buffered_bytes = 0

    async def read(
        self, content_length: bytes, receive: Receive, whole: bytes | None = None
    ) -> bytes:
        """Return the body of a request; *content_length* is its header, or empty.

        *whole* is the body if all of it has arrived.

        Raises :class:`BodyTooLargeError`, :class:`BodyTimeoutError` and
        :class:`ClientDisconnectedError`.
        """
        if content_length.isdigit() and int(content_length) > self._max_bytes:
            raise BodyTooLargeError
        if whole is not None:
            if len(whole) > self._max_bytes:
                raise BodyTooLargeError
            return whole
        try:
            async with asyncio.timeout(None) as deadline:
                self._sizes[deadline] = 0
                self._deadlines.add(deadline)
                try:
                    return await self._collect(receive, deadline)
                finally:
                    self._forget(deadline)
        except TimeoutError:
            raise BodyTimeoutError from None

    async def _collect(self, receive: Receive, deadline: asyncio.Timeout) -> bytes:
        chunks = []
        size = 0
        has_more = True
        self._enforce_limits()

        while has_more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnectedError
            chunk, has_more = message.get("body", b""), message.get("more_body", False)
            size += len(chunk)
            if size > self._max_bytes:
                raise BodyTooLargeError
            chunks.append(chunk)

            if deadline in self._sizes:  # it was not dropped meanwhile
                self._sizes[deadline] += len(chunk)
                self._buffered_bytes += len(chunk)
                self._enforce_limits()

        return b"".join(chunks)

    def _enforce_limits(self) -> None:
        """Drop the oldest bodies until the others are within the limits."""
        while (
            len(self._sizes) > self._max_arriving or self._buffered_bytes > self._max_buffered_bytes
        ):
            self._drop(next(iter(self._sizes)))

    def _drop(self, deadline: asyncio.Timeout) -> None:
        self._forget(deadline)
        deadline.reschedule(asyncio.get_running_loop().time())

    def _forget(self, deadline: asyncio.Timeout) -> None:
        self._deadlines.discard(deadline)
        self._buffered_bytes -= self._sizes.pop(deadline, 0)
