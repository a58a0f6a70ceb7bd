"""The fuzz target, driven by hypothesis: bytes, and calls that nearly make sense."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.plugin.fuzz import SEED, SEQUENCES, Target
from tests.unit.plugin.fuzz_calls import calls

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("commands", SEQUENCES, ids="-".join)
def test_the_fuzzer_starts_from_calls_that_succeed(
    tmp_path: Path, commands: tuple[str, ...]
) -> None:
    """Every command succeeds with the seed."""
    target = Target(tmp_path)
    target(bytes([SEQUENCES.index(commands)]) + SEED[1:])
    assert target.succeeded == set(commands) - {"add", ""} - ({"CHECK"} & set(commands[:1]))


def test_no_bytes_break_the_plugin(tmp_path: Path) -> None:
    """Standard output is empty or exactly one object, and no other file is touched."""
    target = Target(tmp_path)

    @settings(max_examples=400)
    @given(calls() | st.binary(max_size=120))
    def holds(data: bytes) -> None:
        target(data)

    holds()
    assert target.succeeded == {"ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION"}
