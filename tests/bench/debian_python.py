"""Python of the image's version: for the servers of :mod:`tests.bench.webhook`, and the plugin.

The base of the project's image is Debian with Python 3.13. Debian's own 3.13 is built in the same
way, with profile-guided and link-time optimisation. An interpreter that was compiled without these
takes about a quarter more for a decision. So the figures are taken with Debian's, in a root file
system of its own, which debootstrap installs and the cache keeps.

As in the image, it has the requirements of the services and no others (structlog would load rich,
where that is installed), and imports bytecode: what is compiled at the start stays in memory in
part.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from tests.devcluster.build.cache import cached, digest
from tests.devcluster.build.imagebuild import PROJECT, debian_mirror
from tests.devcluster.commands import run, step

if TYPE_CHECKING:
    from pathlib import Path

SUITE = "trixie"
VERSION = "3.13"
"""Python of that release of Debian, and of BASE_IMAGE in the Dockerfile; a test compares them."""

_PACKAGES = "ca-certificates,python3"
_REQUIREMENTS = PROJECT / "requirements" / "run.txt"

_ENTER = """\
root=$1 tree=$2 site=$3; shift 3
for folder in "$tree" "$site" /tmp /dev; do
  mkdir -p "$root$folder"; mount --rbind "$folder" "$root$folder"
done
mount -t proc proc "$root/proc"
exec chroot "$root" env -C "$tree" PYTHONPATH="$site/libraries" PYTHONDONTWRITEBYTECODE= \
  PYTHONPYCACHEPREFIX="$site/bytecode" /usr/bin/python3 "$@"
"""
"""Runs Python in a mount namespace; the process id stays the same."""


def command() -> list[str]:
    """Return the command that runs this Python in the project's tree; install it if necessary."""
    root = cached("bench/debian", digest([SUITE, _PACKAGES]), _install, keep=1) / "root"
    key = digest([VERSION, _REQUIREMENTS.read_bytes()])
    site = cached("bench/libraries", key, _install_libraries, keep=1)
    isolated = ["unshare", "--mount", "--propagation", "private"]
    folders = map(os.fspath, (root, PROJECT, site))
    return [*isolated, "sh", "-c", _ENTER, "sh", *folders]


def _install(folder: Path) -> None:
    root = folder / "root"
    with step(f"installing Debian {SUITE} with Python {VERSION}, with debootstrap"):
        packages = f"--include={_PACKAGES}"
        run(["debootstrap", "--variant=minbase", packages, SUITE, os.fspath(root), debian_mirror()])


def _install_libraries(folder: Path) -> None:
    with step(f"installing the requirements of the services for Python {VERSION}"):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        version = [f"--python-version={VERSION}", "--only-binary=:all:", "--no-deps"]
        target = ["--no-compile", f"--target={folder / 'libraries'}", "--require-hashes"]
        run([*pip, *version, *target, "-r", os.fspath(_REQUIREMENTS)])
