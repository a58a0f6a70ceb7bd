from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dispatcher.node import accepted_settings
from dispatcher.node.accepted_settings import AcceptedSettings
from dispatcher.node.conf_dir import successor
from dispatcher.node.record_cache import CachedRecord
from dispatcher.node.removal import (
    Fate,
    blocking_problem,
    blocking_records,
    fate,
    purge,
)
from dispatcher.reaper.give_up import keep_as_left
from dispatcher.reaper.settings_reader import SettingsReader
from dispatcher.state import lock, store
from dispatcher.state.record import PARKED, Record
from tests.unit.builders import ARGS, ReaperRig, make_canal_record, make_record, write_cache_entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from dispatcher.agent.reconciler import NodeReconciler
    from tests.unit.host import Clock, Host, RecordedEvents


@pytest.fixture
def rig(host: Host, clock: Clock) -> ReaperRig:
    return ReaperRig(host, clock)


def ready(host: Host) -> None:
    host.network("canal", file="10-canal.conflist")
    host.executable("bridge")


def test_the_successor_is_the_first_other_configuration(host: Host) -> None:
    """In lexical order, as runtimes read the directory."""
    assert successor(host.conf) == ""
    for name in ("00-genie.conflist", "05-readme.txt", "20-weave.conf", "10-canal.conflist"):
        (host.conf / name).touch()
    assert successor(host.conf) == str(host.conf / "10-canal.conflist")


SUCCESSOR = "/etc/cni/net.d/10-canal.conflist"


def cached(record: Record | None) -> CachedRecord:
    return CachedRecord("c1", 0, record, "" if record else "corrupt")


def parked() -> Record:
    record = make_canal_record(SUCCESSOR)
    record.attachments[0].phase = PARKED
    return record


@pytest.mark.parametrize(
    ("record", "successor", "ended_containers", "expected"),
    [
        pytest.param(make_canal_record(SUCCESSOR), SUCCESSOR, (), Fate.HANDED_OVER, id="primary"),
        pytest.param(Record("c1", "", []), SUCCESSOR, (), Fate.ORPHANED, id="no attachment"),
        pytest.param(make_canal_record("/x"), SUCCESSOR, (), Fate.NEEDED, id="another network"),
        pytest.param(make_canal_record(SUCCESSOR), "", (), Fate.NEEDED, id="no successor"),
        pytest.param(make_record(), SUCCESSOR, (), Fate.NEEDED, id="two networks"),
        pytest.param(make_canal_record(SUCCESSOR), SUCCESSOR, ("c1",), Fate.ORPHANED, id="gone"),
        pytest.param(parked(), SUCCESSOR, (), Fate.ORPHANED, id="parked"),
        pytest.param(None, SUCCESSOR, (), Fate.UNREADABLE, id="unreadable"),
    ],
)
def test_the_fate_of_a_record_depends_on_the_successor_and_the_container(
    record: Record | None, successor: str, ended_containers: tuple[str, ...], expected: Fate
) -> None:
    """All fates but one block the removal."""
    assert fate(cached(record), successor, ended_containers) is expected
    is_blocking = bool(blocking_records([cached(record)], successor, ended_containers))
    assert is_blocking == (expected is not Fate.HANDED_OVER)


def of_pod(name: str) -> Record:
    return make_record(args=ARGS.replace("K8S_POD_NAME=p", f"K8S_POD_NAME={name}"))


def test_the_problem_names_pods_and_what_to_do() -> None:
    """It names ten pods, and how many more there are."""
    records = [CachedRecord(f"c{number}", 0, of_pod(f"p{number}"), "") for number in range(11)]
    unreadable = CachedRecord("bad", 0, None, "x")
    successor = "/etc/cni/net.d/10-canal.conf"
    sentence = blocking_problem([*records, unreadable], successor, set(), is_forced=False)
    assert "the networks of ns/p0, ns/p1, " in sentence
    assert "ns/p9 and 2 more" in sentence
    assert 'Drain the node, or set the mode "remove --force"' in sentence
    assert (
        "no other CNI configuration on this node can release the networks of ns/p0. "
        in blocking_problem(records[:1], "", set(), is_forced=False)
    )
    assert "of bad." in blocking_problem(
        [CachedRecord("bad", 0, None, "x")], "/x", set(), is_forced=False
    )


