"""Default routes and interfaces of one pod's network namespace, over rtnetlink.

How it works: this thread enters the namespace, opens an rtnetlink socket and returns to its own
namespace. A socket belongs to the namespace that it was opened in, so every later question goes
through it without another change of namespaces. A route is kept as the bytes of the request
that makes it again (:class:`Route`): the kernel's own description, without what it computes itself.

Rules of this file: it does what it is asked and decides nothing; only unicast routes of
destination length 0 in the main table are listed, since a route in another table is policy
routing (the plugin ``sbr`` moves default routes there). Errors are OSError, except that a
namespace that cannot be entered is a :class:`CNIError` with code 8. Nothing here is loaded for a
pod with one network.
"""

from __future__ import annotations

import posix
from _socket import AF_INET, AF_INET6, AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, socket
from _struct import calcsize, pack, unpack_from
from fcntl import ioctl
from sys import byteorder

from dispatcher.cni_errors import INVALID_NETNS, IO_FAILURE, CNIError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_NETLINK_ROUTE = 0
_TO_THE_KERNEL = (0, 0)
_CLONE_NEWNET = 0x40000000
_OWN_NETNS = "/proc/thread-self/ns/net"
_KERNEL_ANSWERS = 5  # at most so long, seconds
_RECEIVE = 1 << 16  # messages of a dump have 32 KiB at most; more would be mapped for each answer

# linux/netlink.h and linux/rtnetlink.h
_HEADER = "=IHHII"  # nlmsghdr: length, type, flags, sequence, port
_ROUTE = "=BBBBBBBBI"  # rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
_IFREQ = "=16si20x"  # ifreq: name, index, room for the union's other members
_HOP = "=HBBi"  # rtnexthop: length, flags, hops, ifindex
_ATTRIBUTE = "=HH"
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP, _INTERRUPTED = 1, 4, 0x300, 0x10
_TRIES = 10  # of a list that changes while the kernel gives it
_CREATE, _APPEND = 0x400, 0x800
_OIF, _GATEWAY, _MULTIPATH, _FLOW, _CACHEINFO, _TABLE = 4, 5, 9, 11, 12, 15
_VIA, _ENCAP_TYPE, _ENCAP, _EXPIRES, _NEXTHOP_ID = 18, 21, 22, 23, 30
_RTN_UNICAST = 1
_MAIN_TABLE = 254
_ONLINK = 4  # the only flag of a next hop that may be given; the kernel computes the others
_BY_ADVERTISEMENT = 9  # RTPROT_RA
_TICKS = 100  # USER_HZ: the unit of times in rta_cacheinfo, per second
_EXPIRES_AT = 8  # offset of rta_expires in rta_cacheinfo
_SIOCGIFINDEX, _SIOCGIFNAME = 0x8933, 0x8910
_ESRCH, _EEXIST, _ENODEV = 3, 17, 19
_HEADER_SIZE, _ROUTE_SIZE, _HOP_SIZE = calcsize(_HEADER), calcsize(_ROUTE), calcsize(_HOP)
_ATTRIBUTE_SIZE = calcsize(_ATTRIBUTE)
_TYPE_MASK = 0x3FFF  # of an attribute's type, without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_OF_A_NEXT_HOP = frozenset({_OIF, _GATEWAY, _MULTIPATH, _FLOW, _VIA, _ENCAP_TYPE, _ENCAP})
"""Excluded in a request that names a nexthop object; the kernel lists both."""


class Route:
    """One default route: ``body`` is the rtmsg and the attributes that make it again.

    ``interfaces`` are the indexes of the interfaces that it leaves through, ``is_advertised``
    tells whether the kernel learnt it from an IPv6 router advertisement.
    """

    __slots__ = ("body", "interfaces", "is_advertised")

    def __init__(self, body: bytes) -> None:
        self.body = body
        attributes = dict(_attributes(body[_ROUTE_SIZE:]))
        self.interfaces = frozenset(_interfaces(attributes))
        self.is_advertised = body[5] == _BY_ADVERTISEMENT


