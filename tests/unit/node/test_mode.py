from __future__ import annotations

import pytest

from dispatcher.node.mode import Mode


@pytest.mark.parametrize(
    ("mode", "offers_choice", "is_leaving", "is_forced"),
    [
        ("install", True, False, False),
        ("disable", False, False, False),
        ("remove", False, True, False),
        ("remove --force", False, True, True),
    ],
)
def test_each_mode_takes_one_step_more_than_the_one_before(
    mode: str, *, offers_choice: bool, is_leaving: bool, is_forced: bool
) -> None:
    """The values are those of the setting."""
    subject = Mode(mode)
    properties = (subject.offers_choice, subject.is_leaving, subject.is_forced)
    assert properties == (offers_choice, is_leaving, is_forced)
    assert str(subject) == mode