def test_in_remove_force_the_problem_does_not_advise_force() -> None:
    """It says what the reaper does."""
    sentence = blocking_problem(
        [CachedRecord("c", 0, make_record(), "")], "/x", set(), is_forced=True
    )
    assert "ns/p. The reaper runs DEL for these networks" in sentence
    assert "Drain" not in sentence


@pytest.mark.parametrize(
    ("ended_containers", "whose"),
    [
        (set(), "the networks of ns/p, ns/q."),
        (
            {"c1"},
            "the networks of ns/p, ns/q and of 1 container that no longer exists",
        ),
        (
            {"c1", "c3"},
            "the networks of ns/p and of 2 containers that no longer exist",
        ),
        ({"c1", "c2", "c3"}, "cannot release the networks of 3 containers that no longer exist"),
    ],
    ids=["all living", "a former sandbox", "a pod that is gone", "nothing but remains"],
)
def test_each_pod_is_named_once_and_only_while_it_exists(
    ended_containers: set[str], whose: str
) -> None:
    """A pod has a record for each of its sandboxes. Containers that are gone are counted."""
    records = [
        CachedRecord(container, 0, of_pod(pod), "")
        for container, pod in (("c1", "p"), ("c2", "p"), ("c3", "q"))
    ]
    sentence = blocking_problem(records, "/x", ended_containers, is_forced=False)
    assert whose in sentence
    assert ("Drain the node" in sentence) == ("ns/p" in whose)
    assert ("The reaper releases the networks of containers" in sentence) == bool(ended_containers)


def test_the_removal_waits_while_a_pod_needs_genie_and_names_it(
    host: Host, make_reconciler: Callable[..., NodeReconciler], events: RecordedEvents
) -> None:
    """Meanwhile, new pods get the default network only."""
    ready(host)
    make_reconciler().reconcile()
    store.write_synced(str(host.state), make_record())
    state = make_reconciler(mode="remove").reconcile()
    assert not state.conflist_removed
    [plugin] = json.loads((host.conf / "00-genie.conflist").read_text())["plugins"]
    assert plugin["agentSocket"] == ""
    assert events.reasons() == ["NotRemoved"]
    assert "ns/p" in events.emitted[0][2]
    assert (host.state / ".agent-problem").read_text() == f"{events.emitted[0][2]}\n"
    assert (host.bin / "genie").exists()


def test_the_node_reports_each_step_of_a_removal(
    host: Host, make_reconciler: Callable[..., NodeReconciler], clock: Clock
) -> None:
    """The mode, the networks without Genie, the pods that need it; nothing when all is gone."""
    ready(host)
    path = str(host.conf / "10-canal.conflist")
    before = make_reconciler().reconcile().removal
    assert before == "mode=install;next=10-canal,canal;plugin=v1"
    assert make_reconciler(mode="disable").reconcile().removal == before.replace(
        "install", "disable"
    )

    store.write_synced(str(host.state), make_record())
    leaving = make_reconciler(mode="remove")
    waiting = before.replace("install", "remove")
    assert leaving.reconcile().removal == f"{waiting};pods=ns/p"
    (host.state / ".reaper-gone").write_text("c1")
    assert leaving.reconcile().removal == f"{waiting};ended=1"

    store.write_synced(str(host.state), make_canal_record(path))
    (host.state / ".reaper-gone").unlink()
    state = leaving.reconcile()
    assert (state.conflist_removed, state.removal) == (True, waiting)
    clock.now += 91
    # The plugin is gone; the reaper has to hand the record over.
    assert leaving.reconcile().removal == waiting.removesuffix(";plugin=v1")
    store.remove(str(host.state), "c1")
    assert leaving.reconcile().removal == ""


def test_the_report_of_an_installed_node_does_not_change_with_its_pods(
    host: Host, make_reconciler: Callable[..., NodeReconciler]
) -> None:
    """The Node would be written for every pod otherwise."""
    ready(host)
    reconciler = make_reconciler()
    before = reconciler.reconcile().removal
    store.write_synced(str(host.state), make_record())
    assert reconciler.reconcile().removal == before


