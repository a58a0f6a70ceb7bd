"""What the machine must have, checked before anything on it is changed.

What Debian has packages for is installed; what nobody but the user can give (root, Debian, Go, the
kernel) is asked for in one sentence.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from tests.devcluster.commands import ClusterError, CommandError, run, step
from tests.devcluster.node import cgroups

GO_AT_LEAST = (1, 26, 6)

PROGRAMS = {
    "buildah": "buildah",
    "conntrack": "conntrack",
    "curl": "curl",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "ipset": "ipset",
    "iptables": "iptables",
    "nft": "nftables",
    "openssl": "openssl",
    "/usr/bin/python3": "python3",
    "runc": "runc",
}
"""Programs that a cluster and the tests need, and the Debian packages that have them.

The plugin runs with the Python of Debian: whatever Python started the tool is not enough.
"""

DEBIAN_AT_LEAST = 12

_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def extend_path() -> None:
    """Let programs for administrators be found, whatever shell the tool was started from."""
    known = os.environ.get("PATH", "").split(":")
    missing = [folder for folder in _SYSTEM_FOLDERS if folder not in known]
    os.environ["PATH"] = ":".join([*known, *missing])


def check_machine(folder: Path) -> None:
    """Raise ClusterError that names all that is missing; `folder` is where clusters will be."""
    lacks = [*_lacking_basics(), *_lacking_go()]
    if os.geteuid() == 0 and sys.platform == "linux":
        lacks += [*_lacking_kernel_features(folder), *cgroups.lacking(cgroups.hierarchies())]
    if lacks:
        raise ClusterError(f"this machine cannot run a cluster: {'; '.join(lacks)}")


def _lacking_basics() -> list[str]:
    lacks = []
    if sys.platform != "linux":
        lacks.append("it needs Linux")
    if os.geteuid() != 0:
        lacks.append("it needs root (for namespaces and mounts): run it with sudo")
    if not is_new_debian(_os_release()) or shutil.which("apt-get") is None:
        lacks.append(f"it needs Debian {DEBIAN_AT_LEAST} or newer (packages come from its archive)")
    return lacks


def _os_release() -> str:
    file = Path("/etc/os-release")
    return file.read_text() if file.exists() else ""


def is_new_debian(os_release: str) -> bool:
    """Say whether the content of /etc/os-release is of a Debian that is new enough.

    What is made from Debian has an archive of its own, from which no Debian can be installed.
    Debian's testing and unstable have no version.
    """
    known = dict(re.findall(r'^(ID|VERSION_ID)="?([^"\n]*)"?$', os_release, re.MULTILINE))
    version = known.get("VERSION_ID", str(DEBIAN_AT_LEAST))
    return known.get("ID") == "debian" and float(version) >= DEBIAN_AT_LEAST


def _lacking_go() -> list[str]:
    wanted = ".".join(map(str, GO_AT_LEAST))
    if shutil.which("go") is None:
        return [f"it needs Go {wanted} or newer on the PATH"]
    found = run(["go", "env", "GOVERSION"]).stdout.strip()
    if go_version(found) < GO_AT_LEAST:
        return [f"it needs Go {wanted} or newer, and {shutil.which('go')} is {found}"]
    return []


def go_version(text: str) -> tuple[int, ...]:
    """Return the numbers of a version as `go env GOVERSION` prints it; a development one is new."""
    found = re.match(r"go(\d+(?:\.\d+)*)", text)
    return tuple(int(part) for part in found[1].split(".")) if found else (999,)


def _lacking_kernel_features(folder: Path) -> list[str]:
    existing = folder
    while not existing.is_dir():  # nothing is made yet: ask about the file system it will be on
        existing = existing.parent
    probe = Path(__file__).with_name("kernel.py")
    command = ["unshare", "--net", "--mount", sys.executable, "-I", str(probe)]
    try:
        lacks = run(command, env={"PROBE_FOLDER": str(existing)}).stdout.splitlines()
    except CommandError as error:
        return [f"it needs a kernel that lets root make network and mount namespaces ({error})"]
    return [f"its kernel does not have {feature}" for feature in lacks]


def install_packages() -> None:
    """Install, from Debian, the programs that are missing; what is there is left alone."""
    packages = sorted({p for program, p in PROGRAMS.items() if shutil.which(program) is None})
    if not packages:
        return
    install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "--no-remove"]
    install += ["-o", "DPkg::Lock::Timeout=300"]  # unattended upgrades may be at work
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with step(f"installing Debian packages: {' '.join(packages)}"):
        if run([*install, *packages], env=quiet, check=False).returncode == 0:
            return
        update_lists()  # they may be old, or there are none yet
        run([*install, *packages], env=quiet)


def update_lists() -> None:
    """Have apt read what its archives offer."""
    run(["apt-get", "update", "--quiet"])
