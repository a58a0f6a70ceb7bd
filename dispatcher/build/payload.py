"""Make what the image carries for a node: ``python -m dispatcher.build.payload /opt/genie/plugin``.

That is the plugin with an interpreter of its own, as :class:`dispatcher.agent.installer.Plugin`
installs it: the launcher ``genie``, and ``.genie/<version>/`` with everything else. ``<version>``
is the project's, a hash of the interpreter, and one of the plugin, so that two different ones
never share a folder.

Run while the image is built, by the interpreter that is to be copied and without a virtual
environment; only the standard library and ``patchelf`` are used. Two runs on the same tree give
the same bytes.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

from dispatcher.build import bundle, interpreter
from dispatcher.node.plugin_layout import VERSIONS_FOLDER

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"

PLACE = "/opt/cni/bin"
"""The folder that the launcher names; the agent writes the node's own into it."""


def make(target: Path, patchelf: str) -> Path:
    """Make the folder *target*, which must not exist; returns the version's folder in it."""
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "interpreter"
        interpreter.make(home, interpreter.modules_of_the_plugin(), patchelf)
        project = tomllib.loads(PROJECT.read_text())["project"]["version"]
        bundle.build(
            target,
            compiler=str(Path(sys.executable).resolve()),
            shebang=interpreter.INTERPRETER,
            cni_bin=PLACE,
            release=f"{project}-{interpreter.digest(home)}",
        )
        [folder] = (target / VERSIONS_FOLDER).iterdir()
        shutil.copytree(home, folder, dirs_exist_ok=True)
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    return folder


def main() -> None:
    """Make the folder that the command line names, and print the version's."""
    parser = argparse.ArgumentParser(description="Make the plugin with its own interpreter.")
    parser.add_argument("target", type=Path, help="folder to make; it must not exist")
    parser.add_argument("--patchelf", default="patchelf", help="the patchelf to use")
    chosen = parser.parse_args()
    print(make(chosen.target, chosen.patchelf))  # noqa: T201 - the answer of a command


if __name__ == "__main__":
    main()
