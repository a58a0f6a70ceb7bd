"""Build the programs of a cluster from pinned Go modules, and cache them.

Each set is a Go module under gomod/, which names its packages with `tool` directives; go.sum pins
every byte. Go's own settings (GOPROXY and others) apply. If KUBEBUILDER_ASSETS is set, it supplies
kube-apiserver, etcd and kubectl. That saves only the build of etcd, since the other two are built
with the rest of Kubernetes.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.devcluster.build.cache import cached, digest, digest_files
from tests.devcluster.commands import ClusterError, run, step

if TYPE_CHECKING:
    from collections.abc import Collection

_MODULES = Path(__file__).with_name("gomod")
_IMAGES = Path(__file__).with_name("images")
_ASSETS = ("kube-apiserver", "etcd", "kubectl")


@dataclass(frozen=True, slots=True)
class ProgramSet:
    """Programs of one Go module, pinned by the folder gomod/NAME."""

    name: str
    module: str
    tags: str = ""
    only: str = ""  # name of the only program, if it differs from the name of its package
    stamped: bool = False  # whether to link in the version that Kubernetes components report
    files: tuple[str, ...] = ()  # files of the module to copy next to its programs

    @property
    def folder(self) -> Path:
        """Return the folder of the set's go.mod and go.sum."""
        return _MODULES / self.name

    @property
    def version(self) -> str:
        """Return the pinned version of the module, without its `v`."""
        return pinned_version((self.folder / "go.mod").read_text(), self.module)

    @property
    def flags(self) -> list[str]:
        """Return the flags of `go build`."""
        link = ["-s", "-w"]
        if self.stamped:
            major, minor, _ = self.version.split(".")
            for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
                link += [
                    f"-X {package}.gitVersion=v{self.version}",
                    f"-X {package}.gitMajor={major}",
                    f"-X {package}.gitMinor={minor}",
                ]
        tags = ["-tags", self.tags] if self.tags else []
        return ["-trimpath", *tags, "-ldflags", " ".join(link)]


KUBERNETES = ProgramSet("kubernetes", "k8s.io/kubernetes", stamped=True)
KUBERNETES_OLDEST = ProgramSet("kubernetes-oldest", "k8s.io/kubernetes", stamped=True)
ETCD = ProgramSet("etcd", "go.etcd.io/etcd/server/v3", only="etcd")
CONTAINERD = ProgramSet(
    "containerd", "github.com/containerd/containerd/v2", tags="no_btrfs,no_zfs,no_devmapper"
)
CNI_PLUGINS = ProgramSet("cni-plugins", "github.com/containernetworking/plugins")
CNITOOL = ProgramSet("cnitool", "github.com/containernetworking/cni")
FLANNEL = ProgramSet(
    "flannel", "github.com/flannel-io/flannel", files=("Documentation/kube-flannel.yml",)
)
KUBE_ROUTER = ProgramSet(
    "kube-router",
    "github.com/cloudnativelabs/kube-router/v2",
    files=("daemonset/kubeadm-kuberouter-all-features-hostport.yaml",),
)
WHEREABOUTS = ProgramSet(
    "whereabouts",
    "github.com/k8snetworkplumbingwg/whereabouts",
    only="whereabouts",
    files=(
        "doc/crds/daemonset-install.yaml",
        "doc/crds/whereabouts.cni.cncf.io_ippools.yaml",
        "doc/crds/whereabouts.cni.cncf.io_nodeslicepools.yaml",
        "doc/crds/whereabouts.cni.cncf.io_overlappingrangeipreservations.yaml",
    ),
)
MULTUS = ProgramSet(
    "multus",
    "gopkg.in/k8snetworkplumbingwg/multus-cni.v4",
    files=("deployments/multus-daemonset.yml", "deployments/multus-daemonset-thick.yml"),
)
HELM = ProgramSet("helm", "helm.sh/helm/v4")
# Without the clients of clouds and registries, from which Prometheus could discover its targets.
PROMTOOL = ProgramSet("prometheus", "github.com/prometheus/prometheus", tags="remove_all_sd")

KWOK = ProgramSet("kwok", "sigs.k8s.io/kwok")
"""Keeps Leases and status of simulated nodes, for the benchmark of large clusters."""

