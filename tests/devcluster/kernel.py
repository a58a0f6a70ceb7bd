"""Check whether the kernel has the features that a cluster needs; print those that are missing.

It runs as a script in its own namespaces (`unshare --net --mount`). It needs no program that may
not be installed yet, and leaves nothing behind.
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


def _attribute(number: int, value: bytes) -> bytes:
    padding = -len(value) % 4
    return struct.pack("HH", 4 + len(value), number) + value + bytes(padding)


def _request(family: int, message: int, flags: int, body: bytes) -> int:
    """Send one netlink request; return 0, or the error number in the kernel's answer."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family) as kernel:
        length = 16 + len(body)
        kernel.send(struct.pack("IHHII", length, message, flags, 1, 0) + body)
        answer = kernel.recv(65536)
    if struct.unpack_from("H", answer, 4)[0] != _NLMSG_ERROR:
        return 0
    return -int(struct.unpack_from("i", answer, 16)[0])


def supports_link_type(link_type: str) -> bool:
    """Return whether the kernel can create links of a type, by creating one."""
    info = _attribute(_IFLA_LINKINFO, _attribute(_IFLA_INFO_KIND, link_type.encode()))
    body = bytes(16) + _attribute(_IFLA_IFNAME, b"probe\0") + info
    flags = _NLM_F_REQUEST_ACK | _NLM_F_CREATE_EXCL
    return _request(socket.NETLINK_ROUTE, _RTM_NEWLINK, flags, body) in {0, errno.EEXIST}


def has_nftables() -> bool:
    """Return whether the kernel supports nftables."""
    try:
        return _request(_NETLINK_NETFILTER, _NFT_MSG_GETGEN, _NLM_F_REQUEST_ACK, bytes(4)) == 0
    except OSError:
        return False


def has_overlayfs(folder: Path) -> bool:
    """Return whether overlay mounts work with their upper layer in a folder."""
    try:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            return _can_mount_overlay(scratch)
    except OSError:  # the folder is not writable
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


def missing_features(folder: Path) -> list[str]:
    """Return the missing features; `folder` is for the upper layers of overlay mounts."""
    missing = [
        f"{link_type} links"
        for link_type in ("veth", "bridge")
        if not supports_link_type(link_type)
    ]
    if not has_nftables():
        missing.append("nftables")
    if not Path("/proc/sys/net/ipv6/conf/all/forwarding").exists():
        missing.append("IPv6")
    if not has_overlayfs(folder):
        missing.append(f"overlayfs with its upper layer in {folder}")
    return missing


if __name__ == "__main__":
    for feature in missing_features(Path(os.environ["PROBE_FOLDER"])):
        print(feature)
