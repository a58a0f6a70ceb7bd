"""Paths, executables and network namespaces of the host, seen from a container.

*root* is where the host's root directory is mounted. The kernel follows an absolute link there to a
path of the container; :func:`resolve` follows it as the host does.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from dispatcher import networks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dispatcher.conf import Conf

MAX_LINKS = 40
"""The kernel's limit for the links of one path."""

_HOST_NAMESPACE = "/proc/1/ns/net"


def resolve(root: Path, path: str | Path) -> Path:
    """Return where the host's absolute *path* is below *root*; it need not exist.

    Symbolic links are followed as the host follows them: ``/var/run`` leads to the host's ``/run``,
    not to the container's. Raises OSError for links in a circle.
    """
    remaining = [part for part in reversed(Path(path).parts) if part != "/"]
    resolved = root
    links = 0

    while remaining:
        part = remaining.pop()
        if part == "..":
            resolved = resolved.parent if resolved != root else root
            continue

        candidate = resolved / part
        if not candidate.is_symlink():
            resolved = candidate
            continue

        links += 1
        if links > MAX_LINKS:
            raise OSError(f"{path}: too many symbolic links")
        target = candidate.readlink()
        resolved = root if target.is_absolute() else resolved
        remaining += [each for each in reversed(target.parts) if each != "/"]
    return resolved


def find_executable(root: Path, plugin_type: str, bin_dirs: Sequence[str]) -> str | None:
    """Return the host's path of the executable of *plugin_type*, or None.

    It is the first regular file in *bin_dirs*, as for the plugin
    (:func:`dispatcher.networks.find_executable`). On k3s each is an absolute link.
    """
    for directory in bin_dirs:
        file = f"{directory}/{plugin_type}"
        try:
            if resolve(root, file).is_file():
                return file
        except OSError:
            continue  # links in a circle
    return None


def missing_executables(root: Path, conf: Conf, bin_dirs: Sequence[str]) -> list[str]:
    """Return the plugin types of *conf*, IPAM included, that have no executable in *bin_dirs*."""
    files = {each: find_executable(root, each, bin_dirs) for each in networks.required_types(conf)}
    return [
        plugin_type
        for plugin_type, file in files.items()
        if file is None or not os.access(resolve(root, file), os.X_OK)
    ]


def namespace_id(root: Path, path: str) -> tuple[int, int] | None:
    """Return device and inode of the sandbox's namespace at the host's *path*; None without one.

    Only the kernel can follow the last part, which may be a link of ``/proc/<pid>/ns``. Where a
    namespace was mounted, a plain file remains without the mount, for instance after a reboot.
    """
    namespace = _id_of_file(root, path) if path else None
    # The process of a sandbox that has ended may have left its number to a daemon of the host. No
    # runtime calls a plugin for a pod in the host's namespace.
    if path.startswith("/proc/") and namespace == _id_of_file(root, _HOST_NAMESPACE):
        return None
    return namespace


def _id_of_file(root: Path, path: str) -> tuple[int, int] | None:
    place = Path(path)
    try:
        status = (resolve(root, place.parent) / place.name).stat()
        namespace_file_system = Path("/proc/self/ns/net").stat().st_dev  # one for all namespaces
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if status.st_dev == namespace_file_system else None
