"""DEL: what is released, in which order, and what a failure leaves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dispatcher import cni_errors
from dispatcher.cni_errors import CannotRunError, CNIError
from dispatcher.state import lock, released, store
from tests.unit.plugin.rig import Delegates, Rig, add_cache_entry, error_of, failure, hung


def test_delete_needs_nothing_but_the_record(rig: Rig) -> None:
    """Without netns, configurations and annotation, all is released as recorded."""
    rig.run("ADD", "weave,canal")
    for file in rig.conf.iterdir():
        file.unlink()
    rig.run("DEL", "bad@@", netns="", default="")
    assert rig.delegates.held == set()
    assert rig.delegates.environments[-1]["CNI_NETNS"] == ""
    assert rig.left() == []


def test_a_first_record_that_was_never_finished_goes_with_the_next_delete(rig: Rig) -> None:
    """A plugin that is killed while it writes has attached nothing; its partial file is removed."""
    rig.state.mkdir()
    (rig.state / "c1.json.tmp").write_text('{"form')
    rig.run("DEL")
    assert rig.left() == []


def test_delete_twice(rig: Rig) -> None:
    """The second DEL has no record and succeeds; the DEL of the default network is harmless."""
    rig.run("ADD", "weave")
    rig.run("DEL", "weave")
    rig.run("DEL", "weave")
    assert rig.left() == []


@pytest.mark.parametrize("netns", ["", "/run/netns/x"])
def test_a_repeated_delete_runs_no_delegate_once_the_namespace_is_gone(
    rig: Rig, netns: str
) -> None:
    """While it exists, another plugin may have attached the container since."""
    rig.run("ADD", "weave,canal")
    rig.run("DEL", "weave,canal")
    rig.delegates.calls.clear()
    rig.run("DEL", "weave,canal", netns=netns)
    assert bool(rig.delegates.calls) == bool(netns)


def test_a_container_that_genie_did_not_release_gets_the_default_networks_delete(rig: Rig) -> None:
    """CNI-Genie may have attached it. Of another container's interface the same holds."""
    rig.run("ADD", "weave")
    rig.run("DEL", "weave")
    rig.delegates.calls.clear()
    rig.run("DEL", "weave", container="c2", netns="")
    assert rig.delegates.calls
    rig.delegates.calls.clear()
    rig.run("DEL", "weave", interface="eth1", netns="")
    assert rig.delegates.calls


def test_a_parked_attachment_does_not_count_as_released(rig: Rig) -> None:
    """Its next DEL runs the delegate, if that is back."""
    rig.run("ADD", "weave")
    rig.delegates.absent.add("w2")
    assert error_of(rig, "DEL").code == cni_errors.CANNOT_RUN
    rig.now += 600
    rig.run("DEL", netns="")
    assert rig.record()["attachments"][0]["phase"] == "parked"
    assert not released.contains(str(rig.state), "c1", "eth0")
    rig.delegates.absent.clear()
    rig.run("DEL", netns="")
    assert (rig.delegates.held, rig.left()) == (set(), [])
    assert released.contains(str(rig.state), "c1", "eth0")


def test_a_delegate_that_fails_keeps_its_record_and_the_others_are_freed(rig: Rig) -> None:
    """The next DEL continues there."""
    rig.run("ADD", "weave,canal,weave@net5")
    rig.delegates.faults["DEL", "c1"] = failure(5, "busy", "later")
    error = error_of(rig, "DEL")
    assert (error.code, error.details) == (5, "later")
    assert [each["network"] for each in rig.record()["attachments"]] == ["canal"]
    rig.delegates.faults.clear()
    rig.delegates.calls.clear()
    rig.run("DEL")
    assert rig.delegates.calls == ["DEL c1 canal-net eth1"]
    assert rig.left() == []


class Sharing(Delegates):
    """Releases a container's state of a network only with the last of its interfaces."""

    def __call__(
        self, conf: dict[str, Any], variables: dict[str, str], deadline: float, *more: Any
    ) -> dict[str, Any] | None:
        """Fail a DEL while the network has another interface of the container."""
        answer = super().__call__(conf, variables, deadline, *more)
        mine = (variables["CNI_CONTAINERID"], conf["name"], conf["type"])
        shared = mine in {
            (container, name, plugin_type) for container, _, name, plugin_type in self.held
        }
        if variables["CNI_COMMAND"] == "DEL" and shared:
            raise failure(msg="busy")
        return answer


