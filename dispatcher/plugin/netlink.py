"""Read and change default routes and interfaces of a network namespace, over rtnetlink.

This thread enters the namespace, opens an rtnetlink socket and the directory of the IPv6 settings,
and returns to its own namespace. Both belong to the namespace in which they were opened, so all
later requests go through them. A route is kept as the bytes of the request that creates it again
(:class:`Route`).

Only unicast routes of destination length 0 in the main table are listed: a route in another table
is policy routing (the plugin ``sbr`` moves default routes there). Errors are OSError, but a
namespace that cannot be entered is a :class:`CNIError` with code 8. A pod with one network does not
load this module.
"""

from __future__ import annotations

import posix
from _socket import (
    AF_INET,
    AF_INET6,
    AF_NETLINK,
    AF_UNSPEC,
    SO_RCVTIMEO,
    SOCK_CLOEXEC,
    SOCK_RAW,
    SOL_SOCKET,
    inet_pton,
    socket,
)
from _struct import calcsize, pack, unpack_from
from fcntl import ioctl
from sys import byteorder

from dispatcher.cni_errors import INVALID_NETNS, IO_FAILURE, CNIError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_NETLINK_ROUTE = 0
_KERNEL_ADDRESS = (0, 0)
_CLONE_NEWNET = 0x40000000
_OWN_NETNS = "/proc/thread-self/ns/net"
_IPV6_SETTINGS = "/proc/sys/net/ipv6/conf"
_ANSWER_TIMEOUT = 5  # seconds
_RECEIVE = 1 << 16  # a message of a dump has 32 KiB at most; a larger buffer costs a mapping

# linux/netlink.h and linux/rtnetlink.h
_HEADER = "=IHHII"  # nlmsghdr: length, type, flags, sequence, port
_ROUTE = "=BBBBBBBBI"  # rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
_IFREQ = "=16si20x"  # ifreq: name, index, padding for the other members of the union
_HOP = "=HBBi"  # rtnexthop: length, flags, hops, ifindex
_ATTRIBUTE = "=HH"
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP, _INTERRUPTED = 1, 4, 0x300, 0x10
_TRIES = 10  # of a list that changes during the dump
_CREATE, _APPEND = 0x400, 0x800
_OIF, _GATEWAY, _PRIORITY, _MULTIPATH, _FLOW, _CACHEINFO, _TABLE = 4, 5, 6, 9, 11, 12, 15
_VIA, _ENCAP_TYPE, _ENCAP, _EXPIRES, _NEXTHOP_ID = 18, 21, 22, 23, 30
_FAMILIES = (AF_INET, AF_INET6)
_RTN_UNICAST = 1
_MAIN_TABLE = 254
_ONLINK = 4  # the only flag of a next hop that a request may have
_RTPROT_STATIC, _RTPROT_RA = 4, 9
_TICKS = 100  # USER_HZ: the unit of times in rta_cacheinfo, per second
_EXPIRES_AT = 8  # offset of rta_expires in rta_cacheinfo
_SIOCGIFINDEX, _SIOCGIFNAME = 0x8933, 0x8910
_ESRCH, _EEXIST, _ENODEV = 3, 17, 19
_HEADER_SIZE, _ROUTE_SIZE, _HOP_SIZE = calcsize(_HEADER), calcsize(_ROUTE), calcsize(_HOP)
_ATTRIBUTE_SIZE = calcsize(_ATTRIBUTE)
_TYPE_MASK = 0x3FFF  # of an attribute's type, without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_NEXT_HOP_ATTRIBUTES = frozenset({_OIF, _GATEWAY, _MULTIPATH, _FLOW, _VIA, _ENCAP_TYPE, _ENCAP})
"""Not allowed in a request that names a nexthop object, though the kernel lists both."""


class Route:
    """One default route: ``body`` is the rtmsg and the attributes that create it again.

    ``family`` is 4 or 6. ``interfaces`` are the indexes of its outgoing interfaces.
    ``is_advertised`` tells whether the kernel learnt it from an IPv6 router advertisement.
    """

    __slots__ = ("body", "family", "interfaces", "is_advertised")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.family = 6 if body[0] == AF_INET6 else 4
        attributes = dict(_attributes(body[_ROUTE_SIZE:]))
        self.interfaces = frozenset(_interfaces(attributes))
        self.is_advertised = body[5] == _RTPROT_RA


