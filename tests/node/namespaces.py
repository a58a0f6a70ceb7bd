"""A host for one test: a network and a mount namespace, and those of its containers.

How it works: a :class:`Host` keeps one process in new namespaces. Bridges and routes of "the
host" are in that network namespace; /var/lib and /run are the test's own folders in that mount
namespace, and so are the containers' network namespaces, each bound to a file. When the keeper
ends, the kernel removes all of it: nothing of the machine is ever touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.node.calls import LONG, wait_for

_KEEPER = """
set -e
mount --bind "$1" /var/lib
mount --bind "$2" /run
ip link set lo up
echo ready
exec cat
"""


@dataclass(frozen=True, slots=True)
class Container:
    """A container: its id, and the path of its network namespace."""

    id: str
    netns: Path


@dataclass(slots=True)
class Host:
    """The namespaces of a node, with the test's ``folder``."""

    folder: Path
    _keeper: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        for name in ("netns", "var-lib", "run"):
            (self.folder / name).mkdir()
        keeper = ["unshare", "--net", "--mount", "--propagation", "private"]
        folders = [str(self.folder / "var-lib"), str(self.folder / "run")]
        self._keeper = subprocess.Popen(
            [*keeper, "sh", "-c", _KEEPER, "sh", *folders],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._keeper.stdout is not None
        assert self._keeper.stdout.readline() == b"ready\n", "the node's namespaces were not made"
        return self

    def __exit__(self, *exception: object) -> None:
        for pid in self._processes():  # a test that failed left them
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._keeper is not None:
            self._keeper.communicate()

    @property
    def pid(self) -> int:
        """The process that keeps the node's namespaces."""
        assert self._keeper is not None
        return self._keeper.pid

    def inside(self, *, net: Path | None = None) -> list[str]:
        """Return the words that run a program on the node, in the network namespace *net*."""
        words = ["nsenter", f"--target={self.pid}", "--mount"]
        # The path means something only once the mount namespace is entered: hence two programs.
        return [*words, *(["--net"] if net is None else ["nsenter", f"--net={net}"]), "--"]

    def sh(self, script: str, *, net: Path | None = None, check: bool = True) -> str:
        """Run a shell script on the node and return what it printed."""
        result = subprocess.run(
            [*self.inside(net=net), "sh", "-ec", script],
            capture_output=True,
            text=True,
            check=False,
            timeout=LONG,
        )
        assert not check or result.returncode == 0, f"{script}: {result.stderr}"
        return result.stdout

    def container(self, name: str) -> Container:
        """Create a container: a network namespace."""
        path = self.folder / "netns" / name
        path.touch()
        subprocess.run(
            ["nsenter", f"--target={self.pid}", "--mount", "unshare", f"--net={path}", "true"],
            check=True,
            timeout=LONG,
        )
        return Container(name, path)

    def reboot(self, container: Container) -> None:
        """Remove the container's network namespace, as a reboot does."""
        peers = len(self.links()) - len(self.links(container))
        self.sh(f"umount {container.netns}")
        container.netns.unlink()
        wait_for(lambda: len(self.links()) == peers, "the kernel to remove the namespace")

    def links(self, container: Container | None = None) -> list[str]:
        """Return the interfaces of a container; of the node itself without its bridges."""
        net = None if container is None else container.netns
        listed = json.loads(self.sh("ip -json -details link", net=net))
        kinds = {each["ifname"]: each.get("linkinfo", {}).get("info_kind") for each in listed}
        return sorted(name for name, kind in kinds.items() if name != "lo" and kind != "bridge")

    def routes(self, container: Container, family: int = 4) -> list[dict[str, Any]]:
        """Return the routes of a container's main table."""
        found: list[dict[str, Any]] = json.loads(
            self.sh(f"ip -{family} -json route", net=container.netns) or "[]"
        )
        return found

    def processes(self) -> list[str]:
        """Return the command lines of processes on the node that do not end within a second."""
        end = time.monotonic() + 1
        while (running := self._processes()) and time.monotonic() < end:
            time.sleep(0.05)
        return sorted(filter(None, map(_command_line, running)))

    def _processes(self) -> list[int]:
        ours = _mount_namespace(self.pid)
        assert ours, "the keeper of the node's namespaces has ended"
        pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return [pid for pid in pids if pid != self.pid and _mount_namespace(pid) == ours]


def _mount_namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/mnt").readlink())
    except OSError:
        return ""  # it has ended


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""
