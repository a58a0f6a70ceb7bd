#!/usr/bin/python3 -IS
"""Send one IPv6 router advertisement to all nodes of a link: ``router.py LINK SOURCE PREFIX``.

It offers a default route by SOURCE (an address of LINK) for half an hour, and PREFIX (/64) for
addresses that hosts make themselves (RFC 4861, sections 4.2 and 4.6.2).
"""

import socket
import struct
import sys

link, source, prefix = sys.argv[1:]
HALF_AN_HOUR = 1800
advertisement = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, HALF_AN_HOUR, 0, 0)
on_link_and_autonomous = 0xC0
information = struct.pack(
    "!BBBBIII", 3, 4, 64, on_link_and_autonomous, HALF_AN_HOUR, HALF_AN_HOUR, 0
) + socket.inet_pton(socket.AF_INET6, prefix)

with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as router:
    index = socket.if_nametoindex(link)
    router.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    router.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    router.bind((source, 0, 0, index))
    router.sendto(advertisement + information, ("ff02::1", 0, 0, index))
