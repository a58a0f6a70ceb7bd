"""The counts over nodes equal a count from nothing, whatever happened before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.kube.cache import WatchCache
from tests.unit.apiserver import node_object
from webhook import node_index
from webhook.node_index import NodeIndex, merge_nodes
from webhook.snapshot import MULTUS, ClusterNetworks, NodeCount, NodeNetworks, parse_node

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dispatcher.kube.client import KubeClient

NETWORKS = ("canal", "weave", "flannel", "multus", "own")
PLUGINS = ("calico", "weave-net", "bridge", "multus")
LISTED = ("weave", "gpu")

labels = st.dictionaries(st.sampled_from(NETWORKS), st.sampled_from(["true", "false"]))
types = st.dictionaries(st.sampled_from(NETWORKS), st.sampled_from(PLUGINS))
names = st.sampled_from(["n1", "n2", "n3", "n4"])


def node(name: str, labelled: dict[str, str], plugins: dict[str, str]) -> dict[str, Any]:
    """Return a Node object with these networks."""
    published = ";".join(f"{network}={plugin}" for network, plugin in plugins.items())
    manifest = node_object(name, {f"network.cni-genie.io/{key}": v for key, v in labelled.items()})
    manifest["metadata"]["annotations"] = {"cni-genie.io/plugin-types": published}
    manifest["metadata"]["resourceVersion"] = "1"
    return manifest


nodes = st.builds(node, names, labels, types)
events = st.tuples(st.sampled_from(["ADDED", "MODIFIED", "DELETED"]), nodes)
relists = st.tuples(st.just("LIST"), st.lists(nodes, max_size=4))
histories = st.lists(events | events | events | relists, max_size=12)


def follow(history: Iterable[tuple[str, Any]]) -> tuple[NodeIndex, list[NodeNetworks]]:
    """Let an informer cache see *history*; return its index, and the nodes that remain."""
    index = NodeIndex(LISTED)
    cache = WatchCache(cast("KubeClient", None), "/nodes", keep=parse_node, index=index)
    for step, (event, value) in enumerate(history):
        if event == "LIST":
            cache._replace({each["metadata"]["name"]: parse_node(each) for each in value})
        else:
            cache._apply(event, value)
        if step % 2:  # what has been read once must not remain
            assert index.networks is index.networks
    return index, list(cache.items.values())


@given(history=histories)
def test_an_index_equals_one_of_the_nodes_that_remain(history: list[tuple[str, Any]]) -> None:
    """Whether nodes were added, changed, deleted or listed anew."""
    index, remaining = follow(history)
    assert index.networks == merge_nodes(remaining, LISTED)
    assert vars(index._counts) == vars(_counted_anew(remaining, index))


def _counted_anew(remaining: list[NodeNetworks], index: NodeIndex) -> node_index._Counts:
    """Return the counts of the nodes alone: nothing of earlier nodes may fill the memory."""
    anew = NodeIndex(LISTED)
    anew.replace(remaining)
    assert anew.networks == index.networks
    return anew._counts


@given(history=histories)
def test_an_index_agrees_with_the_definition_of_each_field(history: list[tuple[str, Any]]) -> None:
    """Written a second time, without counts."""
    index, remaining = follow(history)
    assert index.networks == _defined(remaining)


def _defined(remaining: Sequence[NodeNetworks]) -> ClusterNetworks:
    labelled = [dict(each.pairs) for each in remaining]
    known = {name for pairs in labelled for name in pairs}
    limited = {name for each in remaining for name, _ in each.plugin_types}
    entries = {
        tuple(
            sorted(
                (n, dict(each.plugin_types).get(n, ())) for n in limited & dict(each.pairs).keys()
            )
        )
        for each in remaining
    }
    multus = {name for each in remaining for name in each.multus}
    return ClusterNetworks(
        known=frozenset(known | {*LISTED}),
        present=frozenset(name for pairs in labelled for name in pairs if pairs[name]),
        plugin_types=tuple(dict(each) for each in sorted(entries) if each),
        promised=frozenset(limited.intersection(LISTED)),
        multus=frozenset(multus if MULTUS in known else multus | {MULTUS}),
        nodes={
            name: NodeCount(
                sum(pairs.get(name, False) for pairs in labelled),
                sum(name in pairs for pairs in labelled),
            )
            for name in known
        },
    )


@given(history=histories)
def test_beyond_the_limit_the_most_common_networks_remain(history: list[tuple[str, Any]]) -> None:
    """A network leaves as soon as more nodes have another one, and comes back."""
    with mock.patch.object(node_index, "MAX_KNOWN", 2):
        index, remaining = follow(history)
        assert index.networks == merge_nodes(remaining, LISTED)
        assert len(index.networks.nodes) <= 2


def test_the_networks_are_the_same_value_until_a_node_changes() -> None:
    """Decisions on equal pods are remembered with it."""
    one, other = (parse_node(node("n1", {"weave": value}, {})) for value in ("true", "false"))
    index = NodeIndex()
    index.change(None, one)
    before = index.networks
    assert index.networks is before
    index.change(one, other)
    assert before.present == {"weave"}
    assert index.networks.present == frozenset()


@pytest.mark.parametrize("count", [10, 1000])
def test_a_change_reads_no_other_node(count: int) -> None:
    """The cost of a change is that of its node, in a cluster of any size."""
    index = NodeIndex()
    index.replace(
        parse_node(node(f"n{number}", {"weave": "true", f"own-{number}": "true"}, {}))
        for number in range(count)
    )
    old = parse_node(node("n0", {"weave": "true", "own-0": "true"}, {}))
    with mock.patch.object(node_index, "_add", wraps=node_index._add) as add:
        index.change(old, parse_node(node("n0", {"weave": "false"}, {})))
        assert index.networks.nodes["weave"] == (count - 1, count)
    assert add.call_count == 14  # seven counts, once less and once more
