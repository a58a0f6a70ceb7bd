"""List what a release contains, as a bill of materials in the format CycloneDX.

Required components are those of the image and of ``kubectl genie``; what only builds or tests
Genie has the scope "excluded". The property ``cni-genie:lock-files`` names the lock files of each
package, and ``cni-genie:marker`` the systems on which it is needed.

A package has the hashes of all its files in the package index, since which of them is installed
depends on processor and Python: they are external references, not hashes of the component.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from cyclonedx.model import (
    ExternalReference,
    ExternalReferenceType,
    HashAlgorithm,
    HashType,
    Property,
    XsUri,
)
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from release.lockfile import LockedPackage, read_lock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from release.project import Project

SHIPPED = ("run", "client")
TOOLS = ("image", "dev")
"""The lock files of what is shipped, and of what builds and tests it."""


def read_locks(project: Project) -> dict[str, list[LockedPackage]]:
    """Return the packages of all lock files, by the name of the file without extension."""
    folder = project.tree / "requirements"
    return {name: read_lock((folder / f"{name}.txt").read_text()) for name in (*SHIPPED, *TOOLS)}


def bill_of_materials(
    project: Project, locks: Mapping[str, list[LockedPackage]], base_image: str
) -> str:
    """Return the bill of materials as JSON: the packages of *locks*, and the image's base."""
    sources: dict[tuple[str, str], list[str]] = {}
    packages: dict[tuple[str, str], LockedPackage] = {}
    for name, content in locks.items():
        for package in content:
            key = (package.name, package.version)
            packages.setdefault(key, package)
            sources.setdefault(key, []).append(name)

    components = [_component(packages[key], sources[key]) for key in sorted(packages)]
    base = Component(
        type=ComponentType.CONTAINER,
        name=base_image.partition("@")[0],
        version=base_image.partition("@")[2] or None,
        bom_ref="base-image",
        scope=ComponentScope.REQUIRED,
    )
    bom = Bom(
        # The same release always has the same number.
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"cni-genie:{project.revision}"),
        components=[base, *components],
    )
    bom.metadata.timestamp = project.created
    bom.metadata.component = Component(
        type=ComponentType.APPLICATION,
        name="cni-genie",
        version=project.version,
        bom_ref="cni-genie",
        licenses=[DisjunctiveLicense(id="Apache-2.0")],
    )
    bom.register_dependency(bom.metadata.component, [base, *components])
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def _component(package: LockedPackage, locks: list[str]) -> Component:
    purl = PackageURL("pypi", name=package.name, version=package.version)
    shipped = any(name in SHIPPED for name in locks)
    names = ", ".join(f"requirements/{name}.txt" for name in locks)
    properties = [Property(name="cni-genie:lock-files", value=names)]
    if package.marker:
        properties.append(Property(name="cni-genie:marker", value=package.marker))
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(f"https://pypi.org/project/{package.name}/{package.version}/"),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in package.hashes],
    )
    return Component(
        type=ComponentType.LIBRARY,
        name=package.name,
        version=package.version,
        purl=purl,
        bom_ref=str(purl),
        scope=ComponentScope.REQUIRED if shipped else ComponentScope.EXCLUDED,
        properties=properties,
        external_references=[files],
    )
