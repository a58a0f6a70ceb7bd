"""What all tests share: how properties are tested, and the version before this one.

Properties are tested with the same examples each time, so that a failure is the change's.

``pytest --hypothesis-profile=search`` looks for new ones. No example has a deadline: the machine
may be busy with other things.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests import predecessor as of_history

if TYPE_CHECKING:
    from pathlib import Path

settings.register_profile("search", deadline=None)
settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def predecessor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the tree of the version before this one; a clone without its history has none."""
    return of_history.export(tmp_path_factory.mktemp("predecessor") / "tree")
