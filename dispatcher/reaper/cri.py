"""Ask the container runtime for its sandboxes: CRI's ListPodSandbox, over its socket.

CRI is gRPC: protobuf over HTTP/2. The library h2 speaks HTTP/2 over a plain socket. Of protobuf,
only a few fields matter here, and a few lines read them; gRPC's own library is ten times as large
as everything else that the image needs for this.

    ListPodSandboxRequest   {}                                  empty: no filter
    ListPodSandboxResponse  {repeated PodSandbox items = 1}
    PodSandbox              {string id = 1, PodSandboxMetadata metadata = 2, …}
    PodSandboxMetadata      {string name = 1, string uid = 2, …}

Every call has one connection and one deadline. Anything unexpected is a :class:`CRIError`: the
reaper must never conclude from an incomplete response that a sandbox does not exist.
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

CALL_SECONDS = 10.0
"""Time for a whole call, unless the caller says otherwise. A list takes milliseconds."""

METHOD = "/runtime.v1.RuntimeService/ListPodSandbox"

_PREFIX_SIZE = 5  # of a gRPC message: one byte for compression, four for the length
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protobuf's wire types
_PSEUDO_HEADERS = [(":method", "POST"), (":scheme", "http"), (":authority", "localhost")]
_HEADERS = [("content-type", "application/grpc"), ("te", "trailers")]


class CRIError(Exception):
    """The runtime gave no response that can be trusted."""


def list_sandboxes(path: Path, own_uid: str) -> set[str]:
    """Return the ids of all sandboxes of the runtime at the socket *path*.

    *own_uid* is the UID of our own pod, "" outside of a pod. A runtime that does not list this pod
    is not the kubelet's, and has none of the node's pods. Raises :class:`CRIError`, in this case
    too.
    """
    response = call(path, METHOD, b"")
    if own_uid and own_uid not in pod_uids(response):
        raise CRIError(
            f"the runtime at {path} does not run this node's pods; set GENIE_RUNTIME_SOCKET in the "
            "DaemonSet genie-agent to the CRI socket of the kubelet's runtime (the Helm chart's "
            "value platform does this: k3s, rke2 or crio)"
        )
    return set(sandbox_ids(response))


def call(path: Path, method: str, request: bytes, seconds: float = CALL_SECONDS) -> bytes:
    """Call a method of the runtime at *path*; return the response's message.

    Raises :class:`CRIError`, also if the runtime refuses the request.
    """
    deadline = time.monotonic() + seconds
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(str(path))
            headers, body = _exchange(connection, method, request, deadline)
    except (OSError, ProtocolError) as error:
        raise CRIError(f"the runtime at {path} does not answer: {error}") from None

    status = headers.get(b"grpc-status")
    if status != b"0":
        message = headers.get(b"grpc-message", b"no message").decode(errors="replace")
        code = (status or b"missing").decode()
        raise CRIError(f"the runtime at {path} refuses the request: status {code}: {message}")

    is_whole = len(body) >= _PREFIX_SIZE and int.from_bytes(body[1:5]) == len(body) - _PREFIX_SIZE
    if not is_whole or body[0] != 0:
        raise CRIError(f"the response of {path} is not one whole uncompressed message")
    return body[_PREFIX_SIZE:]


def _exchange(
    connection: socket.socket, method: str, request: bytes, deadline: float
) -> tuple[dict[bytes, bytes], bytes]:
    """Send the request; return headers and trailers together, and the body."""
    http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
    http.initiate_connection()
    http.send_headers(1, [*_PSEUDO_HEADERS, (":path", method), *_HEADERS])
    http.send_data(1, b"\0" + len(request).to_bytes(4) + request, end_stream=True)
    headers: dict[bytes, bytes] = {}
    body = b""

    while True:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("timed out")
        connection.settimeout(remaining)
        connection.sendall(http.data_to_send())
        received = connection.recv(1 << 16)
        if not received:
            raise CRIError("the runtime closed the connection before its response was complete")

        for event in http.receive_data(received):
            if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                headers |= dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                body += event.data
                http.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, h2.events.StreamEnded):
                return headers, body
            elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                raise CRIError("the runtime aborted the call")


def sandbox_ids(response: bytes) -> Iterator[str]:
    """Yield the id of each item of a ListPodSandboxResponse. Raises CRIError."""
    for item in _values(response, 1):
        ids = list(_values(item, 1))
        if len(ids) != 1 or not ids[0]:
            raise CRIError("an item of the runtime's response has no id")
        try:
            yield ids[0].decode()
        except UnicodeDecodeError:
            raise CRIError("an id in the runtime's response is not UTF-8") from None


def pod_uids(response: bytes) -> Iterator[str]:
    """Yield the pod's UID of each item of a ListPodSandboxResponse. Raises CRIError."""
    for item in _values(response, 1):
        for metadata in _values(item, 2):
            yield from (uid.decode(errors="replace") for uid in _values(metadata, 2))


def _values(message: bytes, number: int) -> Iterator[bytes]:
    """Yield the values of the field *number*."""
    return (value for each, value in fields(message) if each == number)


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and value of each field of *message* that is bytes. Raises CRIError."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        wire_type = key & 7
        if wire_type == _VARINT:
            _, position = _varint(message, position)
            continue

        if wire_type == _BYTES:
            size, position = _varint(message, position)
        elif wire_type in {_FIXED64, _FIXED32}:
            size = 8 if wire_type == _FIXED64 else 4
        else:
            raise CRIError(f"the runtime's response has a field of unknown wire type {wire_type}")

        if position + size > len(message):
            raise CRIError("the runtime's response is cut short")
        if wire_type == _BYTES:
            yield key >> 3, message[position : position + size]
        position += size


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """Return the number at *position*, and the position after it. Raises CRIError."""
    value = 0
    for shift in range(0, 64, 7):
        if position >= len(message):
            raise CRIError("the runtime's response is cut short")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follows
            return value, position
    raise CRIError("the runtime's response has a number that is too long")
