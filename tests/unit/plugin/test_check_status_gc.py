"""CHECK, STATUS and GC: what they ask, and what they answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dispatcher.plugin import errors, lock, store
from dispatcher.plugin.errors import CNIError
from tests.unit.plugin.rig import Rig, failure
from tests.unit.plugin.test_add_and_delete import cached, caught

DEFAULT_ROUTE = {"cniVersion": "1.0.0", "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.0.0.0/8"}]}


def test_check_reaches_every_attachment_in_order(rig: Rig) -> None:
    """Each plugin of each chain is given the final result; ours removed foreign default routes."""
    for kind in ("c1", "w2"):
        rig.delegates.results[kind] = DEFAULT_ROUTE
    rig.run("ADD", "canal@net1,weave")
    rig.delegates.given.clear()
    rig.run("CHECK", "anything")
    assert rig.delegates.calls[3:] == [
        "CHECK c1 canal-net net1",
        "CHECK w1 weave-net eth0",
        "CHECK w2 weave-net eth0",
    ]
    routes = [conf["prevResult"]["routes"] for conf in rig.delegates.given]
    assert [len(each) for each in routes] == [1, 2, 2]


def test_check_returns_what_a_plugin_objects(rig: Rig) -> None:
    """Its code and details under our sentence."""
    rig.run("ADD", "weave")
    rig.delegates.faults["CHECK", "w2"] = failure(77, "no route", "d")
    error = caught(rig, "CHECK")
    assert (error.code, error.details) == (77, "d")
    assert error.msg.startswith('the network "weave" is not as it should be')


@pytest.mark.parametrize(
    "more",
    [{"disableCheck": True}, {"cniVersion": "0.3.1"}],
    ids=["where it is disabled", "where the version has none"],
)
def test_check_passes_over_a_network(rig: Rig, more: dict[str, Any]) -> None:
    """As libcni does."""
    rig.network("weave", "w1", **more)
    rig.run("ADD", "weave")
    rig.run("CHECK")
    assert rig.delegates.calls == ["ADD w1 weave-net eth0"]


def test_check_of_what_is_not_attached(rig: Rig) -> None:
    """An unknown container is code 3; an ADD that failed, and a corrupt record, are ours."""
    assert caught(rig, "CHECK").code == errors.UNKNOWN_CONTAINER
    rig.delegates.faults["ADD", "c1"] = failure()
    rig.delegates.faults["DEL", "c1"] = failure()
    caught(rig, "ADD", "canal")
    assert caught(rig, "CHECK").code == errors.NOT_ATTACHED
    (rig.state / "c1.json").write_text("{")
    assert "corrupt" in caught(rig, "CHECK").msg


def test_check_of_a_container_from_before_genie(rig: Rig) -> None:
    """Libcni's cache says what to check."""
    cached(rig, ["flannel"])
    rig.run("CHECK")
    assert rig.delegates.calls == ["CHECK flannel cbr0 eth0"]


def test_status_asks_the_default_network(rig: Rig) -> None:
    """Every plugin of its chain, and no other network."""
    rig.run("STATUS", default="weave")
    assert rig.delegates.calls == ["STATUS w1 weave-net ", "STATUS w2 weave-net "]


@pytest.mark.parametrize(
    ("default", "code", "part"),
    [
        pytest.param("gone", 50, "no configuration", id="its configuration is not there"),
        pytest.param("broken", 50, "not valid JSON", id="its configuration is broken"),
        pytest.param("weave", 50, "not ready", id="its plugin says no"),
        pytest.param("canal", 51, "limited", id="its plugin says limited"),
        pytest.param("absent", 50, "executables: nowhere", id="its executable is not there"),
    ],
)
def test_status_says_why_not(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, default: str, code: int, part: str
) -> None:
    """Code 50, or 51 where the plugin says so itself."""
    monkeypatch.setattr(
        "dispatcher.networks.missing",
        lambda conf, _: [kind for kind in conf.types if kind == "nowhere"],
    )
    (rig.conf / "broken.conf").write_text("{")
    rig.network("absent", "nowhere")
    rig.delegates.faults["STATUS", "w2"] = failure(7, "not ready")
    rig.delegates.faults["STATUS", "c1"] = failure(51, "limited")
    error = caught(rig, "STATUS", default=default)
    assert (error.code, part in error.msg) == (code, True), error.msg


