"""Asks the container runtime which sandboxes it has: CRI's ListPodSandbox, over its socket.

How it works: CRI is gRPC, that is, HTTP/2 with protobuf inside. The library h2 speaks the
first over a plain socket; of the second only few fields matter, and reading those takes a few
lines (gRPC's own library is ten times as large as the rest of the image's needs for it).

    ListPodSandboxRequest   {}                                  everything is asked for
    ListPodSandboxResponse  {repeated PodSandbox items = 1}
    PodSandbox              {string id = 1, PodSandboxMetadata metadata = 2, …}
    PodSandboxMetadata      {string name = 1, string uid = 2, …}

Rules: one question, one connection, one deadline; any surprise is a :class:`CRIError`, because
"the runtime does not know this sandbox" must never be concluded from an answer cut short.
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.events
from h2.exceptions import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEADLINE = 10.0
"""Seconds for a whole call, unless the caller says otherwise. A list takes milliseconds."""

METHOD = "/runtime.v1.RuntimeService/ListPodSandbox"

_PREFIX = 5  # one byte: not compressed; four: the length
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_PSEUDO_HEADERS = [(":method", "POST"), (":scheme", "http"), (":authority", "localhost")]
_HEADERS = [("content-type", "application/grpc"), ("te", "trailers")]


class CRIError(Exception):
    """The runtime gave no answer that can be trusted."""


def list_sandboxes(path: Path, own: str) -> set[str]:
    """Return the ids of all sandboxes that the runtime at the socket *path* has.

    *own* is the UID of the pod that asks, "" outside of one. A runtime that does not have it is not
    the one of kubelet, and knows none of its pods. Raises :class:`CRIError`, for that too.
    """
    message = call(path, METHOD, b"")
    if own and own not in pods(message):
        raise CRIError(f"{path}: the runtime there does not run this pod, so it is not kubelet's")
    return set(identifiers(message))


def call(path: Path, method: str, request: bytes, seconds: float = DEADLINE) -> bytes:
    """Call one method of the runtime at *path* with a message; returns the one it answers.

    Raises :class:`CRIError`, also for a refusal by the runtime.
    """
    until = time.monotonic() + seconds
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(str(path))
            headers, data = _exchange(connection, method, request, until)
    except (OSError, ProtocolError) as error:
        raise CRIError(f"{path}: {error}") from None
    status = headers.get(b"grpc-status")
    if status != b"0":
        message = headers.get(b"grpc-message", b"no message").decode(errors="replace")
        raise CRIError(f"{path}: status {(status or b'missing').decode()}: {message}")
    if len(data) < _PREFIX or data[0] != 0 or len(data) - _PREFIX != int.from_bytes(data[1:5]):
        raise CRIError(f"{path}: the answer is not one whole message")
    return data[_PREFIX:]


def _exchange(
    connection: socket.socket, method: str, request: bytes, until: float
) -> tuple[dict[bytes, bytes], bytes]:
    """Send the one request; returns headers and trailers together, and the body."""
    http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
    http.initiate_connection()
    http.send_headers(1, [*_PSEUDO_HEADERS, (":path", method), *_HEADERS])
    http.send_data(1, b"\0" + len(request).to_bytes(4) + request, end_stream=True)
    headers: dict[bytes, bytes] = {}
    body = b""
    while True:
        if (left := until - time.monotonic()) <= 0:
            raise TimeoutError("timed out")
        connection.settimeout(left)
        connection.sendall(http.data_to_send())
        received = connection.recv(1 << 16)
        if not received:
            raise CRIError("the connection ended before the answer did")
        for event in http.receive_data(received):
            if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                headers |= dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                body += event.data
                http.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, h2.events.StreamEnded):
                return headers, body
            elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                raise CRIError("the runtime broke off")


def identifiers(message: bytes) -> Iterator[str]:
    """Yield the id of each item of the ListPodSandboxResponse *message*. Raises CRIError."""
    for item in _inner(message, 1):
        names = list(_inner(item, 1))
        if len(names) != 1 or not names[0]:
            raise CRIError("an item of the answer has no id")
        try:
            yield names[0].decode()
        except UnicodeDecodeError:
            raise CRIError("an id of the answer is no text") from None


def pods(message: bytes) -> Iterator[str]:
    """Yield the UID of the pod of each item of the ListPodSandboxResponse. Raises CRIError."""
    for item in _inner(message, 1):
        for metadata in _inner(item, 2):
            yield from (uid.decode(errors="replace") for uid in _inner(metadata, 2))


def _inner(message: bytes, number: int) -> Iterator[bytes]:
    """Yield the values of the field *number*."""
    return (value for each, value in fields(message) if each == number)


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each field of *message* with its number; those that are not bytes are left out."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            _, at = _varint(message, at)
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in {_FIXED64, _FIXED32}:
            size = 8 if kind == _FIXED64 else 4
        else:
            raise CRIError(f"the answer has a field of the unknown kind {kind}")
        if at + size > len(message):
            raise CRIError("the answer is cut short")
        if kind == _BYTES:
            yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(message):
            raise CRIError("the answer is cut short")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the bit that says more follows
            return value, at
    raise CRIError("the answer has a number that is too long")
