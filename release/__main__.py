"""``python -m release``: build ``dist/``, see `make release`."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from release import chart, client, image, krew, notes, sbom, sums
from release.project import Project, ReleaseError, read_project
from tests.devcluster import machine
from tests.devcluster.build.oci import image_digest
from tests.devcluster.commands import ClusterError, log_progress, step

TREE = Path(__file__).parents[1]
DOWNLOADS = "https://releases.example.org/cni-genie/v{version}"

EXAMPLES = """\
examples:
  make release                                        build dist/ with a base image made here
  make release BASE_IMAGE=docker.io/library/python:3.13-slim@sha256:…
                                                      with a base image of a registry
  make release IMAGE=registry.example.org/cni-genie DIGEST=sha256:…
                                                      install a pushed image, by its digest
"""


def main(argv: list[str] | None = None) -> int:
    """Build all artifacts; return the exit code."""
    args = _parser().parse_args(argv)
    try:
        project = read_project(TREE)
        if args.check:
            check_commit(project)
            print(f"v{project.version}")
            return 0
        if args.final:
            check_final(project, args)
        build(project, args)
    except (ClusterError, ReleaseError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def check_commit(project: Project) -> None:
    """Raise ReleaseError if the tree is not a commit to release: with a tag and release notes."""
    project.check_final()
    read_notes(project, final=True)


def read_notes(project: Project, *, final: bool) -> str:
    """Return the release notes; raise ReleaseError if there are none."""
    changelog = (project.tree / "CHANGELOG.md").read_text()
    return notes.release_notes(changelog, project.version, final=final)


def check_final(project: Project, args: argparse.Namespace) -> None:
    """Raise ReleaseError if the artifacts would not be what users may get."""
    project.check_final()
    missing = [name for name in ("digest", "base_image", "downloads") if not getattr(args, name)]
    if missing:
        names = ", ".join(name.upper() for name in missing)
        raise ReleaseError(f"FINAL: {names} must be set")


def build(project: Project, args: argparse.Namespace) -> None:
    """Build all artifacts into the folder *args.output*, which is emptied before."""
    output: Path = args.output
    base = args.base_image or image.local_base()
    image.check_base(base)
    if args.digest:
        chart.check_digest(args.digest)
    text = read_notes(project, final=args.final)

    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    (output / f"release-notes-{project.version}.md").write_text(text)
    bill = sbom.bill_of_materials(project, sbom.read_locks(project), base)
    (output / f"genie-{project.version}.cdx.json").write_text(bill)
    with step("building kubectl genie"):
        build_client(project, args.downloads or DOWNLOADS, output)
    machine.install_packages()
    archive = image.build_image(project, args.image, base, output)
    package = chart.package_chart(project, output)
    chart.render_chart(project, package, args.image, args.digest or image_digest(archive))
    sums.write_sums(output)

    for file in sorted(output.iterdir()):
        print(file)
    if not args.base_image:
        log_progress(f"the image is based on {base}, built on this machine: do not publish it")


def build_client(project: Project, downloads: str, output: Path) -> None:
    """Build the wheel, the zipapp, and the archive and manifest for krew."""
    wheel = client.build_wheel(project, output)
    zipapp = client.build_zipapp(project, wheel, output)
    archive = krew.write_krew_archive(project, zipapp, output)
    krew.write_krew_manifest(project, archive, downloads)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m release",
        description="Build everything that a release consists of. Needs root for the image.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--image",
        default="cni-genie",
        help="repository of the image in the one-file installation (default: %(default)s)",
    )
    parser.add_argument(
        "--digest",
        default="",
        help="digest of the pushed image, for all processors (default: that of the archive)",
    )
    parser.add_argument(
        "--base-image",
        default="",
        help="base of the image, pinned by its digest (default: one that is built here)",
    )
    parser.add_argument(
        "--downloads",
        default="",
        metavar="URL",
        help=f"folder of the published files, with {{version}} (default: {DOWNLOADS})",
    )
    parser.add_argument(
        "--final",
        action="store_true",
        help="refuse what must not be published: changes without a commit, no tag of the version, "
        "no section of it in CHANGELOG.md, a base image or digest of this machine",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="check the commit as --final does, print the tag of the version, and build nothing",
    )
    parser.add_argument("--output", type=Path, default=TREE / "dist", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
