"""The programs of a cluster, built from pinned Go modules and cached.

Each set is a Go module of its own under gomod/, which names its packages with `tool` directives;
go.sum pins every byte. The registry and its proxies are the machine's (GOPROXY and the like).
KUBEBUILDER_ASSETS, where set, supplies kube-apiserver, etcd and kubectl instead. Only etcd is then
not built: the other two come with the rest of Kubernetes.
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
    """Programs of one Go module, which the folder gomod/<name> pins."""

    name: str
    module: str
    tags: str = ""
    only: str = ""  # the name of the set's only program, where Go would not call it so
    stamped: bool = False  # with the version that Kubernetes components report
    files: tuple[str, ...] = ()  # of the module, which are copied beside its programs

    @property
    def folder(self) -> Path:
        """Return where the set's go.mod and go.sum are."""
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
NEEDED = (CNITOOL, CNI_PLUGINS, CONTAINERD, ETCD, KUBERNETES)
"""What every cluster needs, the longest last: what else goes wrong meanwhile is said before it."""
THIRD_PARTY = (FLANNEL, WHEREABOUTS, KUBE_ROUTER)
"""Networks of other projects, which only their own tests need."""


def pinned_version(go_mod: str, module: str) -> str:
    """Return the version of a module that a go.mod requires, without its `v`."""
    found = re.search(rf"^(?:require)?\s+{re.escape(module)} v(\S+)", go_mod, re.MULTILINE)
    if not found:
        raise ValueError(f"go.mod does not require {module}")
    return found[1]


def tool_packages(go_mod: str) -> list[str]:
    """Return the packages that a go.mod names in `tool` directives."""
    blocks = re.findall(r"^tool \(\n(.*?)^\)", go_mod, re.MULTILINE | re.DOTALL)
    single = re.findall(r"^tool ([^\s(]+)$", go_mod, re.MULTILINE)
    return [*single, *(line.strip() for block in blocks for line in block.splitlines())]


def build(programs: ProgramSet) -> Path:
    """Return the folder with the programs of a set, built if they are not in the cache."""
    go_mod = (programs.folder / "go.mod").read_text()
    sources = (file for file in programs.folder.rglob("*") if file.is_file())
    parts = [digest_files(programs.folder, sources), *programs.flags, *programs.files]
    key = digest([*parts, *_toolchain()])

    def make(folder: Path) -> None:
        packages = tool_packages(go_mod)
        names = programs.only or " ".join(package.rpartition("/")[2] for package in packages)
        with step(f"building {programs.name} {programs.version} ({names})"):
            _go_build(programs.folder, folder / programs.only, programs.flags, packages)
        for file in programs.files:
            shutil.copy2(_module_folder(programs) / file, folder)

    return cached(f"go/{programs.name}", key, make)


def build_small_programs() -> Path:
    """Return the folder with the few programs of our own that the images consist of."""
    sources = sorted(_IMAGES.rglob("*.go"))
    flags = ["-trimpath", "-ldflags", "-s -w"]
    files = [_IMAGES / "go.mod", *sources]
    key = digest([digest_files(_IMAGES, files), *flags, *_toolchain()])

    def make(folder: Path) -> None:
        packages = [f"./{file.parent.relative_to(_IMAGES)}" for file in sources]
        with step("building the programs of the images"):
            _go_build(_IMAGES, folder, flags, packages)

    return cached("go/images", key, make)


def _module_folder(programs: ProgramSet) -> Path:
    """Return where Go keeps the module's sources, as it was published."""
    listed = run(["go", "list", "-m", "-f", "{{.Dir}}", programs.module], cwd=programs.folder)
    return Path(listed.stdout.strip())


@functools.cache
def _toolchain() -> list[str]:
    known = json.loads(run(["go", "env", "-json", "GOVERSION", "GOOS", "GOARCH"]).stdout)
    return [f"{name}={known[name]}" for name in sorted(known)]


def _go_build(module: Path, output: Path, flags: list[str], packages: list[str]) -> None:
    # A tool that is killed must not leave the compiler behind: setpriv has the kernel see to it.
    target = f"{output}/" if output.is_dir() else output
    command = ["setpriv", "--pdeathsig", "TERM", "go", "build", *flags, "-o", target]
    run([*command, *packages], cwd=module, env={"CGO_ENABLED": "0"})


def needed(supplied: Collection[str]) -> list[ProgramSet]:
    """Return the sets to build for a cluster that is supplied with these programs."""
    return [programs for programs in NEEDED if programs.only not in supplied]


def assets() -> dict[str, Path]:
    """Return the programs that KUBEBUILDER_ASSETS supplies, by name.

    Raises ClusterError if it is set and lacks one of them.
    """
    given = os.environ.get("KUBEBUILDER_ASSETS")
    if not given:
        return {}
    found = {name: Path(given, name).absolute() for name in _ASSETS}
    for path in found.values():
        if shutil.which(path) is None:
            raise ClusterError(f"KUBEBUILDER_ASSETS is set, but there is no program {path}")
    return found
