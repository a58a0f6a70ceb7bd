"""A container runtime (libcni) and the reaper, as tests start them on a node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.node.calls import LONG
from tests.node.namespaces import Container

if TYPE_CHECKING:
    from tests.node.harness import Node

TREE = Path(__file__).parents[2]


def libcni(node: Node, cnitool: Path, command: str, network: str, pod: Container) -> None:
    """Call a network through libcni, as the container runtime does."""
    conf_dir = "net.d" if network == "genie" else "conf"
    environ = {
        "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
        "CNI_PATH": f"{node.genie.parent}:{node.bin}:{node.plugins}",
        "NETCONFPATH": str(node.folder / conf_dir),
        "CNI_IFNAME": "eth0",
    }
    result = subprocess.run(
        [*node.inside(), cnitool, command, network, str(pod.netns)],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=LONG,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def id_given_by_cnitool(node: Node, pod: Container) -> Container:
    """Return the container with the id that cnitool computed from its namespace's path."""
    (entry,) = node.cache.iterdir()
    return Container(json.loads(entry.read_bytes())["containerId"], pod.netns)


def install_genie_conflist(node: Node) -> None:
    """Write Genie's conflist into a folder of its own for libcni."""
    folder = node.folder / "net.d"
    folder.mkdir()
    entry = {key: value for key, value in node.conf().items() if key not in {"cniVersion", "name"}}
    del entry["runtimeConfig"]
    conflist: dict[str, Any] = {"cniVersion": "1.0.0", "name": "genie", "plugins": [entry]}
    (folder / "00-genie.conflist").write_text(json.dumps(conflist))


def reap(node: Node, known: str, arguments: list[str]) -> list[str]:
    """Run two rounds of the reaper with the settings *arguments*; return what it released."""
    words = [f"--state-dir={node.folder}/state", *arguments]
    result = subprocess.run(
        [*node.inside(), sys.executable, "-m", "tests.node.agent", known, *words],
        env={**os.environ, "PYTHONPATH": str(TREE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1].split()[1:]