@pytest.fixture(autouse=True)
def executables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every executable be there: the model's delegates are no files."""
    monkeypatch.setattr("dispatcher.networks.missing", lambda *_: [])


def test_status_is_well_without_a_default_and_in_old_versions(rig: Rig) -> None:
    """Nothing is promised that could fail; a chain before 1.1.0 has no STATUS."""
    rig.network("old", "o1", cniVersion="1.0.0")
    rig.run("STATUS", default="")
    rig.run("STATUS", default="old")
    assert rig.delegates.calls == []


def valid(*pairs: str) -> dict[str, Any]:
    listed = [dict(zip(("containerID", "ifname"), pair.split("/"), strict=True)) for pair in pairs]
    return {"cni.dev/valid-attachments": listed}


def gc_lists(rig: Rig) -> dict[str, list[str]]:
    """Return the list that each plugin was given on GC."""
    return {
        conf["type"]: [
            f"{each['containerID']}/{each['ifname']}" for each in conf["cni.dev/attachments"]
        ]
        for conf in rig.delegates.given
        if "cni.dev/valid-attachments" in conf
    }


def test_gc_frees_what_is_not_valid_and_translates_the_rest(rig: Rig) -> None:
    """Real DELs first; then each network hears of its own interfaces, the default of strangers."""
    rig.run("ADD", "weave,canal@net1", container="alive")
    rig.run("ADD", "canal,weave@net1", container="dead")
    rig.delegates.held.add(("before", "eth0", "canal-net", "c1"))
    rig.run("GC", **valid("alive/eth0", "before/eth0"))
    assert gc_lists(rig) == {
        "w1": ["alive/eth0"],
        "w2": ["alive/eth0"],
        "c1": ["alive/net1", "before/eth0"],
    }
    assert rig.records == ["alive"]
    assert {held[0] for held in rig.delegates.held} == {"alive", "before"}


def test_gc_reaches_a_network_whose_last_record_it_freed(rig: Rig) -> None:
    """A network that had records is told that nothing of it is valid."""
    rig.run("ADD", "weave", container="dead")
    rig.run("GC", **valid())
    assert gc_lists(rig) == {"w1": [], "w2": [], "c1": []}


def test_gc_tells_networks_apart_by_their_own_name(rig: Rig) -> None:
    """Two of our names for one of theirs must not free each other's pods."""
    rig.network("twin", "t1")
    conf = json.loads((rig.conf / "10-twin.conflist").read_text()) | {"name": "weave-net"}
    (rig.conf / "10-twin.conflist").write_text(json.dumps(conf))
    rig.run("ADD", "twin", container="a")
    rig.run("ADD", "weave", container="b")
    rig.run("GC", **valid("a/eth0", "b/eth0"))
    assert gc_lists(rig)["t1"] == gc_lists(rig)["w1"] == ["a/eth0", "b/eth0"]


def test_gc_keeps_a_stranger_in_the_network_that_libcni_knows_it_in(rig: Rig) -> None:
    """A container from before Genie, in a network that is not the default now."""
    rig.network("cbr0", "f1")
    conf = json.loads((rig.conf / "10-cbr0.conflist").read_text()) | {"name": "cbr0"}
    (rig.conf / "10-cbr0.conflist").write_text(json.dumps(conf))
    cached(rig, ["f1"])
    rig.run("ADD", "cbr0", container="new")
    rig.run("GC", **valid("new/eth0", "c1/eth0"))
    assert gc_lists(rig) == {"f1": ["c1/eth0", "new/eth0"], "c1": ["c1/eth0"]}


