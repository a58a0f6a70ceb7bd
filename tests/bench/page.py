"""Write a benchmark's part of docs/performance.md, between its two markers."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "performance.md"


def show(benchmark: str, figures: str) -> None:
    """Replace the part of the page that belongs to *benchmark* by *figures*, in Markdown.

    Raises ValueError for a page without its markers, which is then left as it is.
    """
    begin, end = (f"<!-- {benchmark} figures: {mark} -->\n" for mark in ("begin", "end"))
    text = PAGE.read_text()
    start = text.index(begin) + len(begin)
    PAGE.write_text(f"{text[:start]}{figures}\n{text[text.index(end, start) :]}")
