"""The version before this one, as tests of upgrades get it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import predecessor
from tests.predecessor import NoPredecessorError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_clone_without_the_history_is_told_what_it_lacks(tmp_path: Path) -> None:
    """The tests that need it fail with that sentence; none is left out in silence."""
    with pytest.raises(NoPredecessorError, match=r"commit f{40}, .*git fetch --unshallow"):
        predecessor.export(tmp_path / "tree", "f" * 40)
    assert not (tmp_path / "tree").exists()
