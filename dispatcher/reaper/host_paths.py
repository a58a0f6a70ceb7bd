"""Paths and network namespaces of the host, seen from a container that has its root mounted."""

from __future__ import annotations

from pathlib import Path

MAX_LINKS = 40
"""The kernel's limit for the links of one path."""


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


def namespace_id(root: Path, path: str) -> tuple[int, int] | None:
    """Return device and inode of the namespace at the host's *path*; None if there is none.

    Only the kernel can follow the last part, which may be a link of ``/proc/<pid>/ns``. Where a
    namespace was mounted, a plain file remains without the mount, for instance after a reboot.
    """
    if not path:
        return None

    place = Path(path)
    try:
        status = (resolve(root, place.parent) / place.name).stat()
        namespace_file_system = Path("/proc/self/ns/net").stat().st_dev  # one for all namespaces
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if status.st_dev == namespace_file_system else None
