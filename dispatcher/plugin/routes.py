"""Default routes inside a pod's network namespace: the primary's alone.

How it works: this process enters the namespace, asks the kernel over rtnetlink for the
routes of both families, and deletes every default route that leaves through the given
interface. Of a route with several next hops, those through other interfaces stay. Where a
plugin had put its route in the place of the primary's, no default route is left then, and the
primary's is made again as its result states it. Then the process returns to its own
namespace. Nothing here is loaded where no result shows such a route.

Rules of this file: only default routes (destination length 0) are touched, and only in the
main table: in another they stand for policy routing (the plugin ``sbr`` moves them there),
which says itself whom they concern. A route, or an interface, that is not there is no error.
"""

from __future__ import annotations

import posix
from _socket import (
    AF_INET,
    AF_INET6,
    AF_NETLINK,
    SOCK_CLOEXEC,
    SOCK_RAW,
    if_nametoindex,
    inet_pton,
    socket,
)
from _struct import calcsize, pack, unpack_from

from dispatcher.plugin.errors import INVALID_NETNS, IO_FAILURE, CNIError
from dispatcher.plugin.result import MAIN_TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Changes = list[tuple[int, int, bytes]]  # type, flags and body of requests

_NETLINK_ROUTE = 0
_CLONE_NEWNET = 0x40000000
_OWN_NETNS = "/proc/thread-self/ns/net"
_KERNEL_ANSWERS = 5  # at most so long, seconds

# linux/netlink.h and linux/rtnetlink.h
_HEADER = "=IHHII"  # nlmsghdr: length, type, flags, sequence, port
_ROUTE = "=BBBBBBBBI"  # rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
_HOP = "=HBBi"  # rtnexthop: length, flags, hops, ifindex
_ATTRIBUTE = "=HH"
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_EXCLUSIVE, _CREATE, _APPEND = 0x200, 0x400, 0x800
_OIF, _GATEWAY, _PRIORITY, _SOURCE, _METRICS, _MULTIPATH, _TABLE = 4, 5, 6, 7, 8, 9, 15
_RTN_UNICAST = 1
_ONLINK = 4  # the only flag of a next hop that may be given; the kernel keeps the others
_BY_BOOT = 3  # the protocol that ip(8) and CNI plugins give their routes
_EVERYWHERE, _THIS_LINK = 0, 253  # scopes: through a gateway, without one
_ESRCH, _ENODEV = 3, 19
_FAMILIES = {4: AF_INET, 6: AF_INET6}
_HEADER_SIZE, _ROUTE_SIZE, _HOP_SIZE = calcsize(_HEADER), calcsize(_ROUTE), calcsize(_HOP)


def remove_default_routes(
    netns: str, interface: str, primary: str, gateways: Mapping[int, str]
) -> None:
    """Remove the default routes through *interface* in the namespace *netns* (a path).

    *gateways* are those of the default routes that the pod has through the interface
    *primary*: for 4, 6 or both, "" for a route without one. Raises :class:`CNIError` with code
    8 or 5.
    """
    home = posix.open(_OWN_NETNS, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        _enter(netns)
        try:
            _remove(interface, primary, gateways)
        except OSError as error:
            sentence = f"the pod's default routes cannot be kept to its primary, not {interface}"
            raise CNIError(IO_FAILURE, f"{sentence}: {error}") from None
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


def _remove(interface: str, primary: str, gateways: Mapping[int, str]) -> None:
    index = _index(interface)
    if index is None:
        return  # an attachment without an interface of the kernel's has no route of its either
    kernel = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, _NETLINK_ROUTE)
    try:
        kernel.settimeout(_KERNEL_ANSWERS)
        for number, family in _FAMILIES.items():
            changes = _changes(list(_default_routes(kernel, family)), index)
            for kind, flags, body in changes:
                _ask(kernel, kind, _REQUEST | _ACK | flags, body)
            if changes and number in gateways and not list(_default_routes(kernel, family)):
                _restore(kernel, family, primary, gateways[number])
    finally:
        kernel.close()


