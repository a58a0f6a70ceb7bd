from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.plugin.definitions.rig import DefinitionRig

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def rig(tmp_path: Path) -> DefinitionRig:
    """Return a node with the networks weave and canal, and the definitions ns/blue and ns/red."""
    return DefinitionRig(tmp_path)
