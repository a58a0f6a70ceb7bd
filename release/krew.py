"""Package ``kubectl genie`` for krew, the package manager of kubectl's plugins.

krew installs from compressed archives only. Windows is missing: krew starts a plugin there as
``kubectl-genie.exe``, which a zipapp is not. ``pipx`` makes such a program from the wheel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from release.archives import TarEntry, write_tar_gz
from release.sums import sha256

if TYPE_CHECKING:
    from pathlib import Path

    from release.project import Project

PROGRAM = "kubectl-genie"
PLATFORMS = (("linux", "amd64"), ("linux", "arm64"), ("darwin", "arm64"))

_DESCRIPTION = """\
CNI-Genie gives a pod the networks that its annotation names, for example
`cni: "canal,weave@net1"`. This plugin shows networks, the pods that use them, and
problems; it checks manifests without a cluster.
"""


class _BlockDumper(yaml.SafeDumper):
    """Writes text of several lines as it is, since people review the manifest."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_BlockDumper.add_representer(str, _represent_text)


def write_krew_archive(project: Project, zipapp: Path, output: Path) -> Path:
    """Write the archive that krew unpacks, with the program and its licence; return its path."""
    archive = output / f"{PROGRAM}-{project.version}.tar.gz"
    entries = [
        TarEntry(PROGRAM, zipapp.read_bytes(), 0o755),
        TarEntry("LICENSE", (project.tree / "LICENSE").read_bytes()),
    ]
    write_tar_gz(archive, entries, project.epoch)
    return archive


def write_krew_manifest(project: Project, archive: Path, downloads: str) -> Path:
    """Write ``genie.yaml`` next to *archive*; *downloads* is the URL of its future folder."""
    uri = f"{downloads.format(version=project.version)}/{archive.name}"
    manifest = archive.parent / "genie.yaml"
    content = krew_manifest(project.version, uri, sha256(archive))
    manifest.write_text(yaml.dump(content, Dumper=_BlockDumper, sort_keys=False))
    return manifest


def krew_manifest(version: str, uri: str, digest: str) -> dict[str, Any]:
    """Return the manifest of the plugin "genie" of krew."""
    return {
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": "genie"},
        "spec": {
            "version": f"v{version}",
            "shortDescription": "Show the CNI networks of nodes and pods",
            "description": _DESCRIPTION,
            "caveats": "Needs Python 3.11 to 3.14 as python3 on the PATH.",
            "platforms": [
                {
                    "selector": {"matchLabels": {"os": system, "arch": processor}},
                    "uri": uri,
                    "sha256": digest,
                    "bin": PROGRAM,
                }
                for system, processor in PLATFORMS
            ],
        },
    }