def default_route(gateway: str, index: int, metric: int) -> Route:
    """Return a default route through *gateway*, an IP address, on the interface *index*."""
    family = AF_INET6 if ":" in gateway else AF_INET
    # The scope of a route through a gateway is global, and the kernel requires it.
    head = pack(_ROUTE, family, 0, 0, 0, _MAIN_TABLE, _RTPROT_STATIC, 0, _RTN_UNICAST, 0)
    attributes = (
        _attribute(_GATEWAY, inet_pton(family, gateway)),
        _attribute(_OIF, pack("=i", index)),
        _attribute(_PRIORITY, pack("=I", metric)),
    )
    return Route(head + b"".join(attributes))


class NetworkNamespace:
    """The network namespace at the path *netns*, until :meth:`close`.

    Raises :class:`CNIError` with code 8 if it cannot be entered.
    """

    __slots__ = ("_ipv6_settings", "_kernel")

    def __init__(self, netns: str) -> None:
        with _Inside(netns):
            self._ipv6_settings = _open_directory(_IPV6_SETTINGS)
            self._kernel = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, _NETLINK_ROUTE)
        # The kernel's own timeout: settimeout() would poll before each message.
        self._kernel.setsockopt(SOL_SOCKET, SO_RCVTIMEO, pack("@ll", _ANSWER_TIMEOUT, 0))

    def close(self) -> None:
        """Close the socket and the directory."""
        self._kernel.close()
        if self._ipv6_settings is not None:
            posix.close(self._ipv6_settings)

    def index(self, interface: str) -> int | None:
        """Return the kernel's index of *interface*, None if it does not exist."""
        answer = self._ioctl(_SIOCGIFINDEX, pack(_IFREQ, interface.encode(), 0))
        return None if answer is None else int(unpack_from(_IFREQ, answer)[1])

    def _has_index(self, index: int) -> bool:
        return self._ioctl(_SIOCGIFNAME, pack(_IFREQ, b"", index)) is not None

    def _ioctl(self, request: int, ifreq: bytes) -> bytes | None:
        # Rtnetlink would take ten times as long: its answer describes the interface in full.
        try:
            return ioctl(self._kernel.fileno(), request, ifreq)
        except OSError as error:
            if error.errno == _ENODEV:
                return None
            raise

    def default_routes(self) -> list[Route]:
        """Return the unicast default routes of the main table, IPv4 before IPv6."""
        request = pack(_ROUTE, AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0, 0)
        answers = self._request(_GETROUTE, _REQUEST | _DUMP, request)
        bodies = map(_creating_request, answers)
        return [Route(body) for body in bodies if body is not None]

    def remove(self, route: Route) -> None:
        """Remove *route*. A route that does not exist is no error."""
        self._request(_DELROUTE, _REQUEST | _ACK, route.body, ignored=_ESRCH)

    def restore(self, body: bytes) -> None:
        """Create the route of *body*, perhaps again. A route that exists is no error."""
        # Appended: of routes that differ in the next hop alone, the kernel prefers the first.
        flags = _REQUEST | _ACK | _CREATE | _APPEND
        self._request(_NEWROUTE, flags, body, ignored=_EEXIST)

    def has_interfaces_of(self, body: bytes) -> bool:
        """Tell whether all interfaces of the route of *body* exist."""
        return all(map(self._has_index, Route(body).interfaces))

    def ignore_advertised_routes(self, interface: str) -> None:
        """Make the kernel ignore default routes that routers advertise on *interface*.

        It accepts other advertised settings (addresses, prefixes, MTU) as before. Raises
        :class:`CNIError` with code 5.
        """
        if self._ipv6_settings is None:
            return
        path = f"{interface}/accept_ra_defrtr"
        try:
            file = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC, dir_fd=self._ipv6_settings)
            try:
                posix.write(file, b"0")
            finally:
                posix.close(file)
        except FileNotFoundError:
            pass  # the interface has no IPv6
        except OSError as error:
            raise CNIError(
                IO_FAILURE,
                f"cannot make the kernel ignore advertised default routes on interface "
                f"{interface}: {_IPV6_SETTINGS}/{path}: {error.strerror}",
            ) from None

    def _request(self, command: int, flags: int, body: bytes, *, ignored: int = 0) -> list[bytes]:
        """Send one request, and return the bodies of the answer's messages. Raises OSError.

        *ignored* is the errno that counts as success.
        """
        # A list that changed during the dump may lack a route.
        for _ in range(_TRIES):
            bodies = self._try_request(command, flags, body, ignored)
            if bodies is not None:
                return bodies
        raise OSError(f"cannot list the routes: they changed during each of {_TRIES} tries")

    def _try_request(
        self, command: int, flags: int, body: bytes, ignored: int
    ) -> list[bytes] | None:
        """Return the bodies, or None if the list changed during the dump."""
        request = pack(_HEADER, _HEADER_SIZE + len(body), command, flags, 1, 0) + body
        self._kernel.sendto(request, _KERNEL_ADDRESS)

        bodies: list[bytes] = []
        interrupted = 0
        while True:
            data = self._kernel.recv(_RECEIVE)
            while len(data) >= _HEADER_SIZE:
                length, message_type, message_flags, _, _ = unpack_from(_HEADER, data)
                interrupted |= message_flags & _INTERRUPTED
                if message_type == _DONE:
                    return None if interrupted else bodies
                if message_type == _ERROR:
                    (code,) = unpack_from("=i", data, _HEADER_SIZE)
                    if -code not in {0, ignored}:
                        raise OSError(-code, posix.strerror(-code))
                    return bodies
                bodies.append(data[_HEADER_SIZE:length])
                data = data[_padded(length) :]


