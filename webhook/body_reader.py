"""Bodies of requests, read under limits: of size, of time, and of memory for all together.

A normal review arrives in one piece. What arrives slowly is kept waiting for at most
``seconds``, and when too many or too much is arriving at once, the body that has been at it
longest is given up first: under an attack with slow bodies that is the attacker's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Receive


class BodyTooLargeError(ValueError):
    """More bytes than one review may have (HTTP 413)."""


class BodyTimeoutError(TimeoutError):
    """A body that did not arrive in time, or was given up for others (HTTP 408)."""


class ClientDisconnectedError(ConnectionError):
    """The client went away before its body had come."""


class BodyReader:
    """Reads bodies; one instance for the whole server.

    ``largest`` and ``together`` are bytes, of one body and of all that are arriving;
    ``arriving`` is how many may arrive at one time; ``seconds`` is for one body.
    """

    def __init__(self, *, largest: int, together: int, arriving: int, seconds: float) -> None:
        self._largest = largest
        self._together = together
        self._arriving = arriving
        self._seconds = seconds
        self._sizes: dict[asyncio.Timeout, int] = {}  # oldest first
        self._total = 0

    async def read(self, declared: bytes, receive: Receive) -> bytes:
        """Return the body of a request whose Content-Length is *declared* (empty: none).

        Raises :class:`BodyTooLargeError`, :class:`BodyTimeoutError` and
        :class:`ClientDisconnectedError`.
        """
        if declared.isdigit() and int(declared) > self._largest:
            raise BodyTooLargeError
        try:
            async with asyncio.timeout(self._seconds) as deadline:
                self._sizes[deadline] = 0
                try:
                    return await self._collect(receive, deadline)
                finally:
                    self._forget(deadline)
        except TimeoutError:
            raise BodyTimeoutError from None

    async def _collect(self, receive: Receive, deadline: asyncio.Timeout) -> bytes:
        chunks = []
        size = 0
        more = True
        self._make_room()
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnectedError
            chunk, more = message.get("body", b""), message.get("more_body", False)
            size += len(chunk)
            if size > self._largest:
                raise BodyTooLargeError
            chunks.append(chunk)
            if deadline in self._sizes:
                self._sizes[deadline] += len(chunk)
                self._total += len(chunk)
                self._make_room()
        return b"".join(chunks)

    def _make_room(self) -> None:
        while len(self._sizes) > self._arriving or self._total > self._together:
            oldest = next(iter(self._sizes))
            self._forget(oldest)
            oldest.reschedule(asyncio.get_running_loop().time())

    def _forget(self, deadline: asyncio.Timeout) -> None:
        self._total -= self._sizes.pop(deadline, 0)
