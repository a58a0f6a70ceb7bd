"""The objects networks.cni-genie.io: their names, their status, and what is written for them."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher import keys
from dispatcher.annotation import is_network_name
from tests.unit.apiserver import node_object
from webhook.network_objects import (
    CreateObject,
    DeleteObject,
    NetworkChange,
    NetworkObject,
    NetworkStatus,
    SetStatus,
    changes,
    names,
    object_name,
    parse_object,
    statuses,
)
from webhook.snapshot import NodeNetworks, parse_node

DNS_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
NETWORK_NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", fullmatch=True)
LOOKALIKES = st.from_regex(r"[aA][._-]?[bB][._-]?[0-9a-f]{0,3}", fullmatch=True).filter(
    is_network_name
)
"""Names that share a slug."""


def node(types: str = "", **networks: bool) -> NodeNetworks:
    labels = {keys.network_label(name): str(ready).lower() for name, ready in networks.items()}
    return parse_node(node_object("n", labels, {keys.PLUGIN_TYPES: types}))


@pytest.mark.parametrize(
    ("network", "name"),
    [
        ("canal", "canal"),
        ("10-weave-net", "10-weave-net"),
        ("Canal", "canal.0119803da0"),
        ("net.1", "net-1.4d8d140187"),
        ("net_1", "net-1.184e6ecd89"),
    ],
)
def test_the_name_of_an_object(network: str, name: str) -> None:
    """It never changes: objects of earlier versions keep their descriptions."""
    assert object_name(network) == name


@given(st.sets(NETWORK_NAMES | LOOKALIKES, max_size=20))
def test_names_of_objects_are_valid_and_unique(networks: set[str]) -> None:
    """Also of networks that differ in letter case or punctuation only."""
    object_names = {network: object_name(network) for network in networks}
    assert len(set(object_names.values())) == len(networks)
    for network, name in object_names.items():
        assert DNS_1123.fullmatch(name)
        assert len(name) <= 253
        assert name == network or name.partition(".")[0] == re.sub("[._]", "-", network.lower())


def test_nodes_are_counted() -> None:
    """Those that can attach a network now, those that have it, and all."""
    nodes = [node(canal=True, weave=True), node(canal=True, weave=False), node(canal=True), node()]
    assert statuses(nodes, ["canal", "weave", "gpu"], "canal") == {
        "canal": NetworkStatus(3, 3, 4, is_default=True),
        "weave": NetworkStatus(1, 2, 4),
        "gpu": NetworkStatus(0, 0, 4),
    }


def test_plugin_types_are_those_of_most_nodes() -> None:
    """One hostile node cannot change what the cluster reads; equal numbers: lexical order."""
    honest, hostile = node("weave=weave-net,portmap", weave=True), node("weave=evil", weave=True)
    unready = node("weave=evil", weave=False)
    silent = node(weave=True)

    def types(*nodes: NodeNetworks) -> tuple[str, ...]:
        return statuses(nodes, ["weave"], "")["weave"].plugin_types

    assert types(honest, hostile, honest) == ("weave-net", "portmap")
    assert types(hostile, honest) == types(honest, hostile) == ("evil",)
    assert types(unready, unready, honest) == ("weave-net", "portmap")
    assert types(silent) == ()


def test_the_status_as_json() -> None:
    """The columns are for kubectl, which prints one field in each."""
    assert NetworkStatus(1, 2, 3, True, ("weave-net", "portmap")).to_json() == {  # noqa: FBT003 - the order of the columns
        "readyNodes": 1,
        "configuredNodes": 2,
        "totalNodes": 3,
        "default": True,
        "pluginTypes": ["weave-net", "portmap"],
        "columns": {"ready": "1/3", "plugins": "weave-net,portmap"},
    }


OLD, NEW = NetworkStatus(1, 1, 1), NetworkStatus(0, 1, 1)


def stored(
    network: str, status: Any = OLD, *, name: str = "", description: str = ""
) -> NetworkObject:
    """Return an object as the API server has it."""
    item: dict[str, Any] = {
        "metadata": {"name": name or object_name(network)},
        "spec": {"network": network, "description": description},
    }
    if status is not None:
        item["status"] = status.to_json() if isinstance(status, NetworkStatus) else status
    return parse_object(item)


def needed(wanted: dict[str, NetworkStatus], *objects: NetworkObject) -> list[NetworkChange]:
    return changes(wanted, {each.name: each for each in objects})


WRONG_NAME = stored("weave", name="other")


@pytest.mark.parametrize(
    ("wanted", "objects", "expected"),
    [
        pytest.param({"weave": OLD}, [], [CreateObject("weave", "weave", OLD)], id="missing"),
        pytest.param({"weave": OLD}, [stored("weave")], [], id="right"),
        pytest.param(
            {"weave": NEW}, [stored("weave")], [SetStatus("weave", NEW)], id="another status"
        ),
        pytest.param(
            {"weave": OLD}, [stored("weave", None)], [SetStatus("weave", OLD)], id="no status"
        ),
        pytest.param(
            {"weave": OLD},
            [stored("weave", {**OLD.to_json(), "default": True})],
            [SetStatus("weave", OLD)],
            id="one field changed by hand",
        ),
        pytest.param({}, [stored("weave")], [DeleteObject("weave")], id="an unknown network"),
        pytest.param({}, [stored("weave", description="ours")], [], id="unknown, but described"),
        pytest.param(
            {"weave": OLD}, [stored("weave"), WRONG_NAME], [DeleteObject("other")], id="wrong name"
        ),
        pytest.param(
            {"b": OLD, "A": OLD},
            [],
            [CreateObject(object_name("A"), "A", OLD), CreateObject("b", "b", OLD)],
            id="in order of the objects' names",
        ),
    ],
)
def test_the_changes(
    wanted: dict[str, NetworkStatus],
    objects: list[NetworkObject],
    expected: list[NetworkChange],
) -> None:
    """Nothing is written for an object that is right."""
    assert needed(wanted, *objects) == expected


def test_described_networks_keep_their_objects() -> None:
    """A node group may scale to zero, and a repository may describe networks ahead of nodes."""
    described = stored("gpu", description="for training jobs")
    wrong_name = stored("other", name="wrong", description="somebody's")
    assert names({"weave"}, [described, wrong_name, stored("old")]) == {"weave", "gpu"}


def test_networks_with_one_hash_do_not_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody may search for two such names; the first has the object."""
    monkeypatch.setattr("webhook.network_objects.object_name", lambda _network: "same.0")
    expected = {"b.b": OLD, "B.b": NEW}
    assert needed(expected) == [CreateObject("same.0", "B.b", NEW)]
    assert needed(expected, stored("B.b", NEW, name="same.0")) == []


