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
from dispatcher.plugin.routes import _changes, _default_routes, remove_default_routes

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


def asked(*found: bytes, family: int = INET) -> list[tuple[int, int, bytes]]:
    """Return the requests (type, flags, body) that free these routes from the interface 7."""
    dump = b"".join(message(24, body) for body in found)
    kernel: Any = Kernel(dump, message(3, b"\0\0\0\0"))
    return _changes(list(_default_routes(kernel, family)), 7)


def deleted(*found: bytes, family: int = INET) -> list[bytes]:
    """Return what would be deleted of these routes, where nothing else is asked for."""
    changes = asked(*found, family=family)
    assert {(kind, flags) for kind, flags, _ in changes} <= {(25, 0)}
    return [body for _, _, body in changes]


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


def test_one_next_hop_of_several_is_removed_of_ipv6() -> None:
    """Of a route over two interfaces, the part through ours: each hop is a route there."""
    body = route(
        attribute(9, hop(8, OTHER) + hop(7, GATEWAY)), attribute(6, b"\0\4\0\0"), family=INET6
    )
    expected = route(attribute(6, b"\0\4\0\0"), link(7), attribute(5, GATEWAY), family=INET6)
    assert deleted(body, family=INET6) == [expected]


def test_an_ipv4_route_is_made_again_with_its_other_next_hops() -> None:
    """The kernel only knows such a route whole; what it says of a dead link is not repeated."""
    priority, source = attribute(6, b"\0\4\0\0"), attribute(7, OTHER)
    dead = struct.pack("=HBBi", 16, 1 | 4, 2, 8) + attribute(5, OTHER)
    alive = struct.pack("=HBBi", 16, 4, 2, 8) + attribute(5, OTHER)
    whole = attribute(9, dead + hop(7, GATEWAY))
    assert asked(route(whole, priority, source)) == [
        (25, 0, route(priority, attribute(9, alive + hop(7, GATEWAY)))),
        (24, 0xC00, route(priority, source, attribute(9, alive))),
    ]


def test_an_ipv4_route_whose_next_hops_are_all_ours_goes_whole() -> None:
    """And one that has none of ours stays."""
    whole = attribute(9, hop(7, OTHER) + hop(7, GATEWAY))
    assert deleted(route(whole)) == [route(whole)]
    assert deleted(route(attribute(9, hop(8, OTHER)))) == []


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
            remove_default_routes(str(path), "net1", "", {})
        assert caught.value.code == INVALID_NETNS
    assert own.readlink() == before


def test_an_interface_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network may attach without an interface of the kernel's: nothing is to be removed."""
    monkeypatch.setattr(routes, "_setns", lambda _: None)
    remove_default_routes("/proc/self/ns/net", "none0", "", {})


def test_a_refusal_names_the_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code 5, with the kernel's reason."""
    kernel = Kernel(message(2, struct.pack("=i", -1) + b"\0" * 16))
    monkeypatch.setattr(routes, "_setns", lambda _: None)
    monkeypatch.setattr(routes, "socket", lambda *_: kernel)
    with pytest.raises(CNIError, match=r"not lo: .* not permitted") as caught:
        remove_default_routes("/proc/self/ns/net", "lo", "", {})
    assert caught.value.code == IO_FAILURE


def test_nothing_to_remove_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both families are asked for over a real socket; the loopback has no default route."""
    monkeypatch.setattr(routes, "_setns", lambda _: None)
    remove_default_routes("/proc/self/ns/net", "lo", "", {})


def test_a_namespace_is_entered_and_left_before_python_3_12_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the interpreter's own call the C library is asked; what it refuses is told."""
    entered: list[int] = []
    monkeypatch.setattr("posix.setns", lambda file, _: entered.append(file), raising=False)
    remove_default_routes("/proc/self/ns/net", "lo", "", {})
    assert len(entered) == 2
    monkeypatch.delattr("posix.setns")
    with pytest.raises(CNIError, match="cannot be entered: setns was refused"):
        routes._enter("/dev/null")


DONE, YES = message(3, b"\0\0\0\0"), message(2, b"\0" * 20)


@pytest.mark.parametrize(
    ("left", "gateways", "made"),
    [
        pytest.param(
            b"",
            {4: "10.0.0.1", 6: "fd00::1"},
            [
                struct.pack("=BBBBBBBBI", INET, 0, 0, 0, 254, 3, 0, 1, 4)
                + link(1)
                + attribute(5, GATEWAY)
            ],
            id="where none is left, the primary's is made again",
        ),
        pytest.param(
            b"",
            {4: ""},
            [struct.pack("=BBBBBBBBI", INET, 0, 0, 0, 254, 3, 253, 1, 0) + link(1)],
            id="one without a gateway, too",
        ),
        pytest.param(message(24, route(link(2))), {4: "10.0.0.1"}, [], id="another is left"),
        pytest.param(b"", {6: "fd00::1"}, [], id="the primary had none of this family"),
    ],
)
def test_what_the_kernel_answers_is_removed_one_by_one(
    monkeypatch: pytest.MonkeyPatch, left: bytes, gateways: dict[int, str], made: list[bytes]
) -> None:
    """A list of routes, an acknowledged removal of each, a look at what is left."""
    dump = message(24, route(link(1))) + DONE
    looks_again = [left + DONE] if 4 in gateways else []
    kernel = Kernel(dump, YES, *looks_again, *(YES for _ in made), DONE)
    monkeypatch.setattr(routes, "socket", lambda *_: kernel)
    monkeypatch.setattr(routes, "if_nametoindex", lambda _: 1)
    routes._remove("lo", "eth0", gateways)
    kinds = [struct.unpack_from("=IH", each)[1] for each in kernel.asked]
    assert kinds == [26, 25, *(26 for _ in looks_again), *(24 for _ in made), 26]
    assert [each[16:] for each in kernel.asked if each[4] == 24] == made