def test_a_network_attached_twice_is_released_by_one_delete(rig: Rig) -> None:
    """The DEL that failed for the first interface is retried after the second's."""
    rig.delegates = Sharing()
    rig.run("ADD", "canal,weave@net1,canal@net2")
    rig.delegates.calls.clear()
    rig.run("DEL")
    assert [call for call in rig.delegates.calls if "canal" in call] == [
        "DEL c1 canal-net net2",
        "DEL c1 canal-net eth0",
        "DEL c1 canal-net net2",
    ]
    assert (rig.delegates.held, rig.left()) == (set(), [])


def test_a_network_attached_twice_is_tried_twice_at_most(rig: Rig) -> None:
    """Both attachments stay recorded."""
    rig.run("ADD", "canal,canal@net1")
    rig.delegates.faults["DEL", "c1"] = failure()
    rig.delegates.calls.clear()
    with pytest.raises(CNIError, match="no address left"):
        rig.run("DEL")
    assert rig.delegates.calls == [
        "DEL c1 canal-net net1",
        "DEL c1 canal-net eth0",
        "DEL c1 canal-net net1",
        "DEL c1 canal-net eth0",
    ]
    assert [each["failure"]["code"] for each in rig.record()["attachments"]] == [7, 7]


def test_a_delete_that_depends_on_another_is_retried_once(rig: Rig) -> None:
    """A DEL that fails because the other interface exists is retried after it, and only then."""
    run = rig.delegates.__class__.__call__

    class Tied(type(rig.delegates)):  # type: ignore[misc]
        def __call__(self, conf: Any, variables: Any, deadline: float, *more: Any) -> Any:
            ties = [each for each in self.held if each[3] == "w1"]
            last = variables["CNI_IFNAME"] == "eth1" and len(ties) > 1
            if variables["CNI_COMMAND"] == "DEL" and conf["type"] == "w1" and last:
                raise failure(5, "busy")
            return run(self, conf, variables, deadline, *more)

    rig.delegates.__class__ = Tied
    rig.run("ADD", "weave,weave")
    rig.run("DEL")
    assert rig.left() == []
    rig.delegates.__class__ = Delegates
    rig.run("ADD", "weave,weave")
    rig.delegates.faults["DEL", "w2"] = failure()
    rig.delegates.calls.clear()
    assert error_of(rig, "DEL").code == 7
    assert [call.split()[3] for call in rig.delegates.calls] == ["eth1", "eth0"] * 2


def test_a_delegate_that_cannot_be_run_is_parked_after_ten_minutes(rig: Rig) -> None:
    """DEL fails before and succeeds after; the attachment stays until its executable is back."""
    rig.run("ADD", "weave")
    rig.delegates.absent.add("w2")
    assert error_of(rig, "DEL").code == cni_errors.CANNOT_RUN
    assert {held[3] for held in rig.delegates.held} == {"w2"}, "the rest of the chain was freed"
    rig.now += 599
    assert isinstance(error_of(rig, "DEL"), CannotRunError)
    rig.now += 1
    rig.run("DEL")
    assert rig.record()["attachments"][0]["phase"] == "parked"
    rig.now += 9999
    rig.run("DEL")
    rig.delegates.absent.clear()
    rig.run("DEL")
    assert rig.delegates.held == set()
    assert rig.left() == []


def test_the_time_to_parking_starts_with_the_first_failure_of_that_kind(rig: Rig) -> None:
    """A delegate that ran in between, and failed, resets it."""
    rig.run("ADD", "canal")
    rig.delegates.absent.add("c1")
    error_of(rig, "DEL")
    rig.delegates.absent.clear()
    rig.delegates.faults["DEL", "c1"] = failure()
    rig.now += 700
    error_of(rig, "DEL")
    rig.delegates.absent.add("c1")
    rig.now += 1
    assert error_of(rig, "DEL").code == cni_errors.CANNOT_RUN
    assert rig.record()["attachments"][0]["phase"] == "releasing"


