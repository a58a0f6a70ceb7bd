"""Everything that must be built before a cluster starts: programs, images, Debian packages."""

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
    """What a cluster is made of, in the cache."""

    sets: dict[str, Path]
    """The folders of the built sets, by their names."""
    control_plane: dict[str, Path]
    """The control plane's programs, by name, and kubectl."""
    small_images: list[Path]
    """Archives that every node imports."""

    @property
    def digest(self) -> str:
        """Return a short name for all of this."""
        paths = [*self.sets.values(), *self.control_plane.values(), *self.small_images]
        return digest(map(os.fspath, paths))


def prepare(api_server: str = "current") -> Programs:
    """Build what is missing, and install what Debian has packages for.

    `api_server` is "current" or "oldest". Raises ClusterError that names what failed.
    """
    supplied = gobuild.assets()
    machine.install_packages()
    imagebuild.check_base()
    sets = {}
    with ThreadPoolExecutor(max_workers=1) as beside:  # the network is idle while Go compiles
        base = beside.submit(imagebuild.base_files)
        for programs in gobuild.needed(supplied):
            sets[programs.name] = gobuild.build(programs)
            if base.done():
                base.result()  # raises what went wrong, before the next minutes of building
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
