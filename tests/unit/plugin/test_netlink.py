"""Netlink: the requests to the kernel, and how its answers are read.

The kernel's answers are bytes here; tests/node uses the real kernel in real namespaces.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.cni_errors import INVALID_NETNS, IO_FAILURE, CNIError
from dispatcher.plugin import netlink
from dispatcher.plugin.netlink import NetworkNamespace, Route
from tests.unit.plugin.rtnetlink import (
    GATEWAY,
    INET6,
    OTHER,
    attribute,
    hop,
    link,
    message,
    route,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
HERE = "/proc/thread-self/ns/net"


DONE, YES = message(3, bytes(4)), message(2, bytes(20))


def no(errno: int) -> bytes:
    return message(2, struct.pack("=i", -errno) + bytes(16))


class Kernel:
    """Answers with the messages given, and keeps the requests. A fake."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []

    def sendto(self, data: bytes, _address: tuple[int, int]) -> None:
        """Keep a request."""
        self.requests.append(data)

    def setsockopt(self, *_: object) -> None:
        """Ignore it."""

    def close(self) -> None:
        """Do nothing."""

    def recv(self, _: int) -> bytes:
        """Return the next answer."""
        return self.answers.pop(0)


@pytest.fixture
def namespace(monkeypatch: pytest.MonkeyPatch) -> Iterator[NetworkNamespace]:
    """Give our own namespace, over a real socket."""
    monkeypatch.setattr(netlink, "_setns", lambda _: None)
    opened = NetworkNamespace(HERE)
    yield opened
    opened.close()


def asked(monkeypatch: pytest.MonkeyPatch, *answers: bytes) -> tuple[NetworkNamespace, Kernel]:
    """Return a namespace whose kernel gives these answers."""
    kernel: Any = Kernel(*answers)
    monkeypatch.setattr(netlink, "_setns", lambda _: None)
    monkeypatch.setattr(netlink, "socket", lambda *_: kernel)
    return NetworkNamespace(HERE), kernel


