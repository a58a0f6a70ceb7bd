"""The slope of memory over several processes, of which each starts at its own size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.soak import GENIE, slope, targets

HEIGHTS = st.lists(st.floats(0, 200), min_size=1, max_size=5)


@given(heights=HEIGHTS, per_hour=st.floats(-50, 50))
def test_the_slope_is_the_growth_of_each_process_whatever_its_size(
    heights: list[float], per_hour: float
) -> None:
    """A process that starts larger than the one before it is no growth."""
    lines = [
        [(at, height + per_hour * at / 3600) for at in (60.0, 75.0, 300.0)] for height in heights
    ]
    assert slope(lines) == pytest.approx(per_hour, abs=1e-6)


@pytest.mark.parametrize("lines", [[], [[]], [[(60.0, 30.0)], [(61.0, 35.0)]]])
def test_one_sample_of_each_process_shows_no_slope(lines: list[list[tuple[float, float]]]) -> None:
    """Two processes are never compared with each other."""
    assert slope(lines) == 0.0


@pytest.mark.parametrize(
    ("share", "is_spared"), [(0, False), (0.24, False), (0.26, True), (0.6, False), (0.8, True)]
)
def test_genies_processes_are_spared_in_two_quarters(share: float, *, is_spared: bool) -> None:
    """Otherwise none would live long enough to show whether its memory grows."""
    assert set(GENIE).isdisjoint(targets(share)) is is_spared
    assert "containerd" in targets(share)