def test_gc_goes_on_after_errors_and_reports_all(rig: Rig) -> None:
    """A DEL that fails, a corrupt record, a plugin that fails: the rest is done."""
    rig.run("ADD", "weave", container="dead")
    rig.run("ADD", "canal", container="dead2")
    (rig.state / "odd.json").write_text("{")
    rig.delegates.faults["DEL", "w2"] = failure(42, "busy", "d1")
    rig.delegates.faults["GC", "w1"] = failure(43, "broken", "d2")
    error = caught(rig, "GC", **valid())
    assert error.msg.startswith("3 parts of GC failed: ")
    assert (error.code, error.details) == (42, "d1; d2")
    assert all(part in error.msg for part in ("busy", "odd.json", "broken"))
    assert rig.records == ["dead", "odd"]
    assert "GC w2 weave-net " in rig.delegates.calls


def test_a_single_failure_of_gc_is_returned_as_it_is(rig: Rig) -> None:
    """Nothing is wrapped around one error."""
    rig.delegates.faults["GC", "c1"] = failure(43, "broken", "d")
    error = caught(rig, "GC", **valid())
    assert (error.code, error.details) == (43, "d")


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({}, id="no list"),
        pytest.param({"cni.dev/valid-attachments": {}}, id="no list but an object"),
        pytest.param({"cni.dev/valid-attachments": ["c1"]}, id="words"),
        pytest.param({"cni.dev/attachments": [{"containerID": "c1"}]}, id="half an attachment"),
        pytest.param({"cni.dev/attachments": [{"containerID": "c1", "ifname": 1}]}, id="a number"),
    ],
)
def test_gc_without_a_list_frees_nothing(rig: Rig, given: dict[str, Any]) -> None:
    """An absent list is never an empty one."""
    rig.run("ADD", "weave")
    assert caught(rig, "GC", **given).code == errors.INVALID_CONF
    assert rig.records == ["c1"]


def test_gc_leaves_out_what_does_not_want_it(rig: Rig) -> None:
    """disableGC, and versions without GC."""
    rig.network("weave", "w1", disableGC=True)
    rig.network("canal", "c1", cniVersion="1.0.0")
    rig.run("ADD", "weave,canal")
    rig.run("GC", **valid("c1/eth0"))
    assert gc_lists(rig) == {}


@pytest.mark.parametrize("default", ["", "gone"])
def test_gc_without_a_default(rig: Rig, default: str) -> None:
    """The networks with records are collected all the same."""
    rig.run("ADD", "weave")
    rig.run("GC", default=default, **valid("c1/eth0"))
    assert set(gc_lists(rig)) == {"w1", "w2"}


def test_gc_never_enters_a_netns_below_proc(rig: Rig) -> None:
    """The process number may be somebody else's by now."""
    rig.run("ADD", "canal", netns="/proc/7/ns/net")
    rig.run("GC", **valid())
    environments = [each for each in rig.delegates.environments if each["CNI_COMMAND"] == "DEL"]
    assert [each["CNI_NETNS"] for each in environments] == [""]


def test_gc_does_not_wait_for_a_container_that_is_locked(rig: Rig) -> None:
    """A delegate that outlived its plugin: that container is left, and reported."""
    rig.run("ADD", "weave", container="busy")
    rig.run("ADD", "weave", container="dead")
    held = lock.of_container(str(rig.state), "busy", 1e12)
    try:
        with pytest.raises(CNIError, match="still holds") as raised:
            rig.run("GC", **valid())
    finally:
        held.release()
    assert raised.value.code == errors.TRY_AGAIN
    assert rig.records == ["busy"]


def test_gc_passes_over_a_record_that_goes_meanwhile(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the list of the directory and the lock, a DEL may come to its end."""
    rig.run("ADD", "weave")
    monkeypatch.setattr(store, "container_ids", lambda _: iter(["c0", "c1"]))
    rig.run("GC", **valid("c1/eth0"))
    assert rig.left() == ["c1.json", "c1.lock"]


def test_gc_leaves_what_was_before_genie_in_no_network_of_ours_to_the_default(rig: Rig) -> None:
    """A network that has no record and is not the default is not called at all."""
    cached(rig, ["f1"])
    rig.run("GC", **valid("c1/eth0"))
    assert gc_lists(rig) == {"c1": ["c1/eth0"]}
