"""Build the plugin: ``python -m dispatcher.build.bundle build/``.

The target folder gets:

    genie                              the launcher: an executable file of a few lines
    .genie/<version>/<tag>.core        what every ADD needs, compiled, for the interpreter <tag>
    .genie/<version>/<tag>.rest        everything else, in groups
    .genie/<version>/src/              their sources, for an interpreter of another version
    .genie/<version>/python3           only if an interpreter is brought along

``<version>`` is the project's version and a hash of everything in the folder, so two different
builds never share a folder.

To install: copy the folder to ``<cni-bin>/.genie/<version>/``, then rename a copy of the launcher
to ``<cni-bin>/genie``. A call that has begun still finds its own folder. An old folder may be
removed when no process runs its launcher.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import tomllib
from pathlib import Path

from dispatcher.build import compile_plugin
from dispatcher.node.plugin_layout import VERSIONS_FOLDER

LAUNCHER = """\
#!{shebang} -IS
# Genie {version}: the CNI plugin, and the command line for people.
import gc, marshal, sys
gc.disable()
home = __file__.rpartition("/")[0] + "/.genie/{version}/"
try:
    file = open(home + sys.implementation.cache_tag + ".core", "rb")
except FileNotFoundError:
    exec({fallback!r})
with file:
    boot, core = marshal.loads(file.read())
exec(boot)
from dispatcher.plugin.main import main
main(__file__)
"""
"""Every call compiles this text, so it has no comments, and its rare part is only a string there.

It looks for its folder beside itself, then beside the file that symbolic links lead to. It collects
no garbage: a call ends before there is enough to be worth it.
"""

FALLBACK = """\
import os
home = os.path.dirname(os.path.realpath(__file__)) + "/.genie/{version}/"
try:
    file = open(home + sys.implementation.cache_tag + ".core", "rb")
except FileNotFoundError:
    sys.path.insert(0, home + "src")
    sys.dont_write_bytecode = True
    from dispatcher.plugin.main import main
    main(__file__)
"""
"""The launcher's rare part. If the compiled files are those of another interpreter, it runs the
sources, and ends the process.
"""


def build(target: Path, *, interpreter: str, compiler: str, cni_bin: str, release: str) -> Path:
    """Build the plugin below *target* and return the launcher.

    *interpreter* runs the plugin on the node. Without a slash, it names a file in the version's
    folder, whose place on the node is below *cni_bin*. *compiler* is the path of the same
    interpreter on this machine. *release* becomes the first part of the version's name.
    """
    version = f"{release}-{_digest()}"
    folder = target / VERSIONS_FOLDER / version
    folder.mkdir(parents=True, exist_ok=True)
    _copy_sources(folder / "src")
    _compile(compiler, folder)

    # The kernel wants an absolute path after "#!".
    shebang = interpreter
    if "/" not in interpreter:
        shebang = f"{cni_bin}/{VERSIONS_FOLDER}/{version}/{interpreter}"
    fallback = FALLBACK.format(version=version)
    text = LAUNCHER.format(shebang=shebang, version=version, fallback=fallback)
    launcher = _write_launcher(target, text)

    for other in set(folder.parent.iterdir()) - {folder}:
        shutil.rmtree(other)
    return launcher


def _digest() -> str:
    """Return a hash of everything that the content of a version depends on."""
    total = hashlib.sha256(LAUNCHER.encode())
    for file in [*compile_plugin.modules().values(), Path(compile_plugin.__file__), Path(__file__)]:
        total.update(file.read_bytes())
    return total.hexdigest()[:12]


def _copy_sources(folder: Path) -> None:
    for file in compile_plugin.modules().values():
        copy = folder / file.relative_to(compile_plugin.PACKAGE.parent)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)


def _compile(compiler: str, folder: Path) -> None:
    script = str(Path(compile_plugin.__file__).resolve())
    command = [compiler, "-I", "-X", "no_debug_ranges", script, str(folder)]
    subprocess.run(command, check=True)  # noqa: S603 - the interpreter that the caller named


def _write_launcher(target: Path, text: str) -> Path:
    launcher = target / "genie"
    scratch = target / "genie.new"
    scratch.write_text(text)
    scratch.chmod(0o755)
    scratch.replace(launcher)
    return launcher


def project_version() -> str:
    """Return the version in ``pyproject.toml``."""
    project = compile_plugin.PACKAGE.parent / "pyproject.toml"
    return str(tomllib.loads(project.read_text())["project"]["version"])


def main() -> None:
    """Build as the command line says."""
    parser = argparse.ArgumentParser(description="Build the CNI plugin.")
    parser.add_argument("target", type=Path, help="folder to build into")
    parser.add_argument(
        "--interpreter",
        default="/usr/bin/python3",
        help="Python 3.11 or newer that runs the plugin on the node (default: %(default)s)",
    )
    parser.add_argument(
        "--compiler", help="the same interpreter on this machine (default: --interpreter)"
    )
    parser.add_argument(
        "--cni-bin",
        default="/opt/cni/bin",
        help="directory of CNI plugins on the node (default: %(default)s)",
    )
    parser.add_argument("--version", help="release (default: from pyproject.toml)")
    options = parser.parse_args()

    launcher = build(
        options.target,
        interpreter=options.interpreter,
        compiler=options.compiler or options.interpreter,
        cni_bin=options.cni_bin,
        release=options.version or project_version(),
    )
    print(launcher)  # noqa: T201 - the answer of a command


if __name__ == "__main__":
    main()
