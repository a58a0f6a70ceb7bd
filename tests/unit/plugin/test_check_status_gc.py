"""CHECK, STATUS and GC: what they ask, and what they answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dispatcher import cni_errors
from dispatcher.cni_errors import CNIError
from dispatcher.state import lock, store
from tests.unit.plugin.rig import Rig, add_cache_entry, error_of, failure, hung

DEFAULT_ROUTE = {"cniVersion": "1.0.0", "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.0.0.0/8"}]}


def test_check_reaches_every_attachment_in_order(rig: Rig) -> None:
    """Each plugin gets the final result, for a secondary without the default routes."""
    for plugin_type in ("c1", "w2"):
        rig.delegates.results[plugin_type] = DEFAULT_ROUTE
    rig.run("ADD", "canal@net1,weave")
    rig.delegates.confs.clear()
    rig.run("CHECK", "anything")
    assert rig.delegates.calls[3:] == [
        "CHECK c1 canal-net net1",
        "CHECK w1 weave-net eth0",
        "CHECK w2 weave-net eth0",
    ]
    routes = [conf["prevResult"]["routes"] for conf in rig.delegates.confs]
    assert [len(each) for each in routes] == [1, 2, 2]


def test_check_returns_the_error_of_a_plugin(rig: Rig) -> None:
    """With its code and details, after network, interface and plugin."""
    rig.run("ADD", "weave")
    rig.delegates.faults["CHECK", "w2"] = failure(77, "no route", "d")
    error = error_of(rig, "CHECK")
    assert (error.code, error.details) == (77, "d")
    assert error.msg.startswith('CHECK failed for network "weave" on interface "eth0" ')


@pytest.mark.parametrize(
    "more",
    [{"disableCheck": True}, {"cniVersion": "0.3.1"}],
    ids=["where it is disabled", "where the version has none"],
)
def test_check_skips_a_network(rig: Rig, more: dict[str, Any]) -> None:
    """As libcni does."""
    rig.network("weave", "w1", **more)
    rig.run("ADD", "weave")
    rig.run("CHECK")
    assert rig.delegates.calls == ["ADD w1 weave-net eth0"]


def test_check_of_what_is_not_attached(rig: Rig) -> None:
    """Code 3 for an unknown container, 106 after a failed ADD or for a corrupt record."""
    assert error_of(rig, "CHECK").code == cni_errors.UNKNOWN_CONTAINER
    rig.delegates.faults["ADD", "c1"] = failure()
    rig.delegates.faults["DEL", "c1"] = failure()
    error_of(rig, "ADD", "canal")
    assert error_of(rig, "CHECK").code == cni_errors.NOT_ATTACHED
    (rig.state / "c1.json").write_text("{")
    assert "corrupt" in error_of(rig, "CHECK").msg


def test_check_of_a_container_from_before_genie(rig: Rig) -> None:
    """The attachment comes from libcni's cache."""
    add_cache_entry(rig, ["flannel"])
    rig.run("CHECK")
    assert rig.delegates.calls == ["CHECK flannel cbr0 eth0"]


def test_status_asks_the_default_network(rig: Rig) -> None:
    """It runs every plugin of its chain, and no other network."""
    rig.run("STATUS", default="weave")
    assert rig.delegates.calls == ["STATUS w1 weave-net ", "STATUS w2 weave-net "]


@pytest.mark.parametrize(
    ("default", "code", "part"),
    [
        pytest.param("gone", 50, "no configuration", id="its configuration is not there"),
        pytest.param("broken", 50, "not valid JSON", id="its configuration is broken"),
        pytest.param("weave", 50, "(plugin w2): not ready", id="its plugin says no"),
        pytest.param("canal", 51, "limited", id="its plugin says limited"),
        pytest.param(
            "absent", 50, "executables are missing: nowhere", id="its executable is not there"
        ),
    ],
)
def test_status_returns_the_reason(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, default: str, code: int, part: str
) -> None:
    """Code 50, or 51 if the plugin returns it."""
    monkeypatch.setattr(
        "dispatcher.networks.missing_executables",
        lambda conf, _: [plugin_type for plugin_type in conf.types if plugin_type == "nowhere"],
    )
    (rig.conf / "broken.conf").write_text("{")
    rig.network("absent", "nowhere")
    rig.delegates.faults["STATUS", "w2"] = failure(7, "not ready")
    rig.delegates.faults["STATUS", "c1"] = failure(51, "limited")
    error = error_of(rig, "STATUS", default=default)
    assert (error.code, part in error.msg) == (code, True), error.msg


