"""The images of a cluster, all built on this machine, without a registry.

localhost/pause:local              the process that holds a pod's namespaces
docker.io/library/nginx:latest     a stand-in, images/nginx: serves HTTP on port 80
ghcr.io/k8snetworkplumbingwg/multus-cni:snapshot
                                   Multus from its sources, under the name in its manifest
localhost/genie-base:<suite>       Debian with Python, the base of the project's Dockerfile here
localhost/cni-genie:dev            the project's image, from its Dockerfile
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.devcluster.build.cache import cached, digest
from tests.devcluster.build.gobuild import MULTUS, build, build_small_programs
from tests.devcluster.build.oci import write_image
from tests.devcluster.node.nodeconfig import PAUSE_IMAGE

if TYPE_CHECKING:
    from pathlib import Path

NGINX_IMAGE = "docker.io/library/nginx:latest"
MULTUS_IMAGE = "ghcr.io/k8snetworkplumbingwg/multus-cni:snapshot"
_FORMAT = "1"  # version of the archives' format: part of the cache key


def small_images() -> list[Path]:
    """Return the archives of the pause image and of the stand-in for nginx."""
    programs = build_small_programs()

    def fill(folder: Path) -> None:
        write_image(folder / "pause.tar", PAUSE_IMAGE, programs / "pause")
        write_image(folder / "nginx.tar", NGINX_IMAGE, programs / "nginx", ports=["80/tcp"])

    folder = cached("images/small", digest([programs.name, _FORMAT]), fill)
    return [folder / "pause.tar", folder / "nginx.tar"]


def multus_image() -> Path:
    """Return the archive of Multus' image, whose programs have the paths of the published one."""
    programs = build(MULTUS)
    folder = "usr/src/multus-cni/bin"
    others = {
        "install_multus": programs / "install_multus",
        f"{folder}/multus": programs / "multus",
        f"{folder}/passthru": programs / "passthru-cni",
    }

    def fill(folder: Path) -> None:
        entrypoint = programs / "thin_entrypoint"
        write_image(folder / "multus.tar", MULTUS_IMAGE, entrypoint, others=others)

    return cached("images/multus", digest([programs.name, _FORMAT]), fill) / "multus.tar"
