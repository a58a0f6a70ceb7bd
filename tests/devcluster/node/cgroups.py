"""The control groups of a cluster: one root per kubelet, in every hierarchy of the machine.

Kubelets with a common root would remove each other's pods.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.devcluster.commands import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator

_TIMEOUT = 60.0  # seconds until the kernel has removed ended members of a group, under load


def hierarchies() -> list[Path]:
    """Return the mount points of the machine's control group hierarchies, version 1 and 2."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [Path(mount[1]) for mount in mounts if mount[2] in {"cgroup", "cgroup2"}]


def lacking(mounted: list[Path]) -> list[str]:
    """Return the obstacles to creating control groups; change nothing."""
    if not mounted:
        return ["it needs control groups, mounted below /sys/fs/cgroup"]
    lacks = [
        f"it needs to create control groups, but {hierarchy} is read-only"
        for hierarchy in mounted
        if not os.access(hierarchy, os.W_OK)
    ]
    lacks += [
        f"it needs to delegate the controllers of {hierarchy}, but that group itself contains"
        " processes (move them into a child group)"
        for hierarchy in mounted
        if _is_occupied(hierarchy)
    ]
    return lacks


def _is_occupied(hierarchy: Path) -> bool:
    """Return whether a version 2 group contains processes, so that it cannot delegate controllers.

    The machine's root group, which has no type, may contain processes; a container's may not.
    """
    if not (hierarchy / "cgroup.type").exists():
        return False
    available, delegated, processes = (
        set((hierarchy / f"cgroup.{name}").read_text().split())
        for name in ("controllers", "subtree_control", "procs")
    )
    return bool(available - delegated and processes)


def create(cgroup: str) -> None:
    """Create a control group with the processors and memory nodes of its parents (cpuset)."""
    for hierarchy in hierarchies():
        folder = hierarchy
        for part in Path(cgroup).relative_to("/").parts:
            _delegate_controllers(folder)
            child = folder / part
            child.mkdir(exist_ok=True)
            _inherit_cpuset(folder, child)
            folder = child


def _delegate_controllers(folder: Path) -> None:
    """Delegate all controllers of a version 2 group to its children; version 1 needs nothing."""
    try:
        for controller in (folder / "cgroup.controllers").read_text().split():
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")
    except FileNotFoundError:
        return
    except OSError as error:
        raise ClusterError(
            f"cannot delegate the controllers of control group {folder} to its children: {error}"
        ) from error


def _inherit_cpuset(parent: Path, child: Path) -> None:
    """Copy the settings that version 1 leaves empty; without them no process can join."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        setting = child / name
        # Version 2, which has cgroup.controllers, inherits them.
        if setting.exists() and not (child / "cgroup.controllers").exists():
            setting.write_text((parent / name).read_text())


def members(cgroup: str) -> set[int]:
    """Return the ids of all processes in a control group and its descendants."""
    pids: set[int] = set()
    for hierarchy in hierarchies():
        for folder in _groups(hierarchy / cgroup.lstrip("/")):
            with contextlib.suppress(OSError):  # the group may be removed meanwhile
                pids.update(int(pid) for pid in (folder / "cgroup.procs").read_text().split())
    pids.discard(0)  # a process outside this PID namespace
    return pids


def delete(cgroup: str) -> None:
    """Delete a control group without members, and its descendants, in every hierarchy.

    Raises ClusterError when one is still busy after a minute.
    """
    for hierarchy in hierarchies():
        top = hierarchy / cgroup.lstrip("/")
        if not top.is_dir():
            continue
        for folder in _groups(top):
            _remove(folder)
        with contextlib.suppress(OSError):  # other clusters use it
            top.parent.rmdir()


def _groups(top: Path) -> Iterator[Path]:
    """Yield the groups below a folder, innermost first, and the folder itself, if they exist.

    os.walk passes over groups that a kubelet removes meanwhile; Path.rglob raises.
    """
    for folder, _subfolders, _files in os.walk(top, topdown=False):
        yield Path(folder)


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise ClusterError(f"cannot remove control group {folder}: {error}") from error
            time.sleep(0.05)
        else:
            return
