"""Build what the image carries for a node: ``python -m dispatcher.build.payload FOLDER``.

The payload is the plugin with an interpreter of its own, as
:class:`dispatcher.agent.installer.PluginInstaller` installs it: the launcher ``genie``, and
``.genie/<version>/`` with everything else. ``<version>`` is the project's version, a hash of the
interpreter and a hash of the plugin, so two different payloads never share a folder.

The interpreter that is copied runs this while the image is built, without a virtual environment.
Only the standard library and ``patchelf`` are used. Two runs on one tree give the same bytes.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from dispatcher.build import bundle, interpreter
from dispatcher.node.plugin_layout import VERSIONS_FOLDER

CNI_BIN = "/opt/cni/bin"
"""The folder that the launcher names; the agent replaces it by the node's own."""


def build(target: Path, patchelf: str) -> Path:
    """Build the payload in *target*, which must not exist; returns the version's folder in it."""
    target.mkdir(parents=True)

    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "interpreter"
        interpreter.build(home, interpreter.plugin_modules(), patchelf)
        bundle.build(
            target,
            interpreter=interpreter.EXECUTABLE,
            compiler=str(Path(sys.executable).resolve()),
            cni_bin=CNI_BIN,
            release=f"{bundle.project_version()}-{interpreter.digest(home)}",
        )
        [folder] = (target / VERSIONS_FOLDER).iterdir()
        shutil.copytree(home, folder, dirs_exist_ok=True)

    # The umask of the building machine must not decide who may run the plugin.
    for path in target.rglob("*"):
        is_executable = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if is_executable else 0o644)
    return folder


def main() -> None:
    """Build the payload in the folder that the command line names, and print the version's."""
    parser = argparse.ArgumentParser(description="Build the plugin with its own interpreter.")
    parser.add_argument("target", type=Path, help="folder to create; it must not exist")
    parser.add_argument("--patchelf", default="patchelf", help="path of patchelf")
    options = parser.parse_args()
    print(build(options.target, options.patchelf))  # noqa: T201 - the answer of a command


if __name__ == "__main__":
    main()
