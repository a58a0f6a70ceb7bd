"""Check the machine before anything on it is changed; install packages, raise one limit.

What only the user can provide (root, Debian, Go, the kernel) is reported in one error.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from tests.devcluster.commands import ClusterError, CommandError, log_progress, run, step
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
"""Programs that clusters and tests need, with their Debian packages.

The plugin runs with Debian's own Python, so the Python that runs the tool does not count.
"""

DEBIAN_AT_LEAST = 12

_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def extend_path() -> None:
    """Add the folders of administrators' programs to the PATH, if a user's shell lacks them."""
    folders = os.environ.get("PATH", "").split(":")
    missing = [folder for folder in _SYSTEM_FOLDERS if folder not in folders]
    os.environ["PATH"] = ":".join([*folders, *missing])


def check_machine(folder: Path) -> None:
    """Raise a ClusterError that lists everything missing; `folder` is for the clusters' files."""
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
        lacks.append("it needs root for namespaces and mounts (use sudo)")
    if not is_new_debian(_os_release()) or shutil.which("apt-get") is None:
        lacks.append(f"it needs Debian {DEBIAN_AT_LEAST} or newer, whose packages it installs")
    return lacks


def _os_release() -> str:
    file = Path("/etc/os-release")
    return file.read_text() if file.exists() else ""


def is_new_debian(os_release: str) -> bool:
    """Return whether /etc/os-release, of which this is the content, names a recent Debian.

    Derivatives are not enough: debootstrap cannot install Debian from their archives. Debian's
    testing and unstable have no version.
    """
    fields = dict(re.findall(r'^(ID|VERSION_ID)="?([^"\n]*)"?$', os_release, re.MULTILINE))
    version = fields.get("VERSION_ID", str(DEBIAN_AT_LEAST))
    return fields.get("ID") == "debian" and float(version) >= DEBIAN_AT_LEAST


def _lacking_go() -> list[str]:
    required = ".".join(map(str, GO_AT_LEAST))
    if shutil.which("go") is None:
        return [f"it needs Go {required} or newer on the PATH"]
    version = run(["go", "env", "GOVERSION"]).stdout.strip()
    if go_version(version) < GO_AT_LEAST:
        return [f"it needs Go {required} or newer, but {shutil.which('go')} is {version}"]
    return []


def go_version(text: str) -> tuple[int, ...]:
    """Parse the output of `go env GOVERSION`; a development version counts as the newest."""
    match = re.match(r"go(\d+(?:\.\d+)*)", text)
    return tuple(int(part) for part in match[1].split(".")) if match else (999,)


def _lacking_kernel_features(folder: Path) -> list[str]:
    existing = folder
    while not existing.is_dir():  # it may not exist yet: check the file system that it will be on
        existing = existing.parent
    probe = Path(__file__).with_name("kernel.py")
    command = ["unshare", "--net", "--mount", sys.executable, "-I", str(probe)]
    try:
        lacks = run(command, env={"PROBE_FOLDER": str(existing)}).stdout.splitlines()
    except CommandError as error:
        return [f"its kernel does not let root create network and mount namespaces ({error})"]
    return [f"its kernel lacks {feature}" for feature in lacks]


INOTIFY_INSTANCES = 1024
"""Of all processes of root. The kernel's default of 128 does not suffice for a few nodes."""

_INOTIFY_LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")


def raise_inotify_limit(file: Path = _INOTIFY_LIMIT) -> None:
    """Let root have enough inotify instances for several clusters; never lower the limit.

    Without them the daemons of one cluster work or fail depending on what else runs: the kubelet
    finds no plugins, the control plane reads no new certificates.
    """
    limit = int(file.read_text())
    if limit >= INOTIFY_INSTANCES:
        return
    log_progress(f"raising fs.inotify.max_user_instances from {limit} to {INOTIFY_INSTANCES}")
    try:
        file.write_text(str(INOTIFY_INSTANCES))
    except OSError as error:
        raise ClusterError(
            f"{file} is {limit}, too few for clusters, and cannot be changed ({error}): "
            f"set it to {INOTIFY_INSTANCES}"
        ) from error


def install_packages() -> None:
    """Install the Debian packages of missing programs; leave others alone."""
    packages = sorted({p for program, p in PROGRAMS.items() if shutil.which(program) is None})
    if not packages:
        return
    install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "--no-remove"]
    install += ["-o", "DPkg::Lock::Timeout=300"]  # unattended upgrades may be running
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with step(f"installing Debian packages: {' '.join(packages)}"):
        if run([*install, *packages], env=quiet, check=False).returncode == 0:
            return
        update_lists()  # they may be outdated or missing
        run([*install, *packages], env=quiet)


def update_lists() -> None:
    """Update apt's package lists."""
    run(["apt-get", "update", "--quiet"])