ACTIONLINT = ProgramSet("actionlint", "github.com/rhysd/actionlint")
"""Checks the workflows of .github/."""
WEBHOOK_PEER = ProgramSet("webhook-peer", "k8s.io/api", only="webhook")
"""An admission webhook in the usual style of Go, for ``tests.bench.webhook``."""
NEEDED = (CNITOOL, CNI_PLUGINS, CONTAINERD, ETCD, KUBERNETES)
"""What every cluster needs. The longest build is last, so that other errors come early."""
THIRD_PARTY = (FLANNEL, WHEREABOUTS, KUBE_ROUTER, MULTUS)
"""Networks of other projects, and Multus; only their tests need them."""


def pinned_version(go_mod: str, module: str) -> str:
    """Return the version of a module that a go.mod requires, without its `v`."""
    match = re.search(rf"^(?:require)?\s+{re.escape(module)} v(\S+)", go_mod, re.MULTILINE)
    if not match:
        raise ValueError(f"go.mod does not require {module}")
    return match[1]


def tool_packages(go_mod: str) -> list[str]:
    """Return the packages that a go.mod names in `tool` directives."""
    blocks = re.findall(r"^tool \(\n(.*?)^\)", go_mod, re.MULTILINE | re.DOTALL)
    single = re.findall(r"^tool ([^\s(]+)$", go_mod, re.MULTILINE)
    return [*single, *(line.strip() for block in blocks for line in block.splitlines())]


def build(programs: ProgramSet) -> Path:
    """Return the folder with the programs of a set; build them if they are not cached."""
    go_mod = (programs.folder / "go.mod").read_text()
    sources = (file for file in programs.folder.rglob("*") if file.is_file())
    parts = [digest_files(programs.folder, sources), *programs.flags, *programs.files]
    key = digest([*parts, *_toolchain()])

    def fill(folder: Path) -> None:
        packages = tool_packages(go_mod)
        names = programs.only or " ".join(package.rpartition("/")[2] for package in packages)
        with step(f"building {programs.name} {programs.version} ({names})"):
            _go_build(programs.folder, folder / programs.only, programs.flags, packages)
        for file in programs.files:
            shutil.copy2(_module_folder(programs) / file, folder)

    return cached(f"go/{programs.name}", key, fill)


def build_small_programs() -> Path:
    """Return the folder with this project's programs for the small images."""
    sources = sorted(_IMAGES.rglob("*.go"))
    flags = ["-trimpath", "-ldflags", "-s -w"]
    files = [_IMAGES / "go.mod", *sources]
    key = digest([digest_files(_IMAGES, files), *flags, *_toolchain()])

    def fill(folder: Path) -> None:
        packages = [f"./{file.parent.relative_to(_IMAGES)}" for file in sources]
        with step("building the programs of the images"):
            _go_build(_IMAGES, folder, flags, packages)

    return cached("go/images", key, fill)


def _module_folder(programs: ProgramSet) -> Path:
    """Return the folder of the module's sources in Go's module cache."""
    listed = run(["go", "list", "-m", "-f", "{{.Dir}}", programs.module], cwd=programs.folder)
    return Path(listed.stdout.strip())


@functools.cache
def _toolchain() -> list[str]:
    known = json.loads(run(["go", "env", "-json", "GOVERSION", "GOOS", "GOARCH"]).stdout)
    return [f"{name}={known[name]}" for name in sorted(known)]


def _go_build(module: Path, output: Path, flags: list[str], packages: list[str]) -> None:
    # If the tool is killed, the kernel must end the compiler too.
    target = f"{output}/" if output.is_dir() else output
    command = ["setpriv", "--pdeathsig", "TERM", "go", "build", *flags, "-o", target]
    run([*command, *packages], cwd=module, env={"CGO_ENABLED": "0"})


def needed(supplied: Collection[str]) -> list[ProgramSet]:
    """Return the sets to build when these programs are supplied."""
    return [programs for programs in NEEDED if programs.only not in supplied]


def assets() -> dict[str, Path]:
    """Return the programs that KUBEBUILDER_ASSETS supplies, by name.

    Raises ClusterError if the variable is set and one of the programs is missing.
    """
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if not folder:
        return {}
    programs = {name: Path(folder, name).absolute() for name in _ASSETS}
    for path in programs.values():
        if shutil.which(path) is None:
            raise ClusterError(f"program {path} not found; KUBEBUILDER_ASSETS is {folder}")
    return programs
