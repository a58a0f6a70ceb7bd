"""Messages of rtnetlink, as the kernel writes them: bytes for tests."""

from __future__ import annotations

import socket
import struct

INET, INET6 = int(socket.AF_INET), int(socket.AF_INET6)


GATEWAY = socket.inet_pton(socket.AF_INET, "10.0.0.1")


OTHER = socket.inet_pton(socket.AF_INET, "10.0.0.2")


def attribute(key: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), key) + value + bytes(-len(value) % 4)


def link(index: int) -> bytes:
    return attribute(4, struct.pack("=i", index))


def route(
    *attributes: bytes,
    length: int = 0,
    family: int = INET,
    rtype: int = 1,
    table: int = 254,
    protocol: int = 3,
    flags: int = 0,
) -> bytes:
    head = struct.pack("=BBBBBBBBI", family, length, 0, 0, table, protocol, 0, rtype, flags)
    return head + b"".join(attributes)


def hop(index: int, gateway: bytes, flags: int = 0) -> bytes:
    inner = attribute(5, gateway)
    return struct.pack("=HBBi", 8 + len(inner), flags, 0, index) + inner


def message(message_type: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), message_type, 0, 1, 0) + body
