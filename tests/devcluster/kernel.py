"""Asks the kernel whether it has what a cluster needs; prints the names of what is missing.

Run as a script inside namespaces of its own (`unshare --net --mount`), so that it needs no
program that may not be installed yet, and leaves nothing behind.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import tempfile
from pathlib import Path

_NLM_F_REQUEST_ACK = 0x5
_NLM_F_CREATE_EXCL = 0x600
_RTM_NEWLINK = 16
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND = 3, 18, 1
_NETLINK_NETFILTER = 12
_NFT_MSG_GETGEN = (10 << 8) | 16  # NFNL_SUBSYS_NFTABLES
_NLMSG_ERROR = 2


def _attribute(kind: int, value: bytes) -> bytes:
    padding = -len(value) % 4
    return struct.pack("HH", 4 + len(value), kind) + value + bytes(padding)


def _ask(family: int, message: int, flags: int, body: bytes) -> int:
    """Send one netlink request; return 0, or the error number of the kernel's answer."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family) as kernel:
        length = 16 + len(body)
        kernel.send(struct.pack("IHHII", length, message, flags, 1, 0) + body)
        answer = kernel.recv(65536)
    if struct.unpack_from("H", answer, 4)[0] != _NLMSG_ERROR:
        return 0
    return -int(struct.unpack_from("i", answer, 16)[0])


def has_link_kind(kind: str) -> bool:
    """Say whether the kernel can make links of a kind, by making one."""
    info = _attribute(_IFLA_LINKINFO, _attribute(_IFLA_INFO_KIND, kind.encode()))
    body = bytes(16) + _attribute(_IFLA_IFNAME, b"probe\0") + info
    flags = _NLM_F_REQUEST_ACK | _NLM_F_CREATE_EXCL
    return _ask(socket.NETLINK_ROUTE, _RTM_NEWLINK, flags, body) in {0, errno.EEXIST}


def has_nftables() -> bool:
    """Say whether the kernel answers questions about nftables."""
    try:
        return _ask(_NETLINK_NETFILTER, _NFT_MSG_GETGEN, _NLM_F_REQUEST_ACK, bytes(4)) == 0
    except OSError:
        return False


def has_overlayfs(folder: Path) -> bool:
    """Say whether overlay mounts work with their upper layer in a folder."""
    try:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            return _can_mount_overlay(scratch)
    except OSError:  # not even a folder can be made there
        return False


def _can_mount_overlay(scratch: str) -> bool:
    for name in ("lower", "upper", "work", "merged"):
        Path(scratch, name).mkdir()
    options = ",".join(f"{layer}dir={scratch}/{layer}" for layer in ("lower", "upper", "work"))
    merged = f"{scratch}/merged"
    mount = ["mount", "-t", "overlay", "overlay", "-o", options, merged]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        return False
    subprocess.run(["umount", merged], check=True)
    return True


def missing(folder: Path) -> list[str]:
    """Return what the kernel lacks; `folder` is where the upper layers of overlays would be."""
    lacks = [f"{kind} links" for kind in ("veth", "bridge") if not has_link_kind(kind)]
    if not has_nftables():
        lacks.append("nftables")
    if not Path("/proc/sys/net/ipv6/conf/all/forwarding").exists():
        lacks.append("IPv6")
    if not has_overlayfs(folder):
        lacks.append(f"overlayfs with its upper layer in {folder}")
    return lacks


if __name__ == "__main__":
    for feature in missing(Path(os.environ["PROBE_FOLDER"])):
        print(feature)
