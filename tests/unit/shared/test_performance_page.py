"""docs/performance.md: its summary has the figures of its tables."""

from __future__ import annotations

import pytest

from tests.bench import page

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
    assert page.part(text, "summary") == f"{page.summary(text)}\n"


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
    monkeypatch.setattr(page, "TEMPLATE", template)
    assert page.summary(TABLE) == text


@pytest.mark.parametrize("reference", ["boot > 64 > slowest pod", "boot > 32 > Genie > seconds"])
def test_a_reference_to_no_cell_is_an_error(
    monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    """A benchmark that renames a row or a column does not leave a figure behind."""
    monkeypatch.setattr(page, "TEMPLATE", f"{{{reference}}}")
    with pytest.raises(ValueError, match="has the cell"):
        page.summary(TABLE)
