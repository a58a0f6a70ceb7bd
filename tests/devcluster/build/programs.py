"""Build everything that a cluster needs before it starts."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.devcluster import machine
from tests.devcluster.build import gobuild, imagebuild, images
from tests.devcluster.build.cache import digest

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Programs:
    """The cached files from which a cluster starts."""

    sets: dict[str, Path]
    """The folders of the program sets, by name."""
    control_plane: dict[str, Path]
    """The programs of the control plane, and kubectl, by name."""
    small_images: list[Path]
    """Archives that every node imports."""

    @property
    def digest(self) -> str:
        """Return a digest, which changes with any of these files."""
        paths = [*self.sets.values(), *self.control_plane.values(), *self.small_images]
        return digest(map(os.fspath, paths))


def prepare(api_server: str = "current") -> Programs:
    """Install missing Debian packages and build what is not cached.

    `api_server` is "current" or "oldest". Raises ClusterError for the first failure.
    """
    supplied = gobuild.assets()
    machine.install_packages()
    imagebuild.check_base()
    sets = {}
    # In parallel: one compiles, the other downloads.
    with ThreadPoolExecutor(max_workers=1) as executor:
        base = executor.submit(imagebuild.base_files)
        for programs in gobuild.needed(supplied):
            sets[programs.name] = gobuild.build(programs)
            if base.done():
                base.result()  # raises its error now, not after the next minutes of compiling
        small = images.small_images()
        base.result()

    current = sets[gobuild.KUBERNETES.name]
    names = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
    control_plane = {name: current / name for name in names}
    if gobuild.ETCD.name in sets:
        control_plane["etcd"] = sets[gobuild.ETCD.name] / "etcd"
    control_plane |= supplied
    if api_server == "oldest":
        oldest = gobuild.build(gobuild.KUBERNETES_OLDEST)
        control_plane["kube-apiserver"] = oldest / "kube-apiserver"
    return Programs(sets, control_plane, small)
