"""docs/performance.md: its summary has the figures of its tables."""

from __future__ import annotations

import pytest

from tests.bench import page, summary

TABLE = """\
<!-- boot figures: begin -->
| ADDs at once | by | slowest pod |
|---|---|---|
| 32 | direct calls | 181 |
| 32 | Genie | 310 |

- 2 processors.
<!-- boot figures: end -->
<!-- soak figures: begin -->
Not measured yet.
<!-- soak figures: end -->
"""


def test_the_summary_repeats_the_tables_of_the_page() -> None:
    """A benchmark writes both."""
    text = page.PAGE.read_text()
    assert page.part(text, "summary") == f"{page.summary_of(text)}\n"


def test_the_chart_of_the_summary_is_drawn_from_the_tables_of_the_page() -> None:
    """Each bar is as long as the first number of its cell says."""
    drawn = summary.chart(page.bars(page.PAGE.read_text()))
    assert (page.DOCS / summary.CHART).read_text() == drawn


def test_a_group_of_bars_leaves_out_what_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chart with a bar of no length would state a figure that nobody measured."""
    measured = summary.Bars("Boot", {"Genie": "boot > 32 > Genie > slowest pod"})
    waiting = summary.Bars("Soak", {"Genie": "soak > all > pods"})
    monkeypatch.setattr(summary, "GROUPS", [measured, waiting])
    assert page.bars(TABLE) == [("Boot", {"Genie": 310.0})]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        pytest.param("{boot > 32 > Genie > slowest pod} ms", "310 ms", id="a row by two cells"),
        pytest.param("{soak > all > pods}", "?", id="a section that was not measured"),
    ],
)
def test_a_reference_names_a_cell(
    monkeypatch: pytest.MonkeyPatch, template: str, text: str
) -> None:
    """The benchmark, the first cells of the row, and the column."""
    monkeypatch.setattr(summary, "TEXT", template)
    assert page.summary_of(TABLE) == text


@pytest.mark.parametrize("reference", ["boot > 64 > slowest pod", "boot > 32 > Genie > seconds"])
def test_a_reference_to_no_cell_is_an_error(
    monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    """A benchmark that renames a row or a column does not leave a figure behind."""
    monkeypatch.setattr(summary, "TEXT", f"{{{reference}}}")
    with pytest.raises(ValueError, match="has the cell"):
        page.summary_of(TABLE)
