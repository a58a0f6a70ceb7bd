from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.plugin.rig import Rig

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Return a node with the networks weave and canal."""
    return Rig(tmp_path)
