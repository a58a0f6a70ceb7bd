"""docs/performance.md: each benchmark owns the part between its two markers, people the rest."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "performance.md"


def show(benchmark: str, figures: str) -> None:
    """Put *figures*, in Markdown, into the part of the page that belongs to *benchmark*.

    Raises ValueError for a page without its markers, which is then left as it is.
    """
    begin, end = (f"<!-- {benchmark} figures: {mark} -->\n" for mark in ("begin", "end"))
    text = PAGE.read_text()
    start = text.index(begin) + len(begin)
    PAGE.write_text(f"{text[:start]}{figures}\n{text[text.index(end, start) :]}")