class _Inside:
    """Puts this thread into the network namespace at the path *netns*."""

    __slots__ = ("_home", "_netns")

    def __init__(self, netns: str) -> None:
        self._netns = netns

    def __enter__(self) -> None:
        self._home = posix.open(_OWN_NETNS, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            target = posix.open(self._netns, posix.O_RDONLY | posix.O_CLOEXEC)
            try:
                _setns(target)
            finally:
                posix.close(target)
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
    # Before Python 3.12. Importing ctypes itself costs four times as much as its C core.
    from _ctypes import call_function, dlopen, dlsym

    libc = dlopen(None, 0)  # type: ignore[arg-type]  # None is this program, as in dlopen(3)
    if call_function(dlsym(libc, "setns"), (file, _CLONE_NEWNET)) != 0:
        raise OSError(f"setns failed for descriptor {file}")


def _open_directory(path: str) -> int | None:
    """Return a descriptor of *path*, None if the kernel has no IPv6."""
    try:
        return posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    except FileNotFoundError:
        return None


def _creating_request(answer: bytes) -> bytes | None:
    """Return the request that creates the route in *answer*, None for a route not to be listed.

    What the kernel computes itself is left out.
    """
    family, length, _, tos, table, protocol, scope, rtype, flags = unpack_from(_ROUTE, answer)
    if length or rtype != _RTN_UNICAST or family not in _FAMILIES:
        return None
    attributes = dict(_attributes(answer[_ROUTE_SIZE:]))
    if attributes.get(_TABLE, pack("=I", table)) != pack("=I", _MAIN_TABLE):
        return None

    if _NEXTHOP_ID in attributes:
        for key in _NEXT_HOP_ATTRIBUTES & attributes.keys():
            del attributes[key]
    if _MULTIPATH in attributes:
        attributes[_MULTIPATH] = b"".join(raw for raw, _ in _hops(attributes[_MULTIPATH]))
    expires = unpack_from("=i", attributes.pop(_CACHEINFO, bytes(16)), _EXPIRES_AT)[0]
    if expires > 0:
        attributes[_EXPIRES] = pack("=I", -(-expires // _TICKS))

    head = pack(_ROUTE, family, 0, 0, tos, table, protocol, scope, rtype, flags & _ONLINK)
    return head + b"".join(_attribute(key, value) for key, value in attributes.items())


def _interfaces(attributes: dict[int, bytes]) -> Iterator[int]:
    if _OIF in attributes:
        yield int.from_bytes(attributes[_OIF], byteorder)
    for _, index in _hops(attributes.get(_MULTIPATH, b"")):
        yield index


def _hops(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the next hops of RTA_MULTIPATH: each as in a request, and its interface's index."""
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