def test_the_conflist_is_removed_first_and_the_plugin_when_no_call_can_run(
    host: Host, make_reconciler: Callable[..., NodeReconciler], clock: Clock
) -> None:
    """Then the records may be removed, too: the next configuration releases their pods."""
    ready(host)
    make_reconciler().reconcile()
    store.write_synced(str(host.state), make_canal_record(str(host.conf / "10-canal.conflist")))
    leaving = make_reconciler(mode="remove")
    assert leaving.reconcile().conflist_removed
    assert not (host.conf / "00-genie.conflist").exists()
    assert (host.bin / "genie").exists()
    clock.now += 91
    assert leaving.reconcile().plugin_removed
    assert [path.name for path in host.bin.iterdir()] == ["bridge"]
    assert [path.name for path in host.conf.iterdir()] == ["10-canal.conflist"]


@pytest.mark.parametrize("mode", ["remove", "remove --force"])
def test_a_removal_changes_nothing_on_a_node_without_genie(
    host: Host, make_reconciler: Callable[..., NodeReconciler], mode: str
) -> None:
    """A node that joins in this mode stays as it is."""
    ready(host)
    assert make_reconciler(mode=mode).reconcile().conflist_removed
    assert [path.name for path in host.conf.iterdir()] == ["10-canal.conflist"]


@pytest.mark.parametrize("mode", ["remove", "remove --force"])
@pytest.mark.parametrize(
    "taken",
    [
        pytest.param(True, id="somebody else took the conflist before"),
        pytest.param(False, id="an ADD under way wrote its record later"),
    ],
)
def test_without_a_conflist_plugin_and_records_stay_while_a_pod_needs_them(
    host: Host,
    make_reconciler: Callable[..., NodeReconciler],
    clock: Clock,
    events: RecordedEvents,
    mode: str,
    *,
    taken: bool,
) -> None:
    """The Event names the pod. The conflist is not restored; the removal ends with the release."""
    ready(host)
    make_reconciler().reconcile()
    if taken:
        (host.conf / "00-genie.conflist").unlink()
        store.write_synced(str(host.state), make_record())
    leaving = make_reconciler(mode=mode)
    assert leaving.reconcile().conflist_removed
    store.write_synced(str(host.state), make_record())
    for _ in range(3):
        clock.now += 91
        state = leaving.reconcile()
        assert (state.conflist_removed, state.plugin_removed) == (True, False)
    assert not (host.conf / "00-genie.conflist").exists()
    assert (host.bin / "genie").exists()
    assert [path.name for path in host.state.glob("*.json")] == ["c1.json"]
    assert "NotRemoved" in events.reasons()
    assert "ns/p" in events.emitted[-1][2]
    store.remove(str(host.state), "c1")
    assert leaving.reconcile().plugin_removed
    assert not (host.bin / "genie").exists()


def test_a_conflist_that_comes_back_starts_the_wait_for_calls_again(
    host: Host, make_reconciler: Callable[..., NodeReconciler], clock: Clock
) -> None:
    """A call may begin until it is removed again."""
    ready(host)
    make_reconciler().reconcile()
    conflist = (host.conf / "00-genie.conflist").read_bytes()
    leaving = make_reconciler(mode="remove")
    leaving.reconcile()
    clock.now += 89
    (host.conf / "00-genie.conflist").write_bytes(conflist)
    leaving.reconcile()
    clock.now += 89
    leaving.reconcile()
    assert (host.bin / "genie").exists()
    clock.now += 2
    leaving.reconcile()
    assert not (host.bin / "genie").exists()


def test_purge_keeps_folders_records_and_what_belongs_to_them(host: Host) -> None:
    """A file system has a lost+found; an admin needs ``.json.left`` and ``.json.corrupt`` files.

    A record stays until the reaper has handed it over, with the other files of its container.
    """
    (host.state / "lost+found").mkdir()
    beside = {".settings", "c.json", "c.json.synced", "c.json.tmp", "c.lock"}
    removed = {"journal", ".gc.lock", "cc.lock", "d.json.synced"}
    kept = {"c.json.corrupt", "d.json.corrupt", "left.json.left"}
    for name in beside | removed | kept:
        (host.state / name).touch()
    kept.add("lost+found")
    purge(host.state)
    purge(host.state / "never")
    assert {path.name for path in host.state.iterdir()} == beside | kept
    (host.state / "c.json").unlink()
    purge(host.state)
    assert {path.name for path in host.state.iterdir()} == kept


