"""The table of docs/architecture.md, from a change to its files, names files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TREE = Path(__file__).parents[3]
PAGE = (TREE / "docs" / "architecture.md").read_text()
SECTION = PAGE.partition("## I want to change …\n")[2].partition("\n## ")[0]
ROWS = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", SECTION, re.MULTILINE)[1:]
PATH = re.compile(r"`([\w./-]*(?:/|\.(?:py|ya?ml|md|toml))|Dockerfile)`")


def test_the_table_is_found() -> None:
    """A change of the page's form does not leave this file without anything to check."""
    assert len(ROWS) >= 25


@pytest.mark.parametrize(("places", "tests"), [row[1:] for row in ROWS], ids=[r[0] for r in ROWS])
def test_a_row_names_files_that_exist_and_a_test_to_run(places: str, tests: str) -> None:
    """A module that is moved or renamed takes its row along."""
    files, commands = PATH.findall(places), PATH.findall(tests)
    assert files
    assert commands
    assert all(test.startswith("tests/") for test in commands)
    assert [path for path in files + commands if not (TREE / path).exists()] == []