class Namespace:
    """The network namespace at the path *netns*, until :meth:`close`.

    Raises :class:`CNIError` with code 8 where it cannot be entered.
    """

    __slots__ = ("_kernel", "_netns")

    def __init__(self, netns: str) -> None:
        self._netns = netns
        with _Inside(netns):
            self._kernel = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, _NETLINK_ROUTE)
        self._kernel.settimeout(_KERNEL_ANSWERS)

    def close(self) -> None:
        """Let go of the namespace."""
        self._kernel.close()

    def index(self, interface: str) -> int | None:
        """Return the kernel's index of *interface*, None if there is none of this name."""
        found = self._interface(_SIOCGIFINDEX, pack(_IFREQ, interface.encode(), 0))
        return None if found is None else int(unpack_from(_IFREQ, found)[1])

    def _has(self, index: int) -> bool:
        return self._interface(_SIOCGIFNAME, pack(_IFREQ, b"", index)) is not None

    def _interface(self, request: int, given: bytes) -> bytes | None:
        # Not over rtnetlink, whose answer describes the interface at length: ten times the time.
        try:
            return ioctl(self._kernel.fileno(), request, given)
        except OSError as error:
            if error.errno == _ENODEV:
                return None
            raise

    def default_routes(self) -> list[Route]:
        """Return the unicast default routes of the main table, IPv4 before IPv6."""
        found = []
        for family in (AF_INET, AF_INET6):
            request = pack(_ROUTE, family, 0, 0, 0, 0, 0, 0, 0, 0)
            for answer in self._ask(_GETROUTE, _REQUEST | _DUMP, request):
                body = _request(answer, family)
                if body is not None:
                    found.append(Route(body))
        return found

    def remove(self, route: Route) -> None:
        """Remove *route*; one that is gone already is no error."""
        self._ask(_DELROUTE, _REQUEST | _ACK, route.body, ignored=_ESRCH)

    def restore(self, body: bytes) -> None:
        """Make the route of *body* again; one that is there already is no error.

        Appended: of several routes that differ in their next hop alone, the kernel prefers the
        one that it was given first.
        """
        flags = _REQUEST | _ACK | _CREATE | _APPEND
        self._ask(_NEWROUTE, flags, body, ignored=_EEXIST)

    def has_interfaces_of(self, body: bytes) -> bool:
        """Tell whether the interfaces of the route of *body* are there."""
        return all(map(self._has, Route(body).interfaces))

    def ignore_advertised_routes(self, interface: str) -> None:
        """Keep the kernel from adding default routes that routers advertise on *interface*.

        Other advertised settings (addresses, prefixes, MTU) are accepted as before. Raises
        :class:`CNIError` with code 5.
        """
        path = f"/proc/sys/net/ipv6/conf/{interface}/accept_ra_defrtr"
        with _Inside(self._netns):
            try:
                file = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
                try:
                    posix.write(file, b"0")
                finally:
                    posix.close(file)
            except FileNotFoundError:
                pass  # this kernel, or this interface, has no IPv6
            except OSError as error:
                raise CNIError(
                    IO_FAILURE,
                    f"cannot turn off default routes by router advertisement on {interface}: "
                    f"{path}: {error.strerror}",
                ) from None

    def _ask(self, command: int, flags: int, body: bytes, *, ignored: int = 0) -> list[bytes]:
        """Send one request; return the bodies of the answer's messages. Raises OSError.

        *ignored* is the errno that counts as success. A list that changed meanwhile is asked for
        again, since it may lack a route.
        """
        for _ in range(_TRIES):
            bodies = self._ask_once(command, flags, body, ignored)
            if bodies is not None:
                return bodies
        raise OSError("the kernel's routes change too fast to be listed")

    def _ask_once(self, command: int, flags: int, body: bytes, ignored: int) -> list[bytes] | None:
        """Return None for a list that changed while the kernel gave it."""
        request = pack(_HEADER, _HEADER_SIZE + len(body), command, flags, 1, 0) + body
        self._kernel.sendto(request, _TO_THE_KERNEL)
        bodies: list[bytes] = []
        interrupted = 0
        while True:
            data = self._kernel.recv(_RECEIVE)
            while len(data) >= _HEADER_SIZE:
                length, answer, about, _, _ = unpack_from(_HEADER, data)
                interrupted |= about & _INTERRUPTED
                if answer == _DONE:
                    return None if interrupted else bodies
                if answer == _ERROR:
                    (code,) = unpack_from("=i", data, _HEADER_SIZE)
                    if -code not in {0, ignored}:
                        raise OSError(-code, posix.strerror(-code))
                    return bodies
                bodies.append(data[_HEADER_SIZE:length])
                data = data[_padded(length) :]


