"""IP and hardware addresses as text: what is valid, and the normal form.

The C functions of the socket module decide, which read what the kernel and Go's ``net`` package
read: no leading zeros, and no zone after an IPv6 address. The module ``ipaddress`` is too expensive
for the plugin.
"""

from __future__ import annotations

_BITS = {4: 32, 6: 128}
_HEX = frozenset("0123456789abcdef")

MAC_BYTES = 6
GUID_BYTES = 8


def ip_family(text: str) -> int:
    """Return 4 or 6 for an IP address, and 0 for any other text."""
    from _socket import AF_INET, AF_INET6, inet_pton

    try:
        inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):  # ValueError: NUL, or not ASCII
        return 0
    return 6 if ":" in text else 4


def is_ip_with_prefix(text: str) -> bool:
    """Tell whether *text* is an IP address, perhaps with a prefix length as in ``10.0.0.2/24``."""
    address, slash, length = text.partition("/")
    family = ip_family(address)
    if not slash or not family:
        return bool(family)
    is_number = length.isascii() and length.isdigit() and length == str(int(length[:4]))
    return is_number and int(length) <= _BITS[family]


def hardware_address(text: str, size: int) -> str:
    """Return the normal form ``aa:bb:…`` of an address of *size* bytes; empty if it is not one.

    Colons, hyphens, or dots between pairs of bytes are accepted, as by the CNI plugins.
    """
    folded = text.lower()
    if "." in folded:
        parts, digits = folded.split("."), 4
    else:
        parts, digits = folded.split("-" if "-" in folded else ":"), 2

    joined = "".join(parts)
    if len(joined) != 2 * size or not _HEX.issuperset(joined):
        return ""
    if any(len(part) != digits for part in parts):
        return ""
    return ":".join(joined[index : index + 2] for index in range(0, 2 * size, 2))


def is_multicast(address: str) -> bool:
    """Tell whether a hardware address in normal form stands for a group."""
    return bool(int(address[:2], 16) & 1)
