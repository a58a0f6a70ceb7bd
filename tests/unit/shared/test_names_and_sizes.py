"""One meaning for each class name of the product, and test files that a reader can survey."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

TREE = Path(__file__).parents[3]
PRODUCT = ("certs", "cli", "dispatcher", "lifecycle", "release", "webhook")
MOST_LINES = 500


def test_a_class_name_has_one_meaning() -> None:
    """Private names are their module's own."""
    names = Counter(
        node.name
        for package in PRODUCT
        for file in (TREE / package).rglob("*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_no_file_of_tests_is_longer_than_a_reader_can_survey() -> None:
    """500 lines at most: a longer one is split by its subjects."""
    sizes = {file: len(file.read_text().splitlines()) for file in (TREE / "tests").rglob("*.py")}
    assert [str(file) for file, size in sizes.items() if size > MOST_LINES] == []
