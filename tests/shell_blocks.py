"""The shell commands of the pages in docs/: blocks that a test runs, and blocks that none runs.

A block with the language ``sh`` is run by tests/cluster/test_pages.py, page by page, or by the
test of its page (:data:`OWN_TESTS`). A block with a title, which readers see, is not: ``sh
title="not run here"``, since it needs a registry, a broken pod or a tool that is not here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
NOT_RUN = 'title="not run here"'
OWN_TESTS = {"from-multus.md": "tests/cluster/test_from_multus.py"}
"""Pages whose commands need a cluster of their own, and the test that runs them there."""
_BLOCK = re.compile(r"^([ ]*)```[ ]*(.*?)\n(.*?)^\1```[ ]*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: what follows the fence (language and title), and the text."""

    info: str
    text: str


_INDENTED = re.compile(
    r"^ {4,}(?:[$#] |sudo |)(?:docker|genie|helm|kubectl|make|python|scp)\b.*", re.MULTILINE
)


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page's text."""
    return [Block(info.strip(), text) for _, info, text in _BLOCK.findall(page)]


def to_run(page: str) -> list[str]:
    """Return the shell blocks of a page that a test runs, in their order."""
    return [block.text for block in blocks(page) if block.info == "sh"]


def indented_commands(page: str) -> list[str]:
    """Return commands in indented blocks, which have neither language nor title."""
    return [each.strip() for each in _INDENTED.findall(_BLOCK.sub("", page))]


def pages_with_commands() -> list[Path]:
    """Return the pages of docs/ that have a block to run on the cluster that tests share."""
    pages = (page for page in sorted(DOCS.rglob("*.md")) if page.name not in OWN_TESTS)
    return [page for page in pages if to_run(page.read_text())]


def section(page: str, title: str) -> str:
    """Return the text of a page below the heading *title*, up to the next heading of its level."""
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
