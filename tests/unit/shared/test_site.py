"""The pages of docs/ build as a site: each is in the navigation, each link leads somewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from release.site import described_version

TREE = Path(__file__).parents[3]


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """As `make docs`. Its anchors differ from GitHub's, which test_links.py checks: both count."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir"]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(
        [*command, tmp_path], cwd=TREE, env=env, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    start = (tmp_path / "index.html").read_text()
    assert "did you mean" in start
    assert f"Genie {described_version(TREE)}" in start


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
