"""Fixtures: the plugin, built once, and a new node for each test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.devcluster import machine
from tests.devcluster.build import gobuild
from tests.node.harness import Node

if TYPE_CHECKING:
    from collections.abc import Iterator

_TREE = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def plugins() -> Path:
    """Return the folder with the real CNI plugins."""
    if os.geteuid() != 0:
        pytest.fail("these tests make network namespaces: run them as root (sudo make node)")
    machine.extend_path()
    return gobuild.build(gobuild.CNI_PLUGINS)


@pytest.fixture(scope="session")
def cnitool(plugins: Path) -> Path:
    """Return the real cnitool, which calls plugins through libcni."""
    assert plugins.is_dir()
    return gobuild.build(gobuild.CNITOOL) / "cnitool"


@pytest.fixture(scope="session")
def genie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the launcher of the plugin, built from this tree as for a node."""
    target = tmp_path_factory.mktemp("genie")
    command = [sys.executable, "-m", "dispatcher.build.bundle", str(target)]
    subprocess.run(command, cwd=_TREE, check=True, capture_output=True)
    return target / "genie"


@pytest.fixture
def node(tmp_path: Path, genie: Path, plugins: Path) -> Iterator[Node]:
    """Yield a node with two networks, weave (the default) and canal."""
    with Node(tmp_path, genie, plugins) as new:
        new.bridge("weave", "10.32.0.0/16")
        new.bridge("canal", "10.244.0.0/16")
        yield new
