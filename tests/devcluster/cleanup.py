"""Takes a cluster down, whatever state it is in: also what a crash left behind.

Only what is the cluster's own is touched: processes that it recorded, that are in its network
namespaces or in its control groups; mounts, links, namespaces and groups under its names.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tests.devcluster import interrupts
from tests.devcluster.commands import ClusterError, run
from tests.devcluster.network import fabric
from tests.devcluster.node import cgroups
from tests.devcluster.processes import end, start_time

if TYPE_CHECKING:
    from tests.devcluster.layout import Layout

_ROUNDS = 5  # a shim may start a process while others are ended


def take_down(layout: Layout) -> None:
    """End and delete everything of a cluster except its logs. There may be nothing to do.

    A Ctrl-C takes effect when all is done.
    """
    with interrupts.deferred():
        _end_processes(layout)
        for mount in mounts(layout):
            run(["umount", "--lazy", mount])
        fabric.delete(layout)
        cgroups.delete(layout.cgroup)
        if layout.state.exists():
            shutil.rmtree(layout.state)


def _end_processes(layout: Layout) -> None:
    for _ in range(_ROUNDS):
        left = processes(layout)
        if not left:
            return
        end(left, patience=0)  # nothing of what they could still save is kept
    raise ClusterError(f"cluster {layout.name} keeps starting processes")


def processes(layout: Layout) -> dict[int, int]:
    """Return the processes in the cluster's namespaces and control groups: id and start time."""
    files = [fabric.NETNS_FOLDER / name for name in fabric.namespaces(layout)]
    if layout.mount_namespaces.is_dir():
        files += layout.mount_namespaces.iterdir()
    ours = {_identity(file) for file in files}
    found = cgroups.members(layout.cgroup)
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended while we looked
            if {_identity(process / "ns/net"), _identity(process / "ns/mnt")} & ours:
                found.add(int(process.name))
    found.discard(os.getpid())
    started = {pid: start_time(pid) for pid in found}
    return {pid: when for pid, when in started.items() if when is not None}  # None: it ended


def _identity(namespace: Path) -> tuple[int, int]:
    status = namespace.stat()
    return status.st_dev, status.st_ino


def mounts(layout: Layout) -> list[str]:
    """Return the mounts below the cluster's folder that the machine sees, innermost first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    below = [point for point in points if Path(point).is_relative_to(layout.state)]
    return sorted(below, reverse=True)
