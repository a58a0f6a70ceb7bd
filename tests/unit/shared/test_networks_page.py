"""The table of docs/networks.md says of each plugin what the rules in the code say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dispatcher.plugin_rules import LIMITED, ONCE_PER_POD, PRIMARY_ONLY

PAGE = (Path(__file__).parents[3] / "docs" / "networks.md").read_text()
ROWS = re.findall(
    r"^\| (\w[^|]*) \| `([a-z-]+)` \| [^|]+ \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE
)


def test_every_plugin_with_a_rule_is_in_the_table() -> None:
    """A rule that is added to the code needs a row, and a table of another form fails here."""
    assert {plugin for _, plugin, _, _ in ROWS} >= LIMITED


@pytest.mark.parametrize(
    ("plugin", "secondary", "twice"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_a_row_says_no_where_the_code_refuses_or_warns(
    plugin: str, secondary: str, twice: str
) -> None:
    """And nowhere else."""
    assert says_no(secondary) == (plugin in PRIMARY_ONLY)
    assert says_no(twice) == (plugin in ONCE_PER_POD)


def says_no(cell: str) -> bool:
    return re.fullmatch("no([:,].*)?", cell) is not None