def test_the_event_names_what_is_left_and_what_is_corrupt(
    host: Host, make_reconciler: Callable[..., NodeReconciler], events: RecordedEvents
) -> None:
    """Both are all that says which addresses may still be allocated."""
    ready(host)
    (host.state / "c9.json.corrupt").write_text("{")
    assert make_reconciler(mode="remove").reconcile().conflist_removed
    [(_, reason, sentence)] = events.emitted
    assert reason == "NotFreed"
    assert sentence.startswith("the records of the containers c9 could not be read")
    assert f"{host.state}/*.corrupt" in sentence

    store.write_synced(str(host.state), make_record())
    assert keep_as_left(host.state, "c1")
    make_reconciler(mode="remove").reconcile()
    sentence = events.emitted[-1][2]
    assert "the networks of ns/p were not released" in sentence
    assert "remove the files; the records of the containers c9" in sentence


def test_a_reaper_that_restarts_after_the_purge_still_hands_over(host: Host) -> None:
    """The settings that it acts on stay until the last record is gone."""
    settings = host.settings(mode="remove")
    accepted_settings.write(host.state, AcceptedSettings(settings.live, settings.live))
    (host.state / "c1.json").touch()
    purge(host.state)
    read = SettingsReader(settings).read()
    assert read is not None
    assert read.mode == "remove"

    (host.state / "c1.json").unlink()
    purge(host.state)
    assert list(host.state.iterdir()) == []


def test_a_runtime_without_a_configuration_directory_has_no_successor(host: Host) -> None:
    """The removal must not fail without end if the directory is missing."""
    assert successor(host.conf / "gone") == ""


def test_remove_force_keeps_a_record_as_left_after_three_failures(
    host: Host,
    rig: ReaperRig,
    events: RecordedEvents,
    clock: Clock,
    make_reconciler: Callable[..., NodeReconciler],
) -> None:
    """Whether DEL fails or the record is unreadable; one that is released meanwhile is not kept."""
    ready(host)
    make_reconciler().reconcile()
    node_state = {"state_dir": rig.state, "mode": "remove --force"}
    for container in ("failing", "freed"):
        rig.write(container)
    (rig.state / "torn.json").write_text("{")
    rig.fault = "bridge: it does not work"
    reaper = rig.make_reaper(host, cni_conf_dir="/etc/cni/net.d", mode="remove --force")
    for _ in range(2):
        assert reaper.release_blocking() == []
        assert not list(rig.state.glob("*.left"))
    leaving = make_reconciler(**node_state)
    assert not leaving.reconcile().conflist_removed
    store.remove(str(rig.state), "freed")
    reaper.release_blocking()
    assert sorted(path.name for path in rig.state.glob("*.json*")) == [
        "failing.json.left",
        "torn.json.left",
    ]
    assert leaving.reconcile().conflist_removed
    clock.now += 91
    assert leaving.reconcile().plugin_removed
    assert not (host.bin / "genie").exists()
    assert len(list(rig.state.glob("*.left"))) == 2
    reason, sentence = events.emitted[-1][1:]
    assert reason == "NotFreed"
    assert "the networks of ns/p, torn were not released" in sentence


def test_a_locked_record_is_not_kept_as_left(rig: ReaperRig) -> None:
    """A call may change it."""
    rig.write("busy")
    held = lock.acquire_container(str(rig.state), "busy", lock.NO_WAIT)
    assert not keep_as_left(rig.state, "busy")
    held.release()
    assert not keep_as_left(rig.state, "gone")
    assert keep_as_left(rig.state, "busy")


def test_without_the_plugin_libcnis_entries_for_its_calls_are_removed(
    host: Host, rig: ReaperRig
) -> None:
    """Entries of other networks stay, and all entries stay while the plugin is installed."""
    folder = host.root / "var/lib/cni/results"
    folder.mkdir()
    write_cache_entry(folder, "genie", "genie")
    write_cache_entry(folder, "genie-of-another-kind", "bridge", "portmap")
    (folder / "genie-torn-eth0").write_text("{")
    (folder / "genie-list-eth0").write_text("[]")
    host.executable("genie")
    places = {"cni_conf_dir": "/etc/cni/net.d", "cni_bin_dir": "/opt/cni/bin"}
    rig.make_reaper(host, mode="remove", **places).run_once()
    assert len(list(folder.iterdir())) == 4
    (host.bin / "genie").unlink()
    rig.make_reaper(host, mode="install", **places).run_once()
    assert len(list(folder.iterdir())) == 4
    rig.make_reaper(host, mode="remove", **places).run_once()
    assert sorted(path.name for path in folder.iterdir()) == [
        "genie-list-eth0",
        "genie-of-another-kind-c-eth0",
        "genie-torn-eth0",
    ]