@pytest.fixture(autouse=True)
def executables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every executable exist: the model's delegates are no files."""
    monkeypatch.setattr("dispatcher.networks.missing_executables", lambda *_: [])


def test_status_succeeds_without_a_default_and_in_old_versions(rig: Rig) -> None:
    """There is nothing to check; a chain before 1.1.0 has no STATUS."""
    rig.network("old", "o1", cniVersion="1.0.0")
    rig.run("STATUS", default="")
    rig.run("STATUS", default="old")
    assert rig.delegates.calls == []


def valid(*pairs: str) -> dict[str, Any]:
    listed = [dict(zip(("containerID", "ifname"), pair.split("/"), strict=True)) for pair in pairs]
    return {"cni.dev/valid-attachments": listed}


def gc_lists(rig: Rig) -> dict[str, list[str]]:
    """Return the list that each plugin got on GC."""
    return {
        conf["type"]: [
            f"{each['containerID']}/{each['ifname']}" for each in conf["cni.dev/attachments"]
        ]
        for conf in rig.delegates.confs
        if "cni.dev/valid-attachments" in conf
    }


def test_gc_frees_what_is_not_valid_and_translates_the_rest(rig: Rig) -> None:
    """Real DELs first; then each network gets its interfaces, and every unrecorded attachment."""
    rig.run("ADD", "weave,canal@net1", container="alive")
    rig.run("ADD", "canal,weave@net1", container="dead")
    rig.delegates.held.add(("before", "eth0", "canal-net", "c1"))
    rig.run("GC", **valid("alive/eth0", "before/eth0"))
    assert gc_lists(rig) == {
        "w1": ["alive/eth0", "before/eth0"],
        "w2": ["alive/eth0", "before/eth0"],
        "c1": ["alive/net1", "before/eth0"],
    }
    assert rig.records == ["alive"]
    assert {held[0] for held in rig.delegates.held} == {"alive", "before"}


def test_gc_reaches_a_network_whose_last_record_it_freed(rig: Rig) -> None:
    """A network that had records gets a list without its attachments."""
    rig.run("ADD", "weave", container="dead")
    rig.run("GC", **valid())
    assert gc_lists(rig) == {"w1": [], "w2": [], "c1": []}


def test_gc_distinguishes_networks_by_the_name_in_the_configuration(rig: Rig) -> None:
    """Two names of Genie for one network must not release each other's pods."""
    rig.network("twin", "t1")
    conf = json.loads((rig.conf / "10-twin.conflist").read_text()) | {"name": "weave-net"}
    (rig.conf / "10-twin.conflist").write_text(json.dumps(conf))
    rig.run("ADD", "twin", container="a")
    rig.run("ADD", "weave", container="b")
    rig.run("GC", **valid("a/eth0", "b/eth0"))
    assert gc_lists(rig)["t1"] == gc_lists(rig)["w1"] == ["a/eth0", "b/eth0"]


@pytest.mark.parametrize("default", ["canal", "broken"])
def test_gc_keeps_an_unrecorded_container_in_every_network(rig: Rig, default: str) -> None:
    """A container from before Genie, whose network is not the default now, or is invalid.

    An installer that rewrites the default's configuration just now must not cost a pod.
    """
    (rig.conf / "broken.conf").write_text("{")
    rig.delegates.held.add(("before", "eth0", "weave-net", "w1"))
    rig.run("ADD", "weave", container="new")
    if default == "broken":
        error = error_of(rig, "GC", default=default, **valid("new/eth0", "before/eth0"))
        assert (error.code, "GC skipped the default network" in error.msg) == (
            cni_errors.BROKEN_NETWORK,
            True,
        )
    else:
        rig.run("GC", default=default, **valid("new/eth0", "before/eth0"))
    assert gc_lists(rig)["w1"] == ["before/eth0", "new/eth0"]
    assert {held[0] for held in rig.delegates.held} == {"before", "new"}


