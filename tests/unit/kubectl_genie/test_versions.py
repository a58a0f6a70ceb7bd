from __future__ import annotations

import pytest

from cli.facts import NodeFacts, Workload, read_node, read_workload
from cli.output import WIDTH
from cli.rows import VERSION_COLUMNS, version_rows
from cli.table import lay_out
from cli.versions import NO_PLUGIN, PartVersion, by_plugin, versions
from tests.devcluster.build.imagebuild import PROJECT
from tests.unit.kubectl_genie.builders import node, workload


def agent(image: str = "example.org/genie:0.1.0") -> Workload:
    """Return the agents' DaemonSet."""
    return read_workload(workload("DaemonSet", "genie-agent", 2, 2, image))


def webhook(image: str = "example.org/genie:0.1.0") -> Workload:
    """Return the webhook's Deployment."""
    return read_workload(workload("Deployment", "genie-webhook", 2, 2, image))


def nodes(*plugins: str) -> list[NodeFacts]:
    """Return a node with each plugin."""
    return [read_node(node(f"n{n}", plugin=each)) for n, each in enumerate(plugins, 1)]


def test_nodes_are_grouped_by_the_version_of_their_plugin() -> None:
    """A node whose agent reports none is a group, too."""
    grouped = by_plugin(nodes("0.2.0-b", "0.1.0-a", "", "0.2.0-b"))
    assert grouped == {"0.1.0-a": ("n2",), "0.2.0-b": ("n1", "n4"), NO_PLUGIN: ("n3",)}


def test_one_version_everywhere_is_no_problem() -> None:
    """Of client, webhook, agents and plugins."""
    parts = versions("0.1.0", agent(), webhook(), nodes("0.1.0-a", "0.1.0-a"))
    assert {each.problem for each in parts} == {""}
    assert parts[-1] == PartVersion("plugin", "0.1.0-a", ("n1", "n2"))


SKEWS = [
    pytest.param(
        ("0.2.0", agent(), webhook(), []), "client", "the agents are 0.1.0", id="another client"
    ),
    pytest.param(
        ("0.1.0", agent(), webhook("example.org/genie:0.2.0"), []),
        "genie-webhook",
        "finish the upgrade",
        id="webhook and agent",
    ),
    pytest.param(
        ("0.1.0", agent(), webhook(), nodes("0.0.9-z")),
        "plugin",
        "the agents are 0.1.0: kubectl genie doctor",
        id="a node that is behind",
    ),
    pytest.param(
        ("0.1.0", agent("genie@sha256:ab"), None, nodes("0.1.0-a", "0.1.0-b")),
        "plugin",
        "nodes have different versions",
        id="two builds, and an image without a version",
    ),
    pytest.param(
        ("0.1.0", agent(), None, nodes("")),
        "plugin",
        "Genie is not installed there",
        id="a node without Genie",
    ),
]


@pytest.mark.parametrize(("parts", "part", "problem"), SKEWS)
def test_versions_that_differ_are_a_problem_with_its_fix(
    parts: tuple[str, Workload, Workload | None, list[NodeFacts]], part: str, problem: str
) -> None:
    """It is shown beside the part that is to change."""
    shown = [each for each in versions(*parts) if each.problem]
    assert part in {each.part for each in shown}
    assert all(problem in each.problem for each in shown)


@pytest.mark.parametrize(
    "image", ["genie", "genie:latest", "genie@sha256:0123", "r:5000/genie", "genie:sha-1.2.3"]
)
def test_an_image_without_a_version_is_compared_with_nothing(image: str) -> None:
    """It may be any version."""
    parts = versions("9.9.9", agent(image), webhook(image), nodes("0.1.0-a"))
    assert {each.problem for each in parts} == {""}


def test_what_may_not_be_read_is_left_out() -> None:
    """A developer sees the version of his command."""
    assert versions("0.1.0", None, None, None) == [PartVersion("client", "0.1.0")]


def test_the_page_shows_versions_as_they_are_printed() -> None:
    """docs/kubectl-genie.md, during an upgrade to 0.2.0."""
    image = "cni-genie:0.2.0"
    plugins = nodes("0.2.0-77d2c0a9be14", "0.1.0-518f2aaabced", "0.2.0-77d2c0a9be14")
    rows = version_rows(versions("0.2.0", agent(image), webhook(image), plugins))
    layout = lay_out(VERSION_COLUMNS, rows, WIDTH)
    page = (PROJECT / "docs" / "kubectl-genie.md").read_text()
    assert "\n".join((layout.head, *layout.lines)) in page
