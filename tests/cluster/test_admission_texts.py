"""The texts that people see, word by word, on a real API server: see transcripts/*.md."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cluster.admission import SPACES, node, own_cluster, scale, spaces
from tests.cluster.outside_webhook import apply_folder, running_webhook
from tests.cluster.transcript import Section, replay, rewrite, sections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster

TRANSCRIPTS = Path(__file__).parent / "transcripts"
REWRITE = bool(os.environ.get("GENIE_REWRITE"))


@pytest.fixture(scope="module")
def with_webhook(cluster: Cluster) -> Iterator[Cluster]:
    """Give the cluster with the transcripts' namespaces, and a network that no node has now."""
    cluster.kubectl("label", "node", "node1", "network.cni-genie.io/flannel=false", "--overwrite")
    with spaces(cluster, SPACES):
        yield cluster
    cluster.kubectl("label", "node", "node1", "network.cni-genie.io/flannel-")


@pytest.fixture(scope="module")
def with_webhook_down(with_webhook: Cluster) -> Iterator[Cluster]:
    """Give the same cluster with the webhook scaled to zero."""
    scale(with_webhook, 0)
    yield with_webhook
    scale(with_webhook, 2)


@pytest.fixture(scope="module")
def with_oldest_api_server() -> Iterator[Cluster]:
    """Give a cluster of the oldest API server that is supported; the webhook runs outside it."""
    with own_cluster("oldest", api_server="oldest") as cluster:
        cluster.apply(node("node1"))
        with running_webhook(cluster), spaces(cluster, SPACES, force=True):
            yield cluster


@pytest.fixture(scope="module")
def with_policies_alone() -> Iterator[Cluster]:
    """Give a cluster with the overlay that needs no webhook."""
    with own_cluster("policies") as cluster:
        cluster.apply(node("node1"))
        apply_folder(cluster, "overlays/without-webhook")
        with spaces(cluster, SPACES, force=True):
            yield cluster


def check(cluster: Cluster, path: Path, section: Section) -> None:
    environment = {
        **cluster.environment,
        "PATH": f"{cluster.layout.bin}:{os.environ['PATH']}",
        "KUBECTL_EXTERNAL_DIFF": "diff --unified=0",
    }
    printed = replay(section, environment)
    if REWRITE:
        rewrite(path, section, printed)
        return
    assert printed == section.commands


def transcript(name: str) -> pytest.MarkDecorator:
    """Run a test once for each section of a transcript."""
    path = TRANSCRIPTS / name
    found = [pytest.param(path, section, id=section.title) for section in sections(path)]
    return pytest.mark.parametrize(("path", "section"), found)


@transcript("webhook.md")
def test_while_the_webhook_runs(with_webhook: Cluster, path: Path, section: Section) -> None:
    """Each section is what a person typed and saw."""
    check(with_webhook, path, section)


@transcript("down.md")
def test_while_no_webhook_runs(with_webhook_down: Cluster, path: Path, section: Section) -> None:
    """Nothing is in the way but the policies, and these say what is missing."""
    check(with_webhook_down, path, section)


@transcript("webhook.md")
def test_on_the_oldest_api_server(
    with_oldest_api_server: Cluster, path: Path, section: Section
) -> None:
    """Entries and policies work the same, and so do the texts."""
    check(with_oldest_api_server, path, section)


@transcript("policies.md")
def test_without_webhook_pods(with_policies_alone: Cluster, path: Path, section: Section) -> None:
    """The API server does what can be done without us."""
    check(with_policies_alone, path, section)