def test_a_clock_that_was_ahead_does_not_delay_parking(rig: Rig) -> None:
    """The ten minutes begin again with the first DEL after the clock was corrected."""
    rig.run("ADD", "canal")
    rig.delegates.absent.add("c1")
    begin = rig.now
    rig.now = begin + 365 * 86_400
    error_of(rig, "DEL")
    rig.now = begin
    error_of(rig, "DEL")
    rig.now += 600
    rig.run("DEL")
    assert rig.record()["attachments"][0]["phase"] == "parked"


def test_a_planned_attachment_on_disk_is_released_too(rig: Rig) -> None:
    """A power cut may have lost the step that recorded its begin."""
    rig.run("ADD", "weave,canal")
    value = rig.record()
    for attachment in value["attachments"]:
        attachment["phase"] = "planned"
    rig.rewrite(value)
    rig.run("DEL")
    assert rig.delegates.held == set()
    assert rig.left() == []


def test_a_killed_delete_has_removed_from_the_record_what_it_released(rig: Rig) -> None:
    """It is not released again: its address may have a new owner."""
    rig.run("ADD", "weave,canal@net1")
    rig.delegates.faults["DEL", "w2"] = SystemExit("killed")
    with pytest.raises(SystemExit):
        rig.run("DEL")
    assert [each["network"] for each in rig.record()["attachments"]] == ["weave"]


