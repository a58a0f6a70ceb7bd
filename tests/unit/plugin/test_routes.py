"""Default routes: what is asked of the kernel, and what is made of its answer.

The kernel is played by bytes here; tests/node removes real routes in real namespaces.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from dispatcher.plugin import routes
from dispatcher.plugin.errors import INVALID_NETNS, IO_FAILURE, CNIError
from dispatcher.plugin.routes import _default_routes, remove_default_routes

INET, INET6 = int(socket.AF_INET), int(socket.AF_INET6)
GATEWAY = socket.inet_pton(socket.AF_INET, "10.0.0.1")
OTHER = socket.inet_pton(socket.AF_INET, "10.0.0.2")


def attribute(kind: int, value: bytes) -> bytes:
    padding = b"\0" * (-len(value) % 4)
    return struct.pack("=HH", 4 + len(value), kind) + value + padding


def link(index: int) -> bytes:
    return attribute(4, struct.pack("=i", index))


def route(
    *attributes: bytes, length: int = 0, family: int = INET, kind: int = 1, table: int = 254
) -> bytes:
    head = struct.pack("=BBBBBBBBI", family, length, 0, 0, table, 3, 0, kind, 0)
    return head + b"".join(attributes)


def hop(index: int, gateway: bytes) -> bytes:
    inner = attribute(5, gateway)
    return struct.pack("=HBBi", 8 + len(inner), 0, 0, index) + inner


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body


class Kernel:
    """Answers with the messages given, and keeps what was asked."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.asked: list[bytes] = []

    def send(self, data: bytes) -> None:
        """Keep a request."""
        self.asked.append(data)

    def settimeout(self, _: float) -> None:
        """Never be late."""

    def close(self) -> None:
        """Be done."""

    def recv(self, _: int) -> bytes:
        """Give the next answer."""
        return self.answers.pop(0)


def deleted(*found: bytes, family: int = INET) -> list[bytes]:
    """Return what would be deleted of these routes through the interface 7."""
    dump = b"".join(message(24, body) for body in found)
    kernel: Any = Kernel(dump, message(3, b"\0\0\0\0"))
    return list(_default_routes(kernel, family, 7))


@pytest.mark.parametrize(
    "found",
    [
        pytest.param([], id="no route"),
        pytest.param([route(link(8), attribute(5, OTHER))], id="another interface's"),
        pytest.param([route(link(7), length=8)], id="not a default route"),
        pytest.param([route(link(7), family=INET6)], id="the other family's"),
        pytest.param([route(link(7), kind=7)], id="an unreachable one"),
        pytest.param([route()], id="without an interface"),
        pytest.param([route(link(7), table=100)], id="of another table"),
        pytest.param([route(attribute(15, b"\xe8\3\0\0"), link(7))], id="of a table beyond 255"),
    ],
)
def test_what_is_left_alone(found: list[bytes]) -> None:
    """Only unicast default routes through the one interface are ours to remove."""
    assert deleted(*found) == []


def test_a_default_route_is_named_exactly() -> None:
    """By table, priority, gateway and interface, so that no other can be meant."""
    priority, table = attribute(6, b"\1\0\0\0"), attribute(15, b"\xfe\0\0\0")
    body = route(table, priority, attribute(5, GATEWAY), link(7), attribute(99, b"x"))
    expected = route(priority, table, link(7), attribute(5, GATEWAY))
    assert deleted(route(link(8)), body) == [expected]


def test_one_next_hop_of_several_is_removed() -> None:
    """Of a route over two interfaces, the part through ours."""
    body = route(attribute(9, hop(8, OTHER) + hop(7, GATEWAY)), attribute(6, b"\0\4\0\0"))
    expected = route(attribute(6, b"\0\4\0\0"), link(7), attribute(5, GATEWAY))
    assert deleted(body) == [expected]


@pytest.mark.parametrize(
    ("code", "fails"), [(0, False), (3, False), (19, False), (1, True)],
    ids=["done", "gone already", "its interface gone", "refused"],
)  # fmt: skip
def test_the_answer_to_a_removal(code: int, *, fails: bool) -> None:
    """What somebody else removed meanwhile is no error; a refusal is."""
    kernel: Any = Kernel(message(2, struct.pack("=i", -code) + b"\0" * 16))
    if fails:
        with pytest.raises(PermissionError):
            routes._ask(kernel, 25, 5, b"")
    else:
        assert routes._ask(kernel, 25, 5, b"") == []


def test_a_namespace_that_is_gone_or_is_none(tmp_path: Path) -> None:
    """Code 8, and the path is named; our own namespace is where we are afterwards."""
    (tmp_path / "file").touch()
    own = Path("/proc/thread-self/ns/net")
    before = own.readlink()
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(CNIError, match=str(path)) as caught:
            remove_default_routes(str(path), "net1")
        assert caught.value.code == INVALID_NETNS
    assert own.readlink() == before


def test_an_interface_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code 5, and the interface is named."""
    monkeypatch.setattr(routes, "_setns", lambda _: None)
    with pytest.raises(CNIError, match="none0") as caught:
        remove_default_routes("/proc/self/ns/net", "none0")
    assert caught.value.code == IO_FAILURE


def test_nothing_to_remove_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both families are asked for over a real socket; the loopback has no default route."""
    monkeypatch.setattr(routes, "_setns", lambda _: None)
    remove_default_routes("/proc/self/ns/net", "lo")


def test_a_namespace_is_entered_and_left_before_python_3_12_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the interpreter's own call the C library is asked; what it refuses is told."""
    entered: list[int] = []
    monkeypatch.setattr("posix.setns", lambda file, _: entered.append(file), raising=False)
    remove_default_routes("/proc/self/ns/net", "lo")
    assert len(entered) == 2
    monkeypatch.delattr("posix.setns")
    with pytest.raises(CNIError, match="cannot be entered: setns was refused"):
        routes._enter("/dev/null")


def test_what_the_kernel_answers_is_removed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of routes, then one acknowledged removal for each."""
    dump = message(24, route(link(1))) + message(3, b"\0\0\0\0")
    kernel = Kernel(dump, message(2, b"\0" * 20), message(3, b"\0\0\0\0"))
    monkeypatch.setattr(routes, "socket", lambda *_: kernel)
    monkeypatch.setattr(routes, "if_nametoindex", lambda _: 1)
    routes._remove("lo")
    kinds = [struct.unpack_from("=IH", each)[1] for each in kernel.asked]
    assert kinds == [26, 25, 26]