def _index(interface: str) -> int | None:
    try:
        return if_nametoindex(interface)
    except OSError:
        return None


def _restore(kernel: socket, family: int, primary: str, gateway: str) -> None:
    # On the link: some plugins give pods a gateway that no subnet of theirs has.
    scope, flags = (_EVERYWHERE, _ONLINK) if gateway else (_THIS_LINK, 0)
    body = pack(_ROUTE, family, 0, 0, 0, MAIN_TABLE, _BY_BOOT, scope, _RTN_UNICAST, flags)
    body += _attribute(_OIF, pack("=i", if_nametoindex(primary)))
    if gateway:
        body += _attribute(_GATEWAY, inet_pton(family, gateway))
    _ask(kernel, _NEWROUTE, _REQUEST | _ACK | _CREATE | _EXCLUSIVE, body)


def _default_routes(kernel: socket, family: int) -> Iterator[tuple[bytes, dict[int, bytes]]]:
    """Yield the head and the attributes of each default route in the main table."""
    request = pack(_ROUTE, family, 0, 0, 0, 0, 0, 0, 0, 0)
    for body in _ask(kernel, _GETROUTE, _REQUEST | _DUMP, request):
        got_family, length, _, tos, table, protocol, scope, kind, _ = unpack_from(_ROUTE, body)
        if got_family != family or length or kind != _RTN_UNICAST:
            continue
        attributes = dict(_attributes(body[_ROUTE_SIZE:]))
        if attributes.get(_TABLE, pack("=I", table)) == pack("=I", MAIN_TABLE):
            yield pack(_ROUTE, family, 0, 0, tos, table, protocol, scope, kind, 0), attributes


def _changes(found: list[tuple[bytes, dict[int, bytes]]], index: int) -> Changes:
    """Return the requests that free the routes *found* from the interface *index*."""
    changes: Changes = []
    for head, attributes in found:
        hops = list(_hops(attributes))
        ours = [hop for hop in hops if hop[1].get(_OIF) == pack("=i", index)]
        if head[0] == AF_INET and _MULTIPATH in attributes and ours:
            others = [raw for raw, hop in hops if (raw, hop) not in ours]
            changes += _without(head, attributes, [raw for raw, _ in hops], others)
            continue
        named = head + _chosen(attributes, _PRIORITY, _TABLE)
        changes += [(_DELROUTE, 0, named + _chosen(hop, _OIF, _GATEWAY)) for _, hop in ours]
    return changes


def _without(
    head: bytes, attributes: dict[int, bytes], hops: list[bytes], others: list[bytes]
) -> Changes:
    """Return how an IPv4 route of *hops* keeps only the *others*: the kernel knows it whole."""
    whole = head + _chosen(attributes, _PRIORITY, _TABLE)
    changes: Changes = [(_DELROUTE, 0, whole + _attribute(_MULTIPATH, b"".join(hops)))]
    if others:
        rest = head + _chosen(attributes, _PRIORITY, _TABLE, _SOURCE, _METRICS)
        rest += _attribute(_MULTIPATH, b"".join(others))
        changes.append((_NEWROUTE, _CREATE | _APPEND, rest))
    return changes


def _chosen(attributes: dict[int, bytes], *keys: int) -> bytes:
    return b"".join(_attribute(key, attributes[key]) for key in keys if key in attributes)


def _hops(attributes: dict[int, bytes]) -> Iterator[tuple[bytes, dict[int, bytes]]]:
    """Yield the next hops of a route: each as it is asked for, and its attributes."""
    if _MULTIPATH not in attributes:
        yield b"", attributes
        return
    rest = attributes[_MULTIPATH]
    while len(rest) >= _HOP_SIZE:
        length, flags, weight, index = unpack_from(_HOP, rest)
        inner = rest[_HOP_SIZE : _padded(length)]
        raw = pack(_HOP, length, flags & _ONLINK, weight, index) + inner
        yield raw, {**dict(_attributes(inner)), _OIF: pack("=i", index)}
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
