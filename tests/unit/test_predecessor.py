"""The predecessor: the version before this one, for the tests of upgrades."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import predecessor
from tests.predecessor import NoPredecessorError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_error_of_a_shallow_clone_says_how_to_fetch_the_history(tmp_path: Path) -> None:
    """Tests that need the predecessor fail with it; none is skipped."""
    with pytest.raises(NoPredecessorError, match=r"commit f{40}, .*git fetch --unshallow"):
        predecessor.export(tmp_path / "tree", "f" * 40)
    assert not (tmp_path / "tree").exists()
