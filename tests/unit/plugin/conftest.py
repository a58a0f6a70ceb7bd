from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.unit.plugin.rig import Rig

if TYPE_CHECKING:
    from pathlib import Path


# The machine may be busy with other things: an example that was slow once is no failure.
settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Return a node with the networks weave and canal."""
    return Rig(tmp_path)
