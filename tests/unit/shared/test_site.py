"""The pages of docs/ build as a site: each is in the navigation, each link leads somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from release.site import described_version

TREE = Path(__file__).parents[3]


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build the pages of the file *config* into the directory *site*, as `make docs` does."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    paths = ["--config-file", str(config), "--site-dir", str(site)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run([*command, *paths], env=env, capture_output=True, text=True, check=False)


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Its anchors differ from GitHub's, which test_links.py checks: both count."""
    result = build(TREE / "mkdocs.yaml", tmp_path)
    assert result.returncode == 0, result.stderr
    start = (tmp_path / "index.html").read_text()
    assert "did you mean" in start
    assert f"Genie {described_version(TREE)}" in start


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        pytest.param("[a link](missing.md)", "'missing.md'", id="a broken link"),
        pytest.param("[a link](#missing)", "'#missing'", id="a missing anchor"),
        pytest.param("no link", 'not included in the "nav"', id="an unlisted page"),
    ],
)
def test_the_site_does_not_build_with(tmp_path: Path, text: str, warning: str) -> None:
    """Otherwise the test above, and `make docs`, would pass with any page."""
    options = (TREE / "mkdocs.yaml").read_text().partition("\nnav:\n")[0]
    options = options.replace("release/site.py", str(TREE / "release/site.py"))
    (tmp_path / "mkdocs.yaml").write_text(f"{options}\nnav:\n- Start: index.md\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# Start\n\n{text}\n")
    if "nav" in warning:
        (tmp_path / "docs" / "unlisted.md").write_text("# Unlisted\n")

    result = build(tmp_path / "mkdocs.yaml", tmp_path / "site")
    assert result.returncode == 1
    assert warning in " ".join(result.stderr.split())


def test_make_docs_builds_as_these_tests_do() -> None:
    """--quiet hides warnings from --strict, too."""
    [command] = [
        line for line in (TREE / "Makefile").read_text().splitlines() if "mkdocs build" in line
    ]
    assert re.findall(r"--\w+", command) == ["--strict"]


@pytest.mark.parametrize(
    ("section", "version"),
    [
        pytest.param("1.2.0 - 2026-12-01", "1.2.0", id="released"),
        pytest.param("Unreleased", "1.2.0 (not released yet)", id="not released"),
    ],
)
def test_pages_name_their_version(tmp_path: Path, section: str, version: str) -> None:
    """A reader of the pages of another version must notice."""
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## {section}\n\n- One.\n")
    assert described_version(tmp_path) == version
