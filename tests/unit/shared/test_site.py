"""The pages of docs/ build as a site: each is in the navigation, each link leads somewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TREE = Path(__file__).parents[3]


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """As `make docs`. Its anchors differ from GitHub's, which test_links.py checks: both count."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir"]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [*command, tmp_path], cwd=TREE, env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "did you mean" in (tmp_path / "index.html").read_text()
