"""Take a cluster down in any state, also one that a crash left behind.

Only what belongs to the cluster is touched: processes that the tool recorded or that are in the
cluster's namespaces or control groups, and mounts, links, namespaces and groups with its names.
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

_ROUNDS = 5  # a containerd shim may start a process while others are ended


def take_down(layout: Layout) -> None:
    """End and delete everything of a cluster except its logs. It need not exist.

    Ctrl-C takes effect afterwards.
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
        remaining = processes(layout)
        if not remaining:
            return
        end(remaining, patience=0)  # their files are deleted anyway: SIGKILL at once
    raise ClusterError(
        f"cluster {layout.name}: new processes appeared in each of {_ROUNDS} attempts to end all;"
        f" run `down --name {layout.name}` again"
    )


def processes(layout: Layout) -> dict[int, int]:
    """Return id and start time of each process in the cluster's namespaces and control groups."""
    files = [fabric.NETNS_FOLDER / name for name in fabric.namespaces(layout)]
    if layout.mount_namespaces.is_dir():
        files += layout.mount_namespaces.iterdir()
    namespaces = {_identity(file) for file in files}

    pids = cgroups.members(layout.cgroup)
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may have ended since
            if {_identity(process / "ns/net"), _identity(process / "ns/mnt")} & namespaces:
                pids.add(int(process.name))
    pids.discard(os.getpid())

    started = {pid: start_time(pid) for pid in pids}
    return {pid: ticks for pid, ticks in started.items() if ticks is not None}  # None: it ended


def _identity(namespace: Path) -> tuple[int, int]:
    status = namespace.stat()
    return status.st_dev, status.st_ino


def mounts(layout: Layout) -> list[str]:
    """Return the mounts below the cluster's folder that the machine sees, innermost first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].encode().decode("unicode_escape") for line in lines]
    below = [point for point in points if Path(point).is_relative_to(layout.state)]
    return sorted(below, reverse=True)
