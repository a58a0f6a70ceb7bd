"""The control groups of a cluster: one root for each kubelet, in every hierarchy of the machine.

Kubelets that shared a root would clean up each other's pods.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from tests.devcluster.commands import ClusterError

_PATIENCE = 60.0  # seconds for the kernel to forget the members of a control group, under load


def hierarchies() -> list[Path]:
    """Return where the machine's control group hierarchies are mounted, version 1 and 2."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [Path(mount[1]) for mount in mounts if mount[2] in {"cgroup", "cgroup2"}]


def lacking(mounted: list[Path]) -> list[str]:
    """Return what keeps clusters from control groups of their own; nothing is changed."""
    if not mounted:
        return ["it needs control groups, mounted below /sys/fs/cgroup"]
    lacks = [
        f"it needs control groups that can be made, and {hierarchy} is read-only"
        for hierarchy in mounted
        if not os.access(hierarchy, os.W_OK)
    ]
    lacks += [
        f"it needs to hand on the controllers of {hierarchy}, and processes in that group itself"
        " keep the kernel from it (move them into a group below)"
        for hierarchy in mounted
        if _is_occupied(hierarchy)
    ]
    return lacks


def _is_occupied(hierarchy: Path) -> bool:
    """Say whether processes in a version 2 group keep its children from controllers.

    The machine's own root, which has no type, may have processes; that of a container may not.
    """
    if not (hierarchy / "cgroup.type").exists():
        return False
    own, handed_on, processes = (
        set((hierarchy / f"cgroup.{name}").read_text().split())
        for name in ("controllers", "subtree_control", "procs")
    )
    return bool(own - handed_on and processes)


def create(cgroup: str) -> None:
    """Make a control group, with the processors and memory nodes of its parents (cpuset)."""
    for hierarchy in hierarchies():
        folder = hierarchy
        for part in Path(cgroup).relative_to("/").parts:
            _delegate_controllers(folder)
            child = folder / part
            child.mkdir(exist_ok=True)
            _inherit_cpuset(folder, child)
            folder = child


def _delegate_controllers(folder: Path) -> None:
    """Let the children of a version 2 group use what the group has; version 1 needs nothing."""
    try:
        for controller in (folder / "cgroup.controllers").read_text().split():
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")
    except FileNotFoundError:
        return
    except OSError as error:
        raise ClusterError(
            f"{folder} does not let its children use its controllers: {error}"
        ) from error


def _inherit_cpuset(parent: Path, child: Path) -> None:
    """Fill in what version 1 leaves empty; no process can join before."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        setting = child / name
        # Version 2 has cgroup.controllers, and inherits by itself.
        if setting.exists() and not (child / "cgroup.controllers").exists():
            setting.write_text((parent / name).read_text())


def members(cgroup: str) -> set[int]:
    """Return the ids of all processes in a control group and below it."""
    found: set[int] = set()
    for hierarchy in hierarchies():
        for file in (hierarchy / cgroup.lstrip("/")).rglob("cgroup.procs"):
            with contextlib.suppress(OSError):  # the group may go while we look
                found.update(int(pid) for pid in file.read_text().split())
    found.discard(0)  # a process that this PID namespace does not see
    return found


def delete(cgroup: str) -> None:
    """Delete a control group and all below it, in every hierarchy; there must be no members.

    Raises ClusterError when one is still busy after a minute.
    """
    for hierarchy in hierarchies():
        top = hierarchy / cgroup.lstrip("/")
        if not top.is_dir():
            continue
        below = sorted((p for p in top.rglob("*") if p.is_dir()), reverse=True)
        for folder in (*below, top):
            _remove(folder)
        with contextlib.suppress(OSError):  # other clusters are in it
            top.parent.rmdir()


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError as busy:
            if time.monotonic() > deadline:
                raise ClusterError(f"control group {folder} cannot be removed: {busy}") from busy
            time.sleep(0.05)
        else:
            return
