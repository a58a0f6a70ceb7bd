"""``make release`` refuses what it cannot build or must not publish, before it changes anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from release import __main__ as release
from release.image import image_labels
from release.project import Project

if TYPE_CHECKING:
    from pathlib import Path

BASE = "docker.io/library/python@sha256:" + "1" * 64
DIGEST = "sha256:" + "2" * 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            ["--base-image", "python:3.13"],
            'error: BASE_IMAGE: "python:3.13" may change: write NAME@sha256:…',
            id="a base image that is not pinned",
        ),
        pytest.param(
            ["--base-image", BASE, "--digest", "latest"],
            'error: DIGEST: "latest" is not a digest',
            id="no digest",
        ),
        pytest.param(
            ["--final", "--digest", DIGEST],
            "error: FINAL: BASE_IMAGE, DOWNLOADS must be set",
            id="a release without what users need",
        ),
        pytest.param(
            ["--final", "--digest", DIGEST, "--base-image", BASE, "--downloads", "https://x.test"],
            'error: CHANGELOG.md has no changes under "## 9.9.9"',
            id="a release without notes",
        ),
    ],
)
def test_it_ends_with_1_and_the_former_files_stay(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The message names the argument and the fix."""
    (tmp_path / "CHANGELOG.md").write_text("## Unreleased\n\n- Something.\n")
    project = Project(tmp_path, "9.9.9", "abc", 1_700_000_000, ("v9.9.9",))
    monkeypatch.setattr(release, "read_project", lambda _tree: project)
    former = tmp_path / "dist" / "SHA256SUMS"
    former.parent.mkdir()
    former.touch()
    assert release.main([*arguments, "--output", str(former.parent)]) == 1
    assert capsys.readouterr().err.startswith(message)
    assert former.exists()


def check(tree: Path, monkeypatch: pytest.MonkeyPatch, *tags: str) -> int:
    """Check a commit with these tags; return the exit code."""
    project = Project(tree, "9.9.9", "abc", 1_700_000_000, tags)
    monkeypatch.setattr(release, "read_project", lambda _tree: project)
    return release.main(["--check", "--output", str(tree / "dist")])


def test_a_commit_is_checked_before_anything_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The workflow compares the tag that is printed with the one that was pushed."""
    (tmp_path / "CHANGELOG.md").write_text("## Unreleased\n\n- Something.\n")
    assert check(tmp_path, monkeypatch) == 1
    assert "has no tag v9.9.9" in capsys.readouterr().err
    assert check(tmp_path, monkeypatch, "v9.9.9") == 1
    assert 'no changes under "## 9.9.9"' in capsys.readouterr().err

    (tmp_path / "CHANGELOG.md").write_text("## 9.9.9 - 2026-01-01\n\n- Something.\n")
    assert check(tmp_path, monkeypatch, "v9.9.9", "v9.9.10") == 0
    assert capsys.readouterr() == ("v9.9.9\n", "")
    assert not (tmp_path / "dist").exists()


def test_its_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """As `make release` takes them."""
    with pytest.raises(SystemExit, match="0"):
        release.main(["--help"])
    assert "make release IMAGE=registry.example.org/cni-genie DIGEST=" in capsys.readouterr().out


def test_an_image_is_labelled_with_its_commit_and_base(tmp_path: Path) -> None:
    """By the names that the OCI defines, with the time of the commit."""
    prefix = "org.opencontainers.image"
    assert image_labels(Project(tmp_path, "1.2.0", "abc", 0), BASE) == {
        f"{prefix}.version": "1.2.0",
        f"{prefix}.revision": "abc",
        f"{prefix}.created": "1970-01-01T00:00:00Z",
        f"{prefix}.base.name": BASE,
    }
