"""Processor time and memory of a running process, and the processes of a node's containers."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.devcluster.processes import start_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.devcluster.cluster import Cluster


def processor_seconds(pid: int) -> float:
    """Return the processor seconds that a process has used, its threads included."""
    return _seconds(pid, 11)


def children_seconds(pid: int) -> float:
    """Return the processor seconds of the processes that a process has started and waited for.

    Those that they waited for themselves are included.
    """
    return _seconds(pid, 13)


def _seconds(pid: int, field: int) -> float:
    """Return user plus system time; *field* is that of the user time after the command's name."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[field]) + int(fields[field + 1])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> tuple[float, float]:
    """Return the resident and the proportional set size of a process, in MiB."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    sizes = dict(re.findall(r"^(Rss|Pss):\s+(\d+) kB", rollup, re.MULTILINE))
    return int(sizes["Rss"]) / 1024, int(sizes["Pss"]) / 1024


def most_memory(pid: int) -> float:
    """Return the largest resident set size of a process since its start, in MiB."""
    (most,) = re.findall(
        r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE
    )
    return int(most) / 1024


def seconds_of_life(pid: int) -> float:
    """Return how long a process has been running. Raises ProcessLookupError if it has ended."""
    ticks = start_time(pid)
    if ticks is None:
        raise ProcessLookupError(pid)
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def containers(cluster: Cluster, node: str, pod: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield name and process id of each running container of a pod of that node."""
    listed = cluster.node(node).ctr("tasks", "ls").stdout
    tasks = dict(re.findall(r"^(\S+)\s+(\d+)\s+RUNNING", listed, re.MULTILINE))
    for container in pod["status"].get("containerStatuses", ()):
        identifier = container.get("containerID", "").partition("://")[2]
        if identifier in tasks:
            yield container["name"], int(tasks[identifier])
