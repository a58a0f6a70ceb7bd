"""Each shell command in a fenced block of a page is run by a test, or says that it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.shell_blocks import (
    DOCS,
    NOT_RUN,
    Block,
    blocks,
    indented_commands,
    pages_with_commands,
    to_run,
)

if TYPE_CHECKING:
    from pathlib import Path

LANGUAGES = {"console", "hcl", "json", "mermaid", "yaml"}
"""Languages of blocks that are no commands; ``console`` shows output."""

PAGES = sorted(DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_a_block_is_run_or_says_that_it_is_not(page: Path) -> None:
    """A block without a language could hide commands, and so could an indented one."""
    allowed = LANGUAGES | {"sh", f"sh {NOT_RUN}"}
    text = page.read_text()
    assert [block for block in blocks(text) if block.info not in allowed] == []
    assert indented_commands(text) == []


def test_blocks_are_taken_out_of_their_indentation_and_order() -> None:
    """A block in a list counts, with its own fence."""
    in_list = '- b\n\n  ```sh title="not run here"\n  two\n  ```\n'
    page = f"a\n```sh\none\n```\n{in_list}```yaml\na: b\n```\n"
    assert blocks(page) == [
        Block("sh", "one\n"),
        Block(f"sh {NOT_RUN}", "  two\n"),
        Block("yaml", "a: b\n"),
    ]
    assert to_run(page) == ["one\n"]


def test_an_indented_command_is_seen() -> None:
    """Also in a list; a sentence that begins with the name of a program is none."""
    assert indented_commands(
        "a\n\n    # kubectl get nodes\n\n1. b\n\n       x=1\n       make x\n"
    ) == [
        "# kubectl get nodes",
        "make x",
    ]
    assert indented_commands("a\n\n- kubectl shows it\n  kubectl too\n") == []


def test_pages_have_commands_to_run() -> None:
    """The live test would pass without any."""
    assert {page.name for page in pages_with_commands()} >= {"ci.md", "troubleshooting.md"}
