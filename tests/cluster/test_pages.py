"""The commands of the pages in docs/ work: each page's blocks run in one shell, in their order."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.cluster.support.pods import ending_pods
from tests.devcluster.build.imagebuild import PROJECT
from tests.devcluster.commands import run
from tests.devcluster.genie import NAMESPACE
from tests.shell_blocks import DOCS, pages_with_commands, to_run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.devcluster.cluster import Cluster

_SECONDS = 120.0  # for a block; only a guard


@pytest.fixture(scope="module", autouse=True)
def settled(cluster: Cluster) -> None:
    """Wait until the pods of earlier tests' rollouts are gone: commands for all pods find them."""
    cluster.wait_for(
        lambda: not ending_pods(cluster, "-n", NAMESPACE),
        120,
        "the pods of earlier rollouts to end",
    )


@pytest.mark.parametrize(
    "page", pages_with_commands(), ids=lambda page: str(page.relative_to(DOCS))
)
def test_the_commands_of_a_page_work(cluster: Cluster, page: Path) -> None:
    """No command of the page fails."""
    env = {**cluster.environment, "PATH": f"{cluster.layout.bin}:{os.environ['PATH']}"}
    for block in to_run(page.read_text()):
        result = run(
            ["bash", "-euo", "pipefail", "-c", block],
            env=env,
            cwd=PROJECT,
            check=False,
            timeout=_SECONDS,
        )
        assert result.returncode == 0, f"{block}\n{result.stdout}{result.stderr}"