def unreadable(rig: Rig, container: str, how: str) -> None:
    """Replace the record of *container* by one that cannot be read."""
    file = rig.state / f"{container}.json"
    if how == "corrupt":
        file.write_text("{")
    elif how == "newer":
        file.write_text(json.dumps(rig.record(container) | {"format": 9, "oldestReader": 9}))
    else:
        file.unlink()
        file.mkdir()


@pytest.mark.parametrize("how", ["corrupt", "newer", "failing disk"])
def test_gc_collects_no_network_while_the_record_of_a_living_pod_cannot_be_read(
    rig: Rig, how: str
) -> None:
    """The networks' lists would lack it. Dead containers are released by their own records."""
    rig.run("ADD", "weave,canal", container="alive")
    rig.run("ADD", "weave", container="dead")
    unreadable(rig, "alive", how)
    error = error_of(rig, "GC", **valid("alive/eth0"))
    assert "alive.json" in error.msg
    assert gc_lists(rig) == {}
    assert {held[0] for held in rig.delegates.held} == {"alive"}
    assert rig.records == ["alive"]


@pytest.mark.parametrize("how", ["corrupt", "newer", "failing disk"])
def test_gc_collects_though_the_record_of_a_dead_pod_cannot_be_read(rig: Rig, how: str) -> None:
    """Its attachments are not in the lists, and may be released."""
    rig.run("ADD", "weave", container="dead")
    unreadable(rig, "dead", how)
    assert "dead.json" in error_of(rig, "GC", **valid()).msg
    assert set(gc_lists(rig)) == {"c1"}