def listed(monkeypatch: pytest.MonkeyPatch, *bodies: bytes) -> list[bytes]:
    """Return the requests that create these routes again, for those that are listed."""
    dump = b"".join(message(24, body) for body in bodies)
    namespace, _ = asked(monkeypatch, dump, DONE)
    return [each.body for each in namespace.default_routes()]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(route(link(7), length=8), id="not a default route"),
        pytest.param(route(link(7), family=28), id="of another family, MPLS"),
        pytest.param(route(link(7), rtype=7), id="an unreachable one"),
        pytest.param(route(link(7), table=100), id="of another table"),
        pytest.param(route(attribute(15, b"\xe8\3\0\0"), link(7)), id="of a table beyond 255"),
    ],
)
def test_a_route_that_is_not_listed(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """Only unicast default routes of the main table are listed."""
    assert listed(monkeypatch, body) == []


@pytest.mark.parametrize(
    ("body", "again"),
    [
        pytest.param(
            route(
                attribute(15, b"\xfe\0\0\0"), attribute(5, GATEWAY), link(7), attribute(99, b"x")
            ),
            route(
                attribute(15, b"\xfe\0\0\0"), attribute(5, GATEWAY), link(7), attribute(99, b"x")
            ),
            id="every attribute stays, one that nobody here knows too",
        ),
        pytest.param(
            route(link(7), flags=1 | 4 | 16),
            route(link(7), flags=4),
            id="of the flags onlink alone",
        ),
        pytest.param(
            route(attribute(9, hop(8, OTHER, 1 | 4) + hop(7, GATEWAY))),
            route(attribute(9, hop(8, OTHER, 4) + hop(7, GATEWAY))),
            id="of the flags of each next hop, too",
        ),
        pytest.param(
            route(attribute(30, b"\x09\0\0\0"), attribute(5, GATEWAY), link(7)),
            route(attribute(30, b"\x09\0\0\0")),
            id="a nexthop object without what it stands for",
        ),
        pytest.param(
            route(link(7), attribute(12, struct.pack("=IIiIIII", 0, 0, 201, 0, 0, 0, 0))),
            route(link(7), attribute(23, struct.pack("=I", 3))),
            id="an expiry in seconds, rounded up from ticks",
        ),
        pytest.param(
            route(link(7), attribute(12, bytes(28))), route(link(7)), id="no expiry of one without"
        ),
    ],
)
def test_the_request_that_creates_a_route_again(
    monkeypatch: pytest.MonkeyPatch, body: bytes, again: bytes
) -> None:
    """The kernel would refuse what it computes itself, so that is left out."""
    assert listed(monkeypatch, body) == [again]


def test_a_list_that_changed_during_the_dump_is_requested_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may lack a route; a list that changes in every try is an error."""
    interrupted = struct.pack("=IHHII", 16 + 4, 3, 0x10, 1, 0) + bytes(4)
    whole = message(24, route(link(7))) + message(24, route(link(8), family=INET6)) + DONE
    namespace, kernel = asked(monkeypatch, interrupted, whole)
    assert [(each.family, set(each.interfaces)) for each in namespace.default_routes()] == [
        (4, {7}),
        (6, {8}),
    ]
    assert len(kernel.requests) == 2
    namespace, _ = asked(monkeypatch, *[interrupted] * 20)
    with pytest.raises(OSError, match="they changed during each"):
        namespace.default_routes()


def test_the_attributes_of_a_route() -> None:
    """Its interfaces, also through several next hops, and whether a router advertised it."""
    plain = Route(route(link(7)))
    assert (set(plain.interfaces), plain.is_advertised) == ({7}, False)
    assert Route(route(attribute(9, hop(8, OTHER) + hop(7, GATEWAY)))).interfaces == {7, 8}
    assert Route(route(link(3), family=INET6, protocol=9)).is_advertised


@given(st.binary(min_size=12, max_size=120))
def test_any_bytes_are_a_route(body: bytes) -> None:
    """The kernel refuses those of a damaged record."""
    assert Route(body).body == body


@pytest.mark.parametrize(
    ("change", "errno", "fails"),
    [("remove", 0, False), ("remove", 3, False), ("remove", 1, True), ("remove", 17, True),
     ("restore", 0, False), ("restore", 17, False), ("restore", 3, True), ("restore", 101, True)],
    ids=["removed", "gone already", "refused", "a removal that says it exists",
         "restored", "there already", "gone as an answer to restoring", "gateway unreachable"],
)  # fmt: skip
def test_the_answer_to_a_change(
    monkeypatch: pytest.MonkeyPatch, change: str, errno: int, *, fails: bool
) -> None:
    """A change that exists already is no error; a refusal is, with the kernel's reason."""
    namespace, kernel = asked(monkeypatch, no(errno) if errno else YES)
    body = route(link(7), attribute(5, GATEWAY))

    def make() -> None:
        if change == "remove":
            namespace.remove(Route(body))
        else:
            namespace.restore(body)

    if fails:
        with pytest.raises(OSError) as caught:
            make()
        assert caught.value.errno == errno
    else:
        make()
    [request] = kernel.requests
    _, message_type, flags = struct.unpack_from("=IHH", request)
    assert (message_type, flags) == {"remove": (25, 5), "restore": (24, 0xC05)}[change]
    assert request[16:] == body


def test_interfaces_are_found_by_name_and_by_index(namespace: NetworkNamespace) -> None:
    """The real kernel has the loopback of our own namespace."""
    assert namespace.index("lo") == 1
    assert namespace.has_interfaces_of(route(link(1)))
    assert namespace.index("none0") is None
    assert not namespace.has_interfaces_of(route(attribute(9, hop(1, OTHER) + hop(999, GATEWAY))))


def test_an_interface_that_the_kernel_refuses_to_describe(
    monkeypatch: pytest.MonkeyPatch, namespace: NetworkNamespace
) -> None:
    """Any error but "no such device" is returned."""

    def refuse(*_: object) -> bytes:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(netlink, "ioctl", refuse)
    with pytest.raises(PermissionError):
        namespace.index("lo")


def test_the_routes_of_our_own_namespace_can_be_listed(namespace: NetworkNamespace) -> None:
    """They may be any."""
    assert all(isinstance(each, Route) for each in namespace.default_routes())


def test_a_namespace_that_is_gone_or_is_none(tmp_path: Path) -> None:
    """Code 8 with the path; this thread is in its own namespace afterwards."""
    (tmp_path / "file").touch()
    own = Path(HERE)
    before = own.readlink()
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(CNIError, match=str(path)) as caught:
            NetworkNamespace(str(path))
        assert caught.value.code == INVALID_NETNS
    assert own.readlink() == before


def test_a_namespace_is_entered_and_left_before_python_3_12_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without posix.setns the C library is called; its refusal is returned."""
    entered: list[int] = []
    monkeypatch.setattr("posix.setns", lambda file, _: entered.append(file), raising=False)
    NetworkNamespace(HERE).close()
    assert len(entered) == 2
    monkeypatch.delattr("posix.setns")
    with pytest.raises(CNIError, match="setns failed"):
        NetworkNamespace("/dev/null")


def test_advertised_routes_are_ignored_on_one_interface(
    monkeypatch: pytest.MonkeyPatch, namespace: NetworkNamespace
) -> None:
    """By the kernel's setting for it; without IPv6 there is nothing to set."""
    opened: list[str] = []
    real_open = os.open

    def open_file(path: str, flags: int, *, dir_fd: int) -> int:
        opened.append(f"{Path(f'/proc/self/fd/{dir_fd}').readlink()}/{path}")
        if "net2" in path:
            raise FileNotFoundError(path)
        if "net3" in path:
            raise OSError(30, "Read-only file system", path)
        return real_open("/dev/null", flags)

    monkeypatch.setattr("posix.open", open_file)
    namespace.ignore_advertised_routes("net1")
    namespace.ignore_advertised_routes("net2")
    with pytest.raises(
        CNIError, match=r"cannot make the kernel ignore .* on interface net3: .*Read-only"
    ) as caught:
        namespace.ignore_advertised_routes("net3")
    assert caught.value.code == IO_FAILURE
    assert opened == [f"/proc/sys/net/ipv6/conf/net{n}/accept_ra_defrtr" for n in (1, 2, 3)]


def test_a_kernel_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no setting to change."""
    monkeypatch.setattr(netlink, "_setns", lambda _: None)
    monkeypatch.setattr(netlink, "_IPV6_SETTINGS", "/proc/sys/net/none")
    namespace = NetworkNamespace(HERE)
    namespace.ignore_advertised_routes("net1")
    namespace.close()
