"""A hook of mkdocs: the header and title of each page name the version that the pages describe.

Each release publishes its own ``build/site`` under a path of its own, so that the pages of older
versions stay readable.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from release.notes import read_sections

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

TREE = Path(__file__).parents[1]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the version to the site's name; mkdocs calls it."""
    config.site_name += f" {described_version(TREE)}"
    return config


def described_version(tree: Path) -> str:
    """Return the version of the sources in *tree*, and whether it is not released yet."""
    version: str = tomllib.loads((tree / "pyproject.toml").read_text())["project"]["version"]
    is_released = version in read_sections((tree / "CHANGELOG.md").read_text())
    return version if is_released else f"{version} (not released yet)"
