"""Facts from metadata."""

from __future__ import annotations

from typing import Any

import pytest

from webhook.node_index import merge_nodes
from webhook.snapshot import (
    MAX_KNOWN,
    MAX_PER_NODE,
    ClusterNetworks,
    Namespace,
    NodeCount,
    NodeNetworks,
    parse_namespace,
    parse_node,
)


def meta(
    annotations: dict[str, str] | None = None, labels: dict[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    return {"metadata": {"name": "n", "annotations": annotations, "labels": labels, **more}}


@pytest.mark.parametrize(
    ("result", "facts"),
    [
        pytest.param(meta(), Namespace("n"), id="plain"),
        pytest.param(meta({"cni": " weave"}), Namespace("n", default=" weave"), id="default"),
        pytest.param(meta({"cni": " \t\r\n"}), Namespace("n"), id="blank-default"),
        pytest.param(
            meta({"cni-genie.io/allowed": " weave,, canal "}),
            Namespace("n", allowed=("weave", "canal")),
            id="allow-list-with-blanks",
        ),
        pytest.param(
            meta({"cni-genie.io/allowed": "weave,\r\ncanal\n"}),
            Namespace("n", allowed=("weave", "canal")),
            id="allow-list-of-several-lines",
        ),
        pytest.param(
            meta({"cni-genie.io/allowed": "weave\x1c,canal\v,flannel\u2003"}),
            Namespace("n", allowed=("weave\x1c", "canal\v", "flannel\u2003")),
            id="white-space-that-is-no-blank-is-part-of-a-name",
        ),
        pytest.param(
            meta({"cni-genie.io/allowed": ""}), Namespace("n", allowed=()), id="empty-allow-list"
        ),
        pytest.param(
            meta({"cni-genie.io/scheduling": " off\n"}),
            Namespace("n", scheduling="off"),
            id="scheduling",
        ),
        pytest.param(
            meta({"cni-genie.io/choose": " weave\n"}), Namespace("n", choose=" weave\n"), id="list"
        ),
        pytest.param(meta({"cni-genie.io/choose": " \n"}), Namespace("n"), id="blank list"),
        pytest.param(
            meta({"cni-genie.io/host-ports": " allow\n"}),
            Namespace("n", allows_host_ports=True),
            id="host ports",
        ),
        pytest.param(
            meta({"cni-genie.io/host-ports": "Allow"}), Namespace("n"), id="host ports misspelt"
        ),
        pytest.param(
            meta(labels={"cni-genie.io/defaulted": "true"}),
            Namespace("n", labelled=True),
            id="label",
        ),
        pytest.param(
            meta(labels={"cni-genie.io/defaulted": "yes"}), Namespace("n"), id="other-label-value"
        ),
        pytest.param(
            meta(deletionTimestamp="2026-01-01T00:00:00Z"),
            Namespace("n", terminating=True),
            id="terminating",
        ),
    ],
)
def test_facts_of_a_namespace(result: dict[str, Any], facts: Namespace) -> None:
    """Metadata is all that is read."""
    assert parse_namespace(result) == facts


def test_networks_of_a_cluster() -> None:
    """Known by any label or by the setting; present where a label says "true"."""
    nodes = [
        parse_node(meta(labels={"network.cni-genie.io/weave": "true", "other": "true"})),
        parse_node(meta(labels={"network.cni-genie.io/weave": "false"})),
        parse_node(meta(labels={"network.cni-genie.io/canal": "false"})),
        parse_node(meta()),
    ]
    assert merge_nodes(nodes, ("flannel",)) == ClusterNetworks(
        known=frozenset({"weave", "canal", "flannel"}),
        present=frozenset({"weave"}),
        nodes={"weave": NodeCount(1, 2), "canal": NodeCount(0, 1)},
    )
    assert merge_nodes([]) == ClusterNetworks()


def node(*names: str, there: str = "true") -> NodeNetworks:
    return parse_node(meta(labels={f"network.cni-genie.io/{name}": there for name in names}))


def test_a_node_makes_few_networks_known() -> None:
    """Its kubelet may give it thousands of labels; those it can attach now come first."""
    many = {f"network.cni-genie.io/a{number}": "false" for number in range(15_000)}
    result = parse_node(meta(labels={**many, "network.cni-genie.io/weave": "true"}))
    assert len(result.pairs) == MAX_PER_NODE
    assert len(result.dropped) == MAX_PER_NODE
    assert result.dropped.isdisjoint(name for name, _ in result.pairs)
    assert ("weave", True) in result.pairs
    assert node(*(f"n{number}" for number in range(MAX_PER_NODE))).dropped == frozenset()


@pytest.mark.parametrize(
    ("nodes", "listed", "dropped"),
    [
        pytest.param([300, 300], (), 44, id="two-nodes-that-drop-the-same"),
        pytest.param([300, 256], (), 0, id="another-node-that-makes-them-known"),
        pytest.param([300], ("n99", "n98"), 42, id="some-of-them-in-the-setting"),
    ],
)
def test_a_network_that_is_left_out_counts_once(
    nodes: list[int], listed: tuple[str, ...], dropped: int
) -> None:
    """And not at all if another node or the setting makes it known."""
    result = [node(*(f"n{number}" for number in range(count))) for count in nodes]
    assert merge_nodes(result, listed).dropped_count == dropped


@pytest.mark.parametrize("name", ["", "-x", "a/b", "w" * 64, "a\nb"], ids=repr)
def test_what_is_no_name_of_a_network_is_not_made_known(name: str) -> None:
    """Names are printed, and compared with what pods ask for."""
    assert node(name, "weave").pairs == frozenset({("weave", True)})


def test_all_nodes_together_make_few_networks_known_and_the_common_ones_stay() -> None:
    """Some nodes with invented names displace no network that most nodes have."""
    honest = [node("weave"), node("weave", "zebra"), node("zebra", there="false")]
    hostile = [node(*(f"{letter}{number}" for number in range(256))) for letter in "abcdefgh"]
    result = merge_nodes([*honest, *hostile], ("zz-listed",))
    assert len(result.known) == MAX_KNOWN + 1
    assert result.known >= {"weave", "zebra", "zz-listed"}
    assert result.present == result.known - {"zz-listed"}
    assert result.dropped_count == 8 * 256 + 2 - MAX_KNOWN


@pytest.mark.parametrize(
    ("wish", "mode"),
    [("off", "off"), ("preferred", "preferred"), ("", "required"), ("of", "required")],
)
def test_a_namespaces_wish_counts_if_it_means_something(wish: str, mode: str) -> None:
    """A misspelt one, written while no webhook ran, leaves the setting as it is."""
    facts = parse_namespace({"metadata": {"annotations": {"cni-genie.io/scheduling": wish}}})
    assert facts.scheduling_or("required") == mode
