"""Replay transcripts: Markdown files with commands and their output.

Each section (``## a sentence``) is one test. Its ```yaml block is a manifest. Its ```console block
has commands after ``$ ``, each followed by its output, stdout before stderr. A command that ends in
``-f -`` gets the manifest as its input.

With GENIE_REWRITE=1 the actual output is written into the file: review the diff.
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
    """One section: its title, manifests, and commands with their expected output."""

    title: str
    text: str
    manifests: list[str] = field(default_factory=list)
    commands: list[tuple[str, str]] = field(default_factory=list)


def sections(path: Path) -> list[Section]:
    """Return the sections of the transcript at *path*."""
    parts = _SECTION.split(path.read_text())[1:]
    result = []
    for title, text in zip(parts[::2], parts[1::2], strict=True):
        one = Section(title, text)
        for kind, block in _BLOCK.findall(text):
            if kind == "yaml":
                one.manifests.append(block)
            else:
                one.commands += _commands(block)
        result.append(one)
    return result


def _commands(block: str) -> list[tuple[str, str]]:
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def replay(section: Section, environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """Run the commands of *section*; return each with its actual output."""
    manifest = "---\n".join(section.manifests)
    return [(command, _run(command, manifest, environment)) for command, _ in section.commands]


def _run(command: str, manifest: str, environment: Mapping[str, str]) -> str:
    result = subprocess.run(
        ["bash", "-c", command],
        input=manifest if command.endswith("-f -") else "",
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
        timeout=120,
    )
    printed = result.stdout + result.stderr
    return printed if not printed or printed.endswith("\n") else f"{printed}\n"


def rewrite(path: Path, section: Section, printed: list[tuple[str, str]]) -> None:
    """Replace the expected output in the file by the actual one."""
    block = "".join(f"$ {command}\n{text}" for command, text in printed)
    consoles = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
    changed = consoles.sub(lambda _: block, section.text, count=1)
    path.write_text(path.read_text().replace(section.text, changed, 1))


def add(path: Path, title: str, printed: list[tuple[str, str]]) -> None:
    """Append a section; a person must still complete its text."""
    block = "".join(f"$ {command}\n{text}" for command, text in printed)
    old = path.read_text().rstrip("\n")
    path.write_text(
        f"{old}\n\n## {title}\n\nNot available without webhook pods: ?\n\n```console\n{block}```\n"
    )
