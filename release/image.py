"""Build the container image for this machine's processor, as an OCI archive."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from release.project import ReleaseError
from tests.devcluster.build import imagebuild
from tests.devcluster.build.oci import ARCHITECTURES, label_image

if TYPE_CHECKING:
    from pathlib import Path

    from release.project import Project


def local_base() -> str:
    """Return the base image that this machine builds itself, from Debian's packages."""
    return imagebuild.base_image_name()


def check_base(base: str) -> None:
    """Raise ReleaseError if a base image from a registry is not pinned by its digest."""
    if base != local_base() and "@sha256:" not in base:
        raise ReleaseError(
            f'BASE_IMAGE: "{base}" may change: write NAME@sha256:…, for example that of the'
            " Dockerfile"
        )


def build_image(project: Project, repository: str, base: str, output: Path) -> Path:
    """Build the image, call it REPOSITORY:VERSION and label it; return the path of the archive."""
    archive = output / f"genie-image-{project.version}-{ARCHITECTURES[platform.machine()]}.tar"
    built = imagebuild.build_genie(project.tree, build_args={"BASE_IMAGE": base})
    name = image_name(repository, project.version)
    # Not by build arguments: buildah takes a LABEL from its cache with their former values.
    label_image(built, archive, name, image_labels(project, base))
    return archive


def image_labels(project: Project, base: str) -> dict[str, str]:
    """Return the labels of the image, besides those of the Dockerfile."""
    values = {
        "version": project.version,
        "revision": project.revision,
        "created": f"{project.created:%Y-%m-%dT%H:%M:%SZ}",
        "base.name": base,
    }
    return {f"org.opencontainers.image.{name}": value for name, value in values.items()}


def image_name(repository: str, version: str) -> str:
    """Return the name of an image as nodes complete it: ``docker.io/library/cni-genie:0.1.0``."""
    first, slash, _ = repository.partition("/")
    if not slash:
        return f"docker.io/library/{repository}:{version}"
    if "." in first or ":" in first or first == "localhost":
        return f"{repository}:{version}"
    return f"docker.io/{repository}:{version}"