def test_a_delete_on_a_full_disk_frees_all(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its steps cannot be recorded, and need not be."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "x.json.tmp")

    rig.run("ADD", "weave,canal@net1")
    monkeypatch.setattr(store, "_replace", full)
    rig.run("DEL")
    assert rig.delegates.held == set()
    assert rig.left() == []


def test_a_state_directory_that_cannot_be_made(rig: Rig) -> None:
    """ADD does nothing; DEL of a container without a record runs without a lock."""
    rig.state.write_text("a file is in the way")
    with pytest.raises(OSError, match="state"):
        rig.run("ADD", "canal")
    assert rig.delegates.calls == []
    rig.run("DEL", "canal")
    assert rig.delegates.calls == ["DEL c1 canal-net eth0"]


def test_a_delegate_that_hangs_leaves_time_for_the_others(rig: Rig) -> None:
    """On DEL each attachment gets a share of the time that is left."""
    rig.run("ADD", "weave,canal,weave,canal")
    deadlines: list[float] = []
    run = rig.delegates.__class__.__call__

    class Slow(type(rig.delegates)):  # type: ignore[misc]
        def __call__(self, conf: Any, variables: Any, deadline: float, *more: Any) -> Any:
            deadlines.append(deadline)
            if conf["type"] == "c1":
                rig.clock = deadline
                raise hung()
            return run(self, conf, variables, deadline, *more)

    rig.delegates.__class__ = Slow
    start = rig.clock
    assert error_of(rig, "DEL").code == cni_errors.TRY_AGAIN
    assert [round(deadline - start, 1) for deadline in deadlines] == [
        22.5,
        45.0,
        45.0,
        56.2,
        90.0,
        90.0,
    ]
    assert {held[2] for held in rig.delegates.held} == {"canal-net"}


def test_a_container_that_is_busy_does_not_keep_gc_away(rig: Rig) -> None:
    """A call that cannot get the container's lock releases the GC lock."""
    rig.state.mkdir()
    held = lock.acquire_container(str(rig.state), "c1", 1e12)
    error = error_of(rig, "ADD", "canal", deadlineSeconds=1)
    assert error.code == cni_errors.TRY_AGAIN
    held.release(unlink=True)
    lock.acquire_gc_exclusive(str(rig.state), 1e12).release()


def test_a_delete_of_a_recorded_container_needs_the_lock(rig: Rig) -> None:
    """Without it, the DEL could race a delegate that still runs."""
    rig.run("ADD", "canal")
    (rig.state / ".gc.lock").unlink()
    (rig.state / ".gc.lock").symlink_to("elsewhere")
    with pytest.raises(OSError, match=r"gc\.lock"):
        rig.run("DEL")
    assert rig.records == ["c1"]


def test_a_delegates_failure_counts_more_than_a_full_disk(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delegate's error is returned; the record on disk only lists too much."""
    rig.run("ADD", "weave,canal")
    rig.delegates.faults["DEL", "c1"] = failure(42)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write_synced", full)
    assert error_of(rig, "DEL").code == 42
    rig.delegates.faults.clear()
    monkeypatch.setattr(store, "remove", full)
    with pytest.raises(OSError, match="No space"):
        rig.run("DEL")
    monkeypatch.undo()
    rig.run("DEL")
    assert (rig.delegates.held, rig.left()) == (set(), [])


@pytest.mark.parametrize(
    ("exists", "fails"),
    [
        pytest.param(True, True, id="its error counts while the netns exists"),
        pytest.param(False, False, id="its error is dropped once the netns is gone"),
    ],
)
def test_an_unknown_container(rig: Rig, *, exists: bool, fails: bool) -> None:
    """DEL of the default network runs, as without Genie."""
    netns = rig.folder / "netns"
    if exists:
        netns.touch()
    rig.delegates.faults["DEL", "c1"] = failure()
    if fails:
        assert error_of(rig, "DEL", netns=str(netns)).code == 7
    else:
        rig.run("DEL", netns=str(netns))
    assert rig.delegates.calls == ["DEL c1 canal-net eth0"]
    assert rig.left() == []


@pytest.mark.parametrize("default", ["", "gone"], ids=["no default", "a default that is gone"])
def test_an_unknown_container_without_a_usable_default(rig: Rig, default: str) -> None:
    """There is nothing to release, and DEL succeeds."""
    rig.run("DEL", default=default)
    assert rig.delegates.calls == []


def test_a_container_from_before_genie_is_released_with_libcnis_cache(rig: Rig) -> None:
    """Its cached configuration and result are used; the file is removed after success."""
    add_cache_entry(rig, ["flannel"])
    add_cache_entry(rig, ["genie"], name="a-ours")
    add_cache_entry(rig, ["loopback"], interface="lo", name="b-lo")
    (rig.cache / "c-garbage").write_text('{"c1":')
    rig.delegates.faults["DEL", "flannel"] = failure()
    assert error_of(rig, "DEL").code == 7
    assert rig.records == ["c1"]
    rig.delegates.faults.clear()
    rig.run("DEL")
    assert rig.delegates.calls == ["DEL flannel cbr0 eth0"] * 2
    assert rig.delegates.confs[-1]["prevResult"]["ips"][0]["address"] == "10.4.0.5/24"
    assert rig.delegates.environments[-1]["CNI_ARGS"] == "K8S_POD_NAME=old"
    assert rig.left() == []


def test_a_cache_entry_goes_with_its_attachment(rig: Rig) -> None:
    """No file from before Genie is left after its DEL."""
    add_cache_entry(rig, ["flannel"])
    rig.run("DEL")
    assert list(rig.cache.iterdir()) == []


def test_a_cache_entry_that_is_removed_meanwhile(rig: Rig) -> None:
    """The runtime may remove it itself; other files of the same container stay."""
    add_cache_entry(rig, ["flannel"], interface="net7", name="a-other")
    add_cache_entry(rig, ["odd"], name="b-odd")
    odd = json.loads((rig.cache / "b-odd").read_text())
    (rig.cache / "b-odd").write_text(json.dumps({**odd, "kind": "cniCacheV2"}))
    add_cache_entry(rig, ["flannel"])
    run = rig.delegates.__class__.__call__

    class Removing(type(rig.delegates)):  # type: ignore[misc]
        def __call__(self, *args: Any) -> Any:
            (rig.cache / "old").unlink()
            return run(self, *args)

    rig.delegates.__class__ = Removing
    rig.run("DEL")
    assert rig.delegates.calls == ["DEL flannel cbr0 eth0"]
    assert {file.name for file in rig.cache.iterdir()} == {"a-other", "b-odd"}
