"""A line that the linter or the type checker must not judge says why."""

from __future__ import annotations

import re
from pathlib import Path

TREE = Path(__file__).parents[3]
SOURCES = ("certs", "cli", "dispatcher", "lifecycle", "release", "tests", "webhook")
REASON = re.compile(r"# noqa: [A-Z]+\d+(, [A-Z]+\d+)* - \S")


def test_every_suppression_has_its_reason() -> None:
    """On the same line: a rule that is only in the way is switched off in pyproject.toml."""
    suppressions = [
        (str(file.relative_to(TREE)), number, line)
        for source in SOURCES
        for file in sorted((TREE / source).rglob("*.py"))
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if "# noqa:" in line and file != Path(__file__)
    ]
    assert len(suppressions) > 100
    assert [each for each in suppressions if not REASON.search(each[2])] == []
