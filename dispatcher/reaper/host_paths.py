"""The host's files, seen from a container that has the host's root directory mounted.

Symbolic links are followed as the host follows them: ``/var/run`` leads to the host's
``/run``, and not to the container's. A process's namespaces (``/proc/<pid>/ns/net``) are links
that lead nowhere by name: only the kernel can follow those.
"""

from __future__ import annotations

from pathlib import Path

MAX_LINKS = 40
"""As in the kernel."""


def resolve(root: Path, path: str | Path) -> Path:
    """Return where the host's absolute *path* is below *root*; it need not exist.

    Raises OSError for links that lead in a circle.
    """
    waiting = [part for part in reversed(Path(path).parts) if part != "/"]
    done = root
    links = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            done = done.parent if done != root else root
            continue
        step = done / part
        if not step.is_symlink():
            done = step
            continue
        links += 1
        if links > MAX_LINKS:
            raise OSError(f"{path}: too many symbolic links")
        target = step.readlink()
        done = root if target.is_absolute() else done
        waiting += [each for each in reversed(target.parts) if each != "/"]
    return done


def namespace(root: Path, path: str) -> tuple[int, int] | None:
    """Return what identifies the namespace at the host's *path*; None: there is none (any more).

    Where it was mounted a plain file stays when the mount is gone, over a reboot for instance.
    """
    if not path:
        return None
    place = Path(path)
    try:
        found = (resolve(root, place.parent) / place.name).stat()
        kernels = Path("/proc/self/ns/net").stat()  # all namespaces are on one file system
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found.st_dev == kernels.st_dev else None
