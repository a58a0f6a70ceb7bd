"""Build ``kubectl genie``: the wheel, and a zipapp that brings its dependencies along.

The zipapp is one file for all systems of :data:`SYSTEMS` and Pythons of :data:`PYTHONS`. Compiled
modules of different systems and Pythons have different file names, so that one folder holds all of
them, and each Python loads its own. On macOS the two processors share a name: Apple silicon has it.
"""

from __future__ import annotations

import fnmatch
import functools
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from release.archives import normalise_zip
from release.lockfile import LockedPackage, read_lock, write_lock
from release.project import ReleaseError
from tests.devcluster.build.cache import cached, digest
from tests.devcluster.commands import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from release.project import Project

SYSTEMS = (
    "x86_64-manylinux_2_28",
    "aarch64-manylinux_2_28",
    "aarch64-apple-darwin",
    "x86_64-pc-windows-msvc",
)
PYTHONS = ("3.11", "3.12", "3.13", "3.14")

_METADATA = ("METADATA", "entry_points.txt", "top_level.txt")
"""What is kept of a package's installation records, besides its licences."""

_LEFT_OUT = (
    "kubernetes/aio/*",  # the asynchronous client: the lock file does not have its libraries either
    # Compiled modules that only save time, where the package has the same in Python: nothing here
    # uses them, and there are sixteen of each.
    "charset_normalizer/*.pyd",
    "charset_normalizer/*.so",
    "yaml/_yaml.*",
)


def build_wheel(project: Project, output: Path) -> Path:
    """Build the wheel of the project; return its path."""
    run(
        [_program("uv"), "build", "--quiet", "--wheel", "--require-hashes", "--build-constraints",
         project.tree / "requirements" / "image.txt", "--out-dir", output, project.tree],
        env={"SOURCE_DATE_EPOCH": str(project.epoch)},
    )  # fmt: skip
    (output / ".gitignore").unlink(missing_ok=True)
    [wheel] = output.glob("*.whl")
    return wheel


def build_zipapp(project: Project, wheel: Path, output: Path) -> Path:
    """Build ``kubectl-genie-VERSION.pyz`` from the wheel and the lock file; return its path."""
    zipapp = output / f"kubectl-genie-{project.version}.pyz"
    with tempfile.TemporaryDirectory() as scratch:
        own = Path(scratch, "own")
        merge_tree(_installed(Path(scratch, "wheel"), "--no-deps", wheel), own)
        run(
            [_program("shiv"), "--site-packages", cached_libraries(project), "--site-packages", own,
             "--entry-point", "cli.app:main", "--preamble", Path(__file__).with_name("preamble.py"),
             "--reproducible", "--python", "/usr/bin/env python3", "--output-file", zipapp],
            env={"SOURCE_DATE_EPOCH": str(project.epoch)},
        )  # fmt: skip
    # shiv packs its own modules in the order of the file system, and all files with their modes,
    # which follow the umask under which they were installed.
    normalise_zip(zipapp)
    return zipapp


def cached_libraries(project: Project) -> Path:
    """Return the folder with the packages of requirements/client.txt, for all systems.

    It depends on the lock file, whose hashes pin every byte, so it is installed once.
    """
    lock = (project.tree / "requirements" / "client.txt").read_text()
    key = digest([lock, Path(__file__).read_bytes()])
    return cached("release/libraries", key, functools.partial(install_libraries, read_lock(lock)))


def install_libraries(packages: list[LockedPackage], target: Path) -> None:
    """Install packages, for all systems, into one folder."""
    for system in SYSTEMS:
        wanted = packages
        for python in PYTHONS:
            with tempfile.TemporaryDirectory() as scratch:
                lock = Path(scratch, "lock.txt")
                lock.write_text(write_lock(wanted))
                tree = _installed(
                    Path(scratch, "tree"), "--python-platform", system, "--python-version", python,
                    "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", lock,
                )  # fmt: skip
                merge_tree(tree, target)
                # The others are the same for every Python; a marker may name one.
                compiled = compiled_packages(tree)
            wanted = [each for each in packages if each.marker or each.name in compiled]


def compiled_packages(tree: Path) -> set[str]:
    """Return the packages of an installation with compiled modules, as lock files name them."""
    return {
        folder.name.partition("-")[0].replace("_", "-").lower()
        for folder in tree.glob("*.dist-info")
        if any(".so," in line or ".pyd," in line for line in _lines(folder / "RECORD"))
    }


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines()


def merge_tree(source: Path, target: Path) -> None:
    """Copy an installation into another one.

    Raises ReleaseError for a file that exists there with other content.
    """
    for file in sorted(_kept_files(source)):
        copy = target / file.relative_to(source)
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
        elif _text(copy) != _text(file) and not _is_metadata(file):
            raise ReleaseError(
                f"kubectl-genie.pyz: {file.relative_to(source)} differs between systems or Pythons:"
                " leave a system out, or pin another version of its package"
            )


def _installed(target: Path, *options: str | Path) -> Path:
    run([_program("uv"), "pip", "install", "--quiet", "--target", target, *options])
    return target


def _kept_files(folder: Path) -> Iterator[Path]:
    """Yield the needed files that do not depend on where and how packages were installed."""
    for file in folder.rglob("*"):
        path = file.relative_to(folder)
        first = path.parts[0]
        record = first.endswith(".dist-info") and file.name not in _METADATA
        unneeded = (record and "licenses" not in path.parts) or any(
            fnmatch.fnmatch(path.as_posix(), pattern) for pattern in _LEFT_OUT
        )
        if file.is_file() and first not in {"bin", ".lock"} and not unneeded:
            yield file


def _is_metadata(file: Path) -> bool:
    return any(part.endswith(".dist-info") for part in file.parts)


def _text(file: Path) -> bytes:
    """Return the content of a file; wheels for Windows have other ends of lines."""
    return file.read_bytes().replace(b"\r\n", b"\n")


def _program(name: str) -> Path:
    """Return a program of the running environment."""
    return Path(sys.executable).with_name(name)
