"""Fixtures: the image's folder for nodes, built from this tree as the Dockerfile does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import predecessor as of_history
from tests.node.installed import image

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def payload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder /opt/genie/plugin of the image, with Debian's interpreter."""
    return image.make(tmp_path_factory.mktemp("payload") / "plugin", image.DEBIAN)


@pytest.fixture(scope="session")
def payloads(payload: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return that folder and another one with the interpreter of the tests, as for a new image."""
    own = image.make(tmp_path_factory.mktemp("payload") / "plugin", image.OWN)
    return payload, own


@pytest.fixture(scope="session")
def previous_payload(predecessor: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same folder of the predecessor's image."""
    target = tmp_path_factory.mktemp("payload") / "plugin"
    return image.make(target, image.DEBIAN, predecessor, of_history.PAYLOAD)
