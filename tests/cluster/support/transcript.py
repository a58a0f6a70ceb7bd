"""What a person types and sees, kept in files that are read in review and replayed by tests.

A transcript is Markdown. Each section (``## a sentence``) is one test: its ```yaml block is a
manifest, its ```console block has commands after ``$ ``, each followed by all that it printed,
stdout before stderr. Manifests are handed to a command that ends in ``-f -``.

GENIE_REWRITE=1 writes what was really printed back into the file: look at the diff.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Section:
    """One section: a sentence, manifests, and commands with what they print."""

    title: str
    text: str
    manifests: list[str] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)


def sections(path: Path) -> list[Section]:
    """Return the sections of the transcript at *path*."""
    parts = _SECTION.split(path.read_text())[1:]
    found = []
    for title, text in zip(parts[::2], parts[1::2], strict=True):
        one = Section(title, text)
        for kind, block in _BLOCK.findall(text):
            if kind == "yaml":
                one.manifests.append(block)
            else:
                one.commands += _commands(block)
        found.append(one)
    return found


def _commands(block: str) -> list[tuple[str, str]]:
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def replay(section: Section, environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Run the commands of *section*; returns each with what it printed now."""
    manifest = "---\n".join(section.manifests)
    return [(command, _run(command, manifest, environment)) for command, _ in section.commands]


def _run(command: str, manifest: str, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        input=manifest if command.endswith("-f -") else "",
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
        timeout=120,
    )
    printed = done.stdout + done.stderr
    return printed if not printed or printed.endswith("\n") else f"{printed}\n"


def rewrite(path: Path, section: Section, printed: list[tuple[str, str]]) -> None:
    """Put what was printed into the file."""
    block = "".join(f"$ {command}\n{text}" for command, text in printed)
    consoles = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
    changed = consoles.sub(lambda _: block, section.text, count=1)
    path.write_text(path.read_text().replace(section.text, changed, 1))


def add(path: Path, title: str, printed: list[tuple[str, str]]) -> None:
    """Put a new section at the end of the file, whose sentence a person has still to write."""
    block = "".join(f"$ {command}\n{text}" for command, text in printed)
    old = path.read_text().rstrip("\n")
    path.write_text(f"{old}\n\n## {title}\n\nLost: ?\n\n```console\n{block}```\n")