def test_gc_keeps_a_pod_that_is_attached_meanwhile(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod newer than the runtime's list is not released, and is in the networks' lists."""
    rig.run("ADD", "weave", container="dead")
    real = lock.acquire_gc_exclusive

    def meanwhile(*arguments: Any) -> lock.Lock:
        rig.run("ADD", "weave,canal@net1", container="new")
        return real(*arguments)

    monkeypatch.setattr(lock, "acquire_gc_exclusive", meanwhile)
    rig.run("GC", **valid())
    assert gc_lists(rig) == {"w1": ["new/eth0"], "w2": ["new/eth0"], "c1": ["new/net1"]}
    assert rig.records == ["new"]


def test_gc_keeps_what_it_could_not_free(rig: Rig) -> None:
    """The record stays for the next DEL, and no network releases the attachment before."""
    rig.run("ADD", "weave", container="dead")
    rig.delegates.faults["DEL", "w1"] = failure()
    error_of(rig, "GC", **valid())
    assert gc_lists(rig)["w1"] == ["dead/eth0"]


def test_gc_removes_a_record_without_attachments(rig: Rig) -> None:
    """A DEL leaves one if it had to rebuild the record and found no annotation."""
    rig.run("ADD", "weave")
    rig.rewrite(rig.record() | {"attachments": []})
    rig.run("GC", **valid())
    assert rig.left() == []


def test_one_that_hangs_leaves_time_for_the_others_of_a_gc(rig: Rig) -> None:
    """Stale containers share the time, and so do networks, which are collected alone.

    That is over in half the time that another call waits for it. Fake: delegates that hang.
    """
    for container in ("a", "b", "c"):
        rig.run("ADD", "canal" if container == "a" else "weave", container=container)
    deadlines: dict[str, list[float]] = {"DEL": [], "GC": []}
    run = rig.delegates.__class__.__call__
    start = rig.clock

    class Slow(type(rig.delegates)):  # type: ignore[misc]
        def __call__(self, conf: Any, variables: Any, deadline: float, *more: Any) -> Any:
            deadlines[variables["CNI_COMMAND"]].append(round(deadline - start, 1))
            if conf["type"] == "c1":
                rig.clock = deadline
                raise hung()
            return run(self, conf, variables, deadline, *more)

    rig.delegates.__class__ = Slow
    assert error_of(rig, "GC", **valid()).code == cni_errors.TRY_AGAIN
    # The first hung for its third of 70 s; the plugins of a container share what is left.
    assert deadlines["DEL"] == [23.3, 46.7, 46.7, 70.0, 70.0]
    assert rig.records == ["a"]
    # Three plugins in 10 s; the first hung for its third.
    assert deadlines["GC"] == [26.7, 30.0, 33.3]


def test_gc_continues_after_errors_and_reports_all(rig: Rig) -> None:
    """A DEL that fails, a corrupt record, a plugin that fails: everything else is done."""
    rig.run("ADD", "weave", container="dead")
    rig.run("ADD", "canal", container="dead2")
    (rig.state / "odd.json").write_text("{")
    rig.delegates.faults["DEL", "w2"] = failure(42, "busy", "d1")
    rig.delegates.faults["GC", "w1"] = failure(43, "broken", "d2")
    error = error_of(rig, "GC", **valid())
    assert error.msg.startswith("GC failed for 3 networks or records: ")
    assert (error.code, error.details) == (42, "d1; d2")
    assert all(part in error.msg for part in ("busy", "odd.json", "broken"))
    assert rig.records == ["dead", "odd"]
    assert "GC w2 weave-net " in rig.delegates.calls


def test_a_single_failure_of_gc_is_returned_as_it_is(rig: Rig) -> None:
    """Without the prefix for several failures."""
    rig.delegates.faults["GC", "c1"] = failure(43, "broken", "d")
    error = error_of(rig, "GC", **valid())
    assert (error.code, error.details) == (43, "d")


@pytest.mark.parametrize(
    "list_options",
    [
        pytest.param({}, id="no list"),
        pytest.param({"cni.dev/valid-attachments": {}}, id="no list but an object"),
        pytest.param({"cni.dev/valid-attachments": ["c1"]}, id="words"),
        pytest.param({"cni.dev/attachments": [{"containerID": "c1"}]}, id="half an attachment"),
        pytest.param({"cni.dev/attachments": [{"containerID": "c1", "ifname": 1}]}, id="a number"),
    ],
)
def test_gc_without_a_list_frees_nothing(rig: Rig, list_options: dict[str, Any]) -> None:
    """A missing list never counts as an empty one."""
    rig.run("ADD", "weave")
    assert error_of(rig, "GC", **list_options).code == cni_errors.INVALID_CONF
    assert rig.records == ["c1"]


def test_gc_skips_networks_with_disable_gc_or_of_old_versions(rig: Rig) -> None:
    """As libcni does."""
    rig.network("weave", "w1", disableGC=True)
    rig.network("canal", "c1", cniVersion="1.0.0")
    rig.run("ADD", "weave,canal")
    rig.run("GC", **valid("c1/eth0"))
    assert gc_lists(rig) == {}


def test_gc_without_a_default(rig: Rig) -> None:
    """The networks with records run GC all the same."""
    rig.run("ADD", "weave")
    rig.run("GC", default="", **valid("c1/eth0"))
    assert set(gc_lists(rig)) == {"w1", "w2"}


def test_gc_never_enters_a_netns_below_proc(rig: Rig) -> None:
    """The process number may belong to another process by now."""
    rig.run("ADD", "canal", netns="/proc/7/ns/net")
    rig.run("GC", **valid())
    environments = [each for each in rig.delegates.environments if each["CNI_COMMAND"] == "DEL"]
    assert [each["CNI_NETNS"] for each in environments] == [""]


def test_gc_does_not_wait_for_a_container_that_is_locked(rig: Rig) -> None:
    """A delegate outlived its plugin: the container stays, and is reported."""
    rig.run("ADD", "weave", container="busy")
    rig.run("ADD", "weave", container="dead")
    held = lock.acquire_container(str(rig.state), "busy", 1e12)
    try:
        with pytest.raises(CNIError, match="still holds") as raised:
            rig.run("GC", **valid())
    finally:
        held.release()
    assert raised.value.code == cni_errors.TRY_AGAIN
    assert rig.records == ["busy"]


def test_gc_skips_a_record_that_is_removed_meanwhile(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DEL may end between the listing of the directory and the lock."""
    rig.run("ADD", "weave")
    monkeypatch.setattr(store, "container_ids", lambda _: iter(["c0", "c1"]))
    rig.run("GC", **valid("c1/eth0"))
    assert rig.left() == ["c1.json", "c1.lock"]


def test_gc_does_not_run_a_network_without_records_that_is_not_the_default(rig: Rig) -> None:
    """Its containers from before Genie are kept."""
    add_cache_entry(rig, ["f1"])
    rig.run("GC", **valid("c1/eth0"))
    assert gc_lists(rig) == {"c1": ["c1/eth0"]}