def applied(
    objects: dict[str, NetworkObject], written: list[NetworkChange]
) -> dict[str, NetworkObject]:
    """Return *objects* after the changes."""
    after = dict(objects)
    for each in written:
        match each:
            case CreateObject(name, network, status):
                after[name] = NetworkObject(
                    name, network, is_described=False, status=status.to_json()
                )
            case SetStatus(name, status):
                after[name] = after[name]._replace(status=status.to_json())
            case DeleteObject(name):
                del after[name]
    return after


STATUSES = st.builds(NetworkStatus, st.integers(0, 1), st.just(1), st.just(1), st.booleans())
FEW_NAMES = st.sampled_from(["weave", "canal", "Canal", "net.1"])
OBJECTS = st.builds(
    NetworkObject, FEW_NAMES.map(object_name), FEW_NAMES, st.booleans(), st.sampled_from([None, {}])
)


@given(
    st.dictionaries(FEW_NAMES, STATUSES),
    st.lists(OBJECTS, unique_by=lambda each: each.name, max_size=4),
)
def test_two_rounds_of_changes_are_enough(
    wanted: dict[str, NetworkStatus], existing: list[NetworkObject]
) -> None:
    """One deletes an object of another network, the next creates it; described ones stay."""
    objects = {each.name: each for each in existing}
    for _ in range(2):
        written = changes(wanted, objects)
        assert len({each.name for each in written}) == len(written)
        objects = applied(objects, written)
    assert changes(wanted, objects) == []
    assert {each.name for each in existing if each.is_described} <= objects.keys()


def test_5000_nodes_are_counted_in_milliseconds() -> None:
    """Equal nodes are counted together. The limit is far above what this machine needs."""
    alike = [node("canal=calico;weave=weave-net", canal=True, weave=True)] * 4000
    nodes = alike + [node(f"n{n}=bridge", canal=True, **{f"n{n}": True}) for n in range(1000)]
    networks = [f"n{n}" for n in range(1000)]
    started = time.thread_time()
    assert statuses(nodes, networks, "canal")["n7"].ready == 1
    assert time.thread_time() - started < 0.5
