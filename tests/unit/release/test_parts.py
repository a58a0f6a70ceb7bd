"""The parts of a release that need no build: notes, sums, archives, lock files, manifests."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import tarfile
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from release import archives, chart, image, krew, lockfile, notes, preamble, sums
from release.project import Project, ReleaseError, read_project
from tests.devcluster.build.imagebuild import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHANGELOG = """\
# Changelog

## Unreleased

### Added
- Later.

## 1.2.0 - 2026-11-27

### Added
- This.

## [1.1.0]

- That.
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a project of one file."""
    (tmp_path / "LICENSE").write_text("the licence")
    return Project(tmp_path, "1.2.0", "abc", 1_700_000_000)


@pytest.mark.parametrize(
    ("version", "final", "expected"),
    [
        pytest.param("1.2.0", True, "# CNI-Genie 1.2.0\n\n### Added\n- This.\n", id="released"),
        pytest.param("1.1.0", True, "# CNI-Genie 1.1.0\n\n- That.\n", id="in brackets"),
        pytest.param(
            "1.3.0",
            False,
            "# CNI-Genie 1.3.0 (not released yet)\n\n### Added\n- Later.\n",
            id="before the release",
        ),
    ],
)
def test_release_notes_are_the_section_of_the_version(
    version: str, *, final: bool, expected: str
) -> None:
    """Up to the next version; what is not released yet stands for a version without a section."""
    assert notes.release_notes(CHANGELOG, version, final=final) == expected


@pytest.mark.parametrize(
    ("changelog", "final"), [(CHANGELOG, True), ("# Changelog\n", False)], ids=["final", "empty"]
)
def test_a_version_without_changes_is_an_error(changelog: str, *, final: bool) -> None:
    """The message says which section to write."""
    with pytest.raises(ReleaseError, match="has no changes under"):
        notes.release_notes(changelog, "1.3.0", final=final)


def test_the_projects_changelog_has_release_notes() -> None:
    """`make release` works at any time."""
    version = read_project(PROJECT).version
    text = notes.release_notes((PROJECT / "CHANGELOG.md").read_text(), version, final=False)
    assert "### Added" in text


def test_sums_are_those_of_sha256sum(tmp_path: Path) -> None:
    """Users verify with it."""
    (tmp_path / "b").write_bytes(b"2")
    (tmp_path / "a").write_bytes(b"1")
    sums.write_sums(tmp_path)
    subprocess.run(["sha256sum", "--check", "--strict", sums.FILE], cwd=tmp_path, check=True)
    assert sums.wrong_files(tmp_path) == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda folder: (folder / "a").write_bytes(b"3"), id="changed"),
        pytest.param(lambda folder: (folder / "a").unlink(), id="missing"),
        pytest.param(lambda folder: (folder / "a").rename(folder / "c"), id="renamed"),
    ],
)
def test_a_file_that_differs_from_its_sum_is_named(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    """Whether its content, its existence or its name differs."""
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    sums.write_sums(tmp_path)
    change(tmp_path)
    assert "a" in sums.wrong_files(tmp_path)


def test_an_archive_depends_on_its_content_only(tmp_path: Path) -> None:
    """Not on its name, and not on the time of the build."""
    entries = [archives.TarEntry("p", b"#!", 0o755), archives.TarEntry("d/LICENSE", b"x")]
    archives.write_tar_gz(tmp_path / "one.tgz", entries, 5)
    archives.write_tar_gz(tmp_path / "two.tgz", entries, 5)
    assert (tmp_path / "one.tgz").read_bytes() == (tmp_path / "two.tgz").read_bytes()
    assert archives.read_tar_gz(tmp_path / "one.tgz") == entries
    with tarfile.open(tmp_path / "one.tgz") as tar:
        assert {(member.mtime, member.uid, member.uname) for member in tar} == {(5, 0, "")}


def write_zipapp(file: Path, modes: dict[str, int]) -> None:
    """Write a zipapp as shiv does: a line in front, and entries with modes in any order."""
    with file.open("wb") as out:
        out.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(out, "w") as packed:
            for name, mode in modes.items():
                entry = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
                entry.external_attr = mode << 16
                packed.writestr(entry, f"print({name!r})")
    file.chmod(0o755)


def test_a_zipapp_depends_on_its_content_only(tmp_path: Path) -> None:
    """Not on the order in which its files were packed, and not on their modes; it still runs."""
    one, two = tmp_path / "one.pyz", tmp_path / "two.pyz"
    write_zipapp(one, {"b.py": 0o100600, "__main__.py": 0, "a/c.py": 0o100644})
    write_zipapp(two, {"a/c.py": 0o100755, "b.py": 0o100640, "__main__.py": 0o100600})
    for file in (one, two):
        archives.normalise_zip(file)
    assert one.read_bytes() == two.read_bytes()

    with zipfile.ZipFile(one) as packed:
        assert packed.testzip() is None
        headers = {each.filename: each for each in packed.infolist()}
    assert list(headers) == ["__main__.py", "a/c.py", "b.py"]
    assert {each.external_attr >> 16 for each in headers.values()} == {0o100644}
    assert {each.date_time for each in headers.values()} == {(2026, 1, 1, 0, 0, 0)}
    assert one.read_bytes().startswith(b"#!/usr/bin/env python3\nPK")
    result = subprocess.run([sys.executable, one], capture_output=True, text=True, check=True)
    assert result.stdout == "__main__.py\n"


def test_every_line_of_the_projects_lock_files_is_read() -> None:
    """As many packages as lines that pin one."""
    for file in (PROJECT / "requirements").glob("*.txt"):
        text = file.read_text()
        assert len(lockfile.read_lock(text)) == text.count("==") - text.count("== '"), file
        assert all(each.hashes for each in lockfile.read_lock(text))


HASHES = st.integers(0, 2**256 - 1).map("{:064x}".format)
PACKAGES = st.builds(
    lockfile.LockedPackage,
    st.sampled_from(["a", "pydantic-core", "ruamel.yaml", "PyJWT"]),
    st.sampled_from(["1", "2026.10.18", "1.0rc1", "0.8.0.post1", "1!2.0+local"]),
    st.sampled_from(["", "sys_platform == 'win32'", "python_full_version < '3.12'"]),
    st.lists(HASHES, min_size=1, max_size=4).map(tuple),
)


@given(st.lists(PACKAGES, max_size=5))
def test_a_written_lock_file_is_read_the_same(packages: list[lockfile.LockedPackage]) -> None:
    """With markers and any number of hashes."""
    assert lockfile.read_lock(lockfile.write_lock(packages)) == packages


@pytest.mark.parametrize("line", ["a>=1", "a==1", "a==1 --hash=sha256:0", "a @ file:///x"])
def test_a_package_without_version_and_hash_is_an_error(line: str) -> None:
    """Such a lock file locks nothing."""
    with pytest.raises(ReleaseError, match="make lock"):
        lockfile.read_lock(f"{line}\n")


def test_krew_gets_a_program_and_its_licence(project: Project) -> None:
    """The manifest names the file that the archive has, by its digest."""
    (project.tree / "x.pyz").write_bytes(b"#!/usr/bin/env python3\n")
    archive = krew.write_krew_archive(project, project.tree / "x.pyz", project.tree)
    entries = {e.name: (e.mode, e.content) for e in archives.read_tar_gz(archive)}
    assert entries == {
        "kubectl-genie": (0o755, b"#!/usr/bin/env python3\n"),
        "LICENSE": (0o644, b"the licence"),
    }

    manifest = krew.write_krew_manifest(project, archive, "https://x.test/v{version}")
    content = yaml.safe_load(manifest.read_text())
    assert "  description: |\n    CNI-Genie gives" in manifest.read_text()
    assert (content["kind"], content["metadata"]["name"]) == ("Plugin", "genie")
    assert content["spec"]["version"] == "v1.2.0"
    for platform in content["spec"]["platforms"]:
        assert platform["uri"] == "https://x.test/v1.2.0/kubectl-genie-1.2.0.tar.gz"
        assert platform["sha256"] == sums.sha256(archive)
        assert platform["bin"] == "kubectl-genie"
        assert set(platform["selector"]["matchLabels"]) == {"os", "arch"}


def test_the_zipapp_says_where_it_can_run(tmp_path: Path) -> None:
    """On a Python without libraries in it; with them, it starts."""
    assert "install the wheel with pipx" in preamble.problem(tmp_path)
    core = tmp_path / "pydantic_core"
    core.mkdir()
    suffix = EXTENSION_SUFFIXES[0]
    (core / f"_pydantic_core{suffix}").touch()
    assert preamble.problem(tmp_path) == ""


@pytest.mark.parametrize("digest", ["", "latest", "sha256:abc", "sha256:" + "g" * 64])
def test_a_digest_that_is_none_is_an_error(digest: str) -> None:
    """It would make an installation whose pods cannot start."""
    with pytest.raises(ReleaseError, match="is not a digest"):
        chart.check_digest(digest)


def test_a_base_image_is_pinned_by_its_digest() -> None:
    """Except for the one that this machine builds."""
    image.check_base(image.local_base())
    image.check_base("docker.io/library/python@sha256:" + "0" * 64)
    with pytest.raises(ReleaseError, match="may change"):
        image.check_base("docker.io/library/python:3.13-slim")


@pytest.mark.parametrize(
    ("repository", "name"),
    [
        ("cni-genie", "docker.io/library/cni-genie:1"),
        ("team/cni-genie", "docker.io/team/cni-genie:1"),
        ("registry.example.org/cni-genie", "registry.example.org/cni-genie:1"),
        ("localhost/cni-genie", "localhost/cni-genie:1"),
        ("host:5000/cni-genie", "host:5000/cni-genie:1"),
    ],
)
def test_an_image_is_called_as_nodes_call_it(repository: str, name: str) -> None:
    """A container runtime completes short names; an archive must have the whole name."""
    assert image.image_name(repository, "1") == name


def test_a_project_is_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time is that of the commit, unless SOURCE_DATE_EPOCH is set; changes are named.

    A new file is a change: it would be in the wheel and in the image. An ignored one is not.
    """
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "3.4.5"\n')
    identity = ["-c", "user.name=x", "-c", "user.email=x@x.test"]
    dated = {"GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z", "PATH": "/usr/bin:/bin"}
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", tmp_path, *words], check=True, env=dated)

    project = read_project(tmp_path)
    assert (project.version, len(project.revision)) == ("3.4.5", 40)
    assert project.created == dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    with pytest.raises(ReleaseError, match=r"no tag v3\.4\.5"):
        project.check_final()
    subprocess.run(["git", "-C", tmp_path, "tag", "v3.4.5"], check=True)
    read_project(tmp_path).check_final()

    (tmp_path / "new.py").touch()
    with pytest.raises(ReleaseError, match="new files that are not committed"):
        read_project(tmp_path).check_final()
    (tmp_path / ".gitignore").write_text("/new.py\n/.gitignore\n")
    read_project(tmp_path).check_final()

    monkeypatch.setenv("SOURCE_DATE_EPOCH", "7")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "3.4.6"\n')
    changed = read_project(tmp_path)
    assert (changed.revision, changed.epoch) == (f"{project.revision}-dirty", 7)
    with pytest.raises(ReleaseError, match="not committed"):
        changed.check_final()


def test_a_project_may_belong_to_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of a root who builds in somebody's clone. The variable is of git's own tests."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert len(read_project(PROJECT).revision.removesuffix("-dirty")) == 40
