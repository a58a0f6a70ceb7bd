"""Default routes inside a pod's network namespace: the primary's alone.

How it works: this process enters the namespace, asks the kernel over rtnetlink for the
routes of both families, and deletes every default route that leaves through the given
interface, those that are one of several next hops included. Then it returns to its own
namespace. Nothing here is loaded where no result shows such a route.

Rules of this file: only default routes (destination length 0) of that one interface are
touched, and only in the main table: in another they stand for policy routing (the plugin
``sbr`` moves them there), which says itself whom they concern. A route that somebody else
removed meanwhile is no error.
"""

from __future__ import annotations

import posix
from _socket import AF_INET, AF_INET6, AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, if_nametoindex, socket
from _struct import calcsize, pack, unpack_from

from dispatcher.plugin.errors import INVALID_NETNS, IO_FAILURE, CNIError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_NETLINK_ROUTE = 0
_CLONE_NEWNET = 0x40000000
_OWN_NETNS = "/proc/thread-self/ns/net"
_KERNEL_ANSWERS = 5  # at most so long, seconds

# linux/netlink.h and linux/rtnetlink.h
_HEADER = "=IHHII"  # nlmsghdr: length, type, flags, sequence, port
_ROUTE = "=BBBBBBBBI"  # rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
_HOP = "=HBBi"  # rtnexthop: length, flags, hops, ifindex
_ATTRIBUTE = "=HH"
_DELROUTE, _GETROUTE = 25, 26
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_OIF, _GATEWAY, _PRIORITY, _MULTIPATH, _TABLE = 4, 5, 6, 9, 15
_RTN_UNICAST = 1
_MAIN_TABLE = 254
_ESRCH, _ENODEV = 3, 19
_HEADER_SIZE, _ROUTE_SIZE, _HOP_SIZE = calcsize(_HEADER), calcsize(_ROUTE), calcsize(_HOP)


def remove_default_routes(netns: str, interface: str) -> None:
    """Remove the default routes through *interface* in the namespace *netns* (a path).

    Raises :class:`CNIError` with code 8 or 5.
    """
    home = posix.open(_OWN_NETNS, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        _enter(netns)
        try:
            _remove(interface)
        except OSError as error:
            raise CNIError(
                IO_FAILURE, f"the default routes of {interface} cannot be removed: {error}"
            ) from None
        finally:
            _setns(home)
    finally:
        posix.close(home)


def _enter(netns: str) -> None:
    try:
        there = posix.open(netns, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            _setns(there)
        finally:
            posix.close(there)
    except OSError as error:
        raise CNIError(INVALID_NETNS, f"{netns} cannot be entered: {error}") from None


def _setns(file: int) -> None:
    if hasattr(posix, "setns"):
        posix.setns(file, _CLONE_NEWNET)
        return
    # Before Python 3.12. The C core of ctypes alone: the package around it is four times as dear.
    from _ctypes import call_function, dlopen, dlsym

    libc = dlopen(None, 0)  # type: ignore[arg-type]  # None is this program, as in dlopen(3)
    if call_function(dlsym(libc, "setns"), (file, _CLONE_NEWNET)) != 0:
        raise OSError(f"setns was refused for {file}")


def _remove(interface: str) -> None:
    index = if_nametoindex(interface)
    kernel = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, _NETLINK_ROUTE)
    try:
        kernel.settimeout(_KERNEL_ANSWERS)
        for family in (AF_INET, AF_INET6):
            for route in list(_default_routes(kernel, family, index)):
                _ask(kernel, _DELROUTE, _REQUEST | _ACK, route)
    finally:
        kernel.close()


def _default_routes(kernel: socket, family: int, index: int) -> Iterator[bytes]:
    """Yield the body of a delete request for each default route through *index*."""
    request = pack(_ROUTE, family, 0, 0, 0, 0, 0, 0, 0, 0)
    for body in _ask(kernel, _GETROUTE, _REQUEST | _DUMP, request):
        got_family, length, _, tos, table, protocol, scope, kind, _ = unpack_from(_ROUTE, body)
        if got_family != family or length or kind != _RTN_UNICAST:
            continue
        attributes = dict(_attributes(body[_ROUTE_SIZE:]))
        if attributes.get(_TABLE, pack("=I", table)) != pack("=I", _MAIN_TABLE):
            continue
        head = pack(_ROUTE, family, 0, 0, tos, table, protocol, scope, kind, 0)
        shared = [(key, attributes[key]) for key in (_PRIORITY, _TABLE) if key in attributes]
        for hop in _hops(attributes):
            if hop.get(_OIF) == pack("=i", index):
                chosen = [(key, hop[key]) for key in (_OIF, _GATEWAY) if key in hop]
                yield head + b"".join(_attribute(*each) for each in shared + chosen)


def _hops(attributes: dict[int, bytes]) -> Iterator[dict[int, bytes]]:
    if _MULTIPATH not in attributes:
        yield attributes
        return
    rest = attributes[_MULTIPATH]
    while len(rest) >= _HOP_SIZE:
        length, _, _, index = unpack_from(_HOP, rest)
        yield {**dict(_attributes(rest[_HOP_SIZE:length])), _OIF: pack("=i", index)}
        rest = rest[_padded(length) :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= calcsize(_ATTRIBUTE):
        length, kind = unpack_from(_ATTRIBUTE, data)
        yield kind & 0x3FFF, data[4:length]
        data = data[_padded(length) :]


def _attribute(kind: int, value: bytes) -> bytes:
    length = calcsize(_ATTRIBUTE) + len(value)
    return pack(_ATTRIBUTE, length, kind) + value + b"\0" * (_padded(length) - length)


def _padded(length: int) -> int:
    return (max(length, 4) + 3) & ~3


def _ask(kernel: socket, kind: int, flags: int, body: bytes) -> list[bytes]:
    """Send one request and return the bodies of the answer's messages. Raises OSError."""
    kernel.send(pack(_HEADER, _HEADER_SIZE + len(body), kind, flags, 1, 0) + body)
    bodies: list[bytes] = []
    while True:
        data = kernel.recv(1 << 18)
        while len(data) >= _HEADER_SIZE:
            length, answer, _, _, _ = unpack_from(_HEADER, data)
            if answer == _DONE:
                return bodies
            if answer == _ERROR:
                (code,) = unpack_from("=i", data, _HEADER_SIZE)
                if -code not in {0, _ESRCH, _ENODEV}:
                    raise OSError(-code, posix.strerror(-code))
                return bodies
            bodies.append(data[_HEADER_SIZE:length])
            data = data[_padded(length) :]
