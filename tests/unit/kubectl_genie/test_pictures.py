"""The pictures of the pages show what the commands print."""

from __future__ import annotations

import re

import pytest

from tests import pictures


@pytest.mark.parametrize("picture", pictures.ALL, ids=lambda picture: picture.name)
def test_a_picture_is_what_the_command_prints(picture: pictures.Picture) -> None:
    """If not, ``python -m tests.pictures`` draws it again."""
    svg = (pictures.PICTURES / f"{picture.name}.svg").read_text()
    assert svg == pictures.draw(picture)


def test_a_picture_has_colours_and_loads_nothing() -> None:
    """A font from another host would tell that host who reads the pages."""
    svg = pictures.draw(pictures.Picture("status", ("status",)))
    assert "warning" in svg
    assert len(set(re.findall(r"fill: (#[0-9a-f]{6})", svg))) >= 3
    assert "url(http" not in svg


def test_every_picture_is_on_a_page_and_drawn_by_the_script() -> None:
    """No file is left of a picture that is gone."""
    drawn = {f"{picture.name}.svg" for picture in pictures.ALL}
    assert {file.name for file in pictures.PICTURES.iterdir()} == drawn
    pages = "".join(page.read_text() for page in (pictures.TREE / "docs").glob("*.md"))
    assert all(f"(pictures/{name})" in pages for name in drawn)
