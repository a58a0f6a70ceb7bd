"""Cut the release notes of one version from CHANGELOG.md."""

from __future__ import annotations

import re

from release.project import ReleaseError

UNRELEASED = "Unreleased"


def release_notes(changelog: str, version: str, *, final: bool) -> str:
    """Return the section of *version*; before there is one, that of what is not released yet.

    With *final*, only the section of the version will do. Raises ReleaseError if it is missing or
    empty.
    """
    sections = read_sections(changelog)
    name = version if final or version in sections else UNRELEASED
    text = sections.get(name, "")
    if not text:
        raise ReleaseError(
            f'CHANGELOG.md has no changes under "## {name}": rename "## {UNRELEASED}" to it'
        )
    title = f"# CNI-Genie {version}"
    return f"{title}{'' if name == version else ' (not released yet)'}\n\n{text}\n"


def read_sections(changelog: str) -> dict[str, str]:
    """Return the text of each section ``## VERSION`` or ``## VERSION - DATE``, by version."""
    parts = re.split(r"^## +(.*?) *$", changelog, flags=re.MULTILINE)
    return {
        title.partition(" ")[0].strip("[]"): text.strip()
        for title, text in zip(parts[1::2], parts[2::2], strict=True)
    }
