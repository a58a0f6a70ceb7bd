"""Package the Helm chart, and render it as one file."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from release.archives import read_tar_gz, write_tar_gz
from release.project import ReleaseError
from tests.devcluster import helm
from tests.devcluster.commands import run

if TYPE_CHECKING:
    from release.project import Project

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

_HEAD = """\
# CNI-Genie {version} with its defaults, for `kubectl apply`.
#
# The network of pods that name none must be set, for example to canal. While it is empty, nothing
# is installed on the nodes:
#
#     sed 's/default-network: ""/default-network: canal/' genie-{version}.yaml | \
#         kubectl apply --server-side -f -
#
# For other settings, use the chart.
"""


def package_chart(project: Project, output: Path) -> Path:
    """Package the chart with Helm; return the path of its archive."""
    chart = output / f"genie-{project.version}.tgz"
    with tempfile.TemporaryDirectory() as scratch:
        run(
            [helm.helm(), "package", project.tree / "manifests" / "chart", "--destination", scratch]
        )
        [package] = Path(scratch).iterdir()
        # Helm writes the times of the files in this clone.
        write_tar_gz(chart, read_tar_gz(package), project.epoch)
    return chart


def render_chart(project: Project, chart: Path, image: str, digest: str) -> Path:
    """Render the packaged chart with the image of a digest; return the path of the one file.

    Raises ReleaseError if *digest* is not a digest.
    """
    check_digest(digest)
    values = {**helm.PLAIN, "image": {"repository": image, "digest": digest}}
    text = helm.render_text(values, kube_version=helm.OLDEST_KUBERNETES, chart=chart, hooks=False)
    file = chart.with_suffix(".yaml")
    file.write_text(_HEAD.format(version=project.version) + text)
    return file


def check_digest(digest: str) -> None:
    """Raise ReleaseError if *digest* is not that of an image."""
    if not _DIGEST.fullmatch(digest):
        raise ReleaseError(f'DIGEST: "{digest}" is not a digest: write sha256: and 64 hex digits')