class _Inside:
    """``with _Inside(netns):`` this thread is in that network namespace."""

    __slots__ = ("_home", "_netns")

    def __init__(self, netns: str) -> None:
        self._netns = netns

    def __enter__(self) -> None:
        self._home = posix.open(_OWN_NETNS, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            there = posix.open(self._netns, posix.O_RDONLY | posix.O_CLOEXEC)
            try:
                _setns(there)
            finally:
                posix.close(there)
        except OSError as error:
            posix.close(self._home)
            raise CNIError(
                INVALID_NETNS, f"cannot enter the network namespace {self._netns}: {error}"
            ) from None

    def __exit__(self, *failure: object) -> None:
        try:
            _setns(self._home)
        finally:
            posix.close(self._home)


def _setns(file: int) -> None:
    if hasattr(posix, "setns"):
        posix.setns(file, _CLONE_NEWNET)
        return
    # Before Python 3.12. The package around the C core of ctypes costs four times as much.
    from _ctypes import call_function, dlopen, dlsym

    libc = dlopen(None, 0)  # type: ignore[arg-type]  # None is this program, as in dlopen(3)
    if call_function(dlsym(libc, "setns"), (file, _CLONE_NEWNET)) != 0:
        raise OSError(f"setns failed for descriptor {file}")


def _request(answer: bytes, family: int) -> bytes | None:
    """Return the request that makes the route in *answer* again; None if it is not listed."""
    got_family, length, _, tos, table, protocol, scope, kind, flags = unpack_from(_ROUTE, answer)
    if got_family != family or length or kind != _RTN_UNICAST:
        return None
    attributes = dict(_attributes(answer[_ROUTE_SIZE:]))
    if attributes.get(_TABLE, pack("=I", table)) != pack("=I", _MAIN_TABLE):
        return None

    if _NEXTHOP_ID in attributes:
        for key in _OF_A_NEXT_HOP & attributes.keys():
            del attributes[key]
    if _MULTIPATH in attributes:
        attributes[_MULTIPATH] = b"".join(raw for raw, _ in _hops(attributes[_MULTIPATH]))
    expires = unpack_from("=i", attributes.pop(_CACHEINFO, bytes(16)), _EXPIRES_AT)[0]
    if expires > 0:
        attributes[_EXPIRES] = pack("=I", -(-expires // _TICKS))

    head = pack(_ROUTE, family, 0, 0, tos, table, protocol, scope, kind, flags & _ONLINK)
    return head + b"".join(_attribute(key, value) for key, value in attributes.items())


def _interfaces(attributes: dict[int, bytes]) -> Iterator[int]:
    if _OIF in attributes:
        yield int.from_bytes(attributes[_OIF], byteorder)
    for _, index in _hops(attributes.get(_MULTIPATH, b"")):
        yield index


def _hops(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the next hops of RTA_MULTIPATH: each as a request has it, and its interface."""
    while len(data) >= _HOP_SIZE:
        length, flags, weight, index = unpack_from(_HOP, data)
        size = _padded(length)
        yield pack(_HOP, length, flags & _ONLINK, weight, index) + data[_HOP_SIZE:size], index
        data = data[size:]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE_SIZE:
        length, key = unpack_from(_ATTRIBUTE, data)
        yield key & _TYPE_MASK, data[_ATTRIBUTE_SIZE:length]
        data = data[_padded(length) :]


def _attribute(key: int, value: bytes) -> bytes:
    length = _ATTRIBUTE_SIZE + len(value)
    return pack(_ATTRIBUTE, length, key) + value + bytes(_padded(length) - length)


def _padded(length: int) -> int:
    return (max(length, _ATTRIBUTE_SIZE) + 3) & ~3
