from __future__ import annotations

import fcntl
import itertools
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from dispatcher.node import ended_list, reaper_problem
from dispatcher.reaper.reaper import UNANSWERED_PASSES
from dispatcher.state import lock, store
from dispatcher.state.record import ATTACHED, ATTACHING, PARKED, Record
from tests.unit.builders import ReaperRig, make_canal_record, make_record

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.host import Clock, Host


@pytest.fixture
def rig(host: Host, clock: Clock) -> ReaperRig:
    return ReaperRig(host, clock)


def test_a_record_is_released_when_two_passes_miss_its_sandbox(rig: ReaperRig) -> None:
    """The record of a listed sandbox stays."""
    rig.write("gone")
    rig.write("living")
    rig.listed = {"living"}
    assert rig.reaper.release_orphans() == []
    assert rig.reaper.release_orphans() == ["gone"]
    assert rig.reaper.release_orphans() == []
    assert rig.released == ["gone"]


def test_the_agent_learns_which_containers_the_runtime_does_not_list(rig: ReaperRig) -> None:
    """After two passes; a container that is listed again, or a runtime that is away, clears it."""
    rig.add_namespace()
    for container in ("gone", "living"):
        rig.write(container, age=0)
    rig.listed = {"living"}
    rig.reaper.release_orphans()
    assert ended_list.read(rig.state) == set()
    rig.reaper.release_orphans()
    assert ended_list.read(rig.state) == {"gone"}
    rig.is_away = True
    rig.reaper.release_orphans()
    assert not (rig.state / ended_list.FILE_NAME).exists()
    rig.is_away = False
    for _ in range(2):
        rig.reaper.release_orphans()
    assert ended_list.read(rig.state) == {"gone"}
    rig.listed = {"gone", "living"}
    rig.reaper.release_orphans()
    assert ended_list.read(rig.state) == set()


def test_the_agent_learns_which_containers_have_no_namespace(rig: ReaperRig) -> None:
    """After a reboot, the runtime lists such a sandbox for a while, or does not answer."""
    rig.write("rebooted", age=0, netns="/run/netns/gone")
    rig.listed = {"rebooted"}
    rig.reaper.release_orphans()
    assert ended_list.read(rig.state) == {"rebooted"}
    rig.is_away = True
    rig.reaper.release_orphans()
    assert ended_list.read(rig.state) == {"rebooted"}


def test_a_list_for_the_agent_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    """The next pass writes it again."""
    ended_list.write(tmp_path / "none", {"c1"})
    assert ended_list.read(tmp_path / "none") == set()


def test_a_sandbox_that_is_listed_in_between_starts_the_count_again(rig: ReaperRig) -> None:
    """Two passes in a row must miss it."""
    rig.write("c1")
    rig.reaper.release_orphans()
    rig.listed = {"c1"}
    rig.reaper.release_orphans()
    rig.listed = set()
    assert rig.reaper.release_orphans() == []
    assert rig.reaper.release_orphans() == ["c1"]


def test_a_runtime_that_does_not_answer_starts_the_count_again(rig: ReaperRig) -> None:
    """Nothing is released meanwhile."""
    rig.write("c1")
    rig.reaper.release_orphans()
    rig.is_away = True
    assert rig.reaper.release_orphans() == []
    rig.is_away = False
    assert rig.reaper.release_orphans() == []
    assert rig.reaper.release_orphans() == ["c1"]


def test_the_agent_learns_that_the_runtime_does_not_answer(rig: ReaperRig) -> None:
    """After five passes, since runtimes are restarted; the first answer removes the problem."""
    rig.write("c1")
    rig.is_away = True
    for _ in range(UNANSWERED_PASSES - 1):
        rig.reaper.release_orphans()
    assert reaper_problem.read(rig.state) == ""
    rig.reaper.release_orphans()
    problem = "the reaper releases nothing: the runtime does not answer: away"
    assert reaper_problem.read(rig.state) == problem
    rig.is_away = False
    rig.reaper.release_orphans()
    assert reaper_problem.read(rig.state) == ""


def test_a_node_without_records_has_no_problem(rig: ReaperRig) -> None:
    """The problem of an earlier reaper is removed, though the runtime is not asked."""
    rig.is_away = True
    reaper_problem.write(rig.state, "earlier")
    rig.reaper.release_orphans()
    assert reaper_problem.read(rig.state) == ""


def test_a_problem_that_cannot_be_written_is_logged(rig: ReaperRig) -> None:
    """It is no error."""
    with capture_logs() as logged:
        reaper_problem.write(rig.state / "never", "sentence")
    assert logged[0]["problem"] == "sentence"


def test_files_of_a_killed_call_without_a_record_are_removed_at_once(rig: ReaperRig) -> None:
    """Nothing was attached, so the runtime need not be asked."""
    rig.is_away = True
    (rig.state / "c1.lock").touch()
    (rig.state / "c1.json.tmp").write_bytes(b"{")
    rig.reaper.run_once()
    assert list(rig.state.iterdir()) == []


def test_a_young_record_waits(rig: ReaperRig) -> None:
    """An ADD that still runs has no sandbox in the runtime's list."""
    rig.write("c1", age=0)
    for _ in range(3):
        assert rig.reaper.release_orphans() == []
    rig.clock.now += 600
    assert rig.reaper.release_orphans() == ["c1"]


def test_a_record_of_a_clock_that_was_ahead_waits_no_longer_than_a_new_one(
    rig: ReaperRig,
) -> None:
    """Its age counts from the first pass that found it."""
    rig.write("c1", age=-86_400)
    for _ in range(2):
        assert rig.reaper.release_orphans() == []
    rig.clock.now += 600
    assert rig.reaper.release_orphans() == ["c1"]


def test_a_record_of_a_clock_that_is_corrected_while_the_reaper_runs(rig: ReaperRig) -> None:
    """Its age counts from the correction, also if a pass has read it before."""
    rig.clock.now += 86_400
    rig.write("c1", age=0)
    rig.listed = {"c1"}
    rig.reaper.release_orphans()
    rig.clock.now -= 86_400
    rig.listed = set()
    for _ in range(2):
        assert rig.reaper.release_orphans() == []
    rig.clock.now += 600
    assert rig.reaper.release_orphans() == ["c1"]


def test_a_locked_record_waits(rig: ReaperRig) -> None:
    """A delegate that outlived its plugin holds the lock, too."""
    rig.write("c1")
    held = os.open(rig.state / "c1.lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        for _ in range(3):
            assert rig.reaper.release_orphans() == []
    finally:
        os.close(held)
    assert rig.reaper.release_orphans() == ["c1"]


def test_an_overdue_delegate_without_its_plugin_is_killed(rig: ReaperRig) -> None:
    """Without a DEL nothing else would kill it, and its container would wait without end."""
    rig.write("c1")
    held = lock.acquire_container(str(rig.state), "c1", time.monotonic() + 5)
    with subprocess.Popen(["sleep", "60"], close_fds=False, process_group=0) as delegate:
        held.record_delegate(delegate.pid, time.monotonic() - 60)
        os.close(held._file)  # as a kill of the plugin does
        for _ in range(2):  # the first pass only counts the absence
            assert rig.reaper.release_orphans() == []
        assert delegate.wait(30) == -9
    assert rig.reaper.release_orphans() == ["c1"]


def test_a_namespace_with_a_process_waits_and_an_empty_one_does_not(rig: ReaperRig) -> None:
    """A pod with a process is alive, whatever the runtime lists."""
    rig.write("c1")
    rig.add_namespace()
    lives = rig.add_process(7)
    (rig.root / "proc/self").mkdir()
    (rig.root / "proc/8").mkdir()
    for _ in range(3):
        assert rig.reaper.release_orphans() == []
    lives.unlink()
    assert rig.reaper.release_orphans() == ["c1"]


def test_a_namespace_below_proc_waits_for_the_end_of_its_process(rig: ReaperRig) -> None:
    """Some runtimes pass ``/proc/<pid>/ns/net`` as CNI_NETNS."""
    lives = rig.add_process(7)
    rig.write("c1", netns="/proc/7/ns/net")
    for _ in range(3):
        assert rig.reaper.release_orphans() == []
    lives.unlink()
    assert rig.reaper.release_orphans() == ["c1"]


def test_a_namespace_below_proc_that_is_the_hosts_does_not_wait(rig: ReaperRig) -> None:
    """A daemon of the host, which never ends, got the number of the sandbox's process."""
    for pid in (1, 7):
        rig.add_process(pid)
    rig.write("c1", netns="/proc/7/ns/net")
    rig.write("c2")
    rig.add_namespace()
    rig.listed = {"c2"}
    rig.reaper.release_orphans()
    assert rig.reaper.release_orphans() == ["c1"]


def test_a_failed_del_is_retried_with_a_backoff(rig: ReaperRig) -> None:
    """After ten minutes, twenty, forty."""
    rig.write("c1")
    rig.fault = "the delegate failed"
    tries = []
    for _ in range(80):
        before = len(rig.released)
        rig.reaper.release_orphans()
        if len(rig.released) > before:
            tries.append(rig.clock.now)
        rig.clock.now += 60
    assert [late - early for early, late in itertools.pairwise(tries)] == [600, 1200, 2400]
    rig.fault = ""
    rig.clock.now += 86_400
    assert rig.reaper.release_orphans() == ["c1"]


def test_a_parked_record_is_released_when_its_executable_is_back(
    rig: ReaperRig, host: Host
) -> None:
    """No DEL runs meanwhile: each would make the record younger."""
    reaper = rig.make_reaper(host, cni_bin_dir="/opt/cni/bin")
    parked = make_record("c1")
    for attachment in parked.attachments:
        attachment.phase = PARKED
    store.write_synced(str(rig.state), parked)
    os.utime(store.path_of(str(rig.state), "c1"), (0, 0))
    for _ in range(5):
        assert reaper.release_orphans() == []
    assert rig.released == []
    host.executable("bridge")
    assert reaper.release_orphans() == ["c1"]


def test_a_parked_record_is_released_on_k3s(rig: ReaperRig, host: Host) -> None:
    """Its executables are absolute links, which lead nowhere in the reaper's container."""
    parked = make_record("c1")
    for attachment in parked.attachments:
        attachment.phase = PARKED
    store.write_synced(str(rig.state), parked)
    os.utime(store.path_of(str(rig.state), "c1"), (0, 0))
    reaper = rig.make_reaper(host, cni_bin_dir=host.k3s_executables("bridge", "host-local"))
    reaper.release_orphans()
    assert reaper.release_orphans() == ["c1"]


def test_a_record_without_attachments_is_released(rig: ReaperRig) -> None:
    """A DEL was killed after the last attachment, before it removed the record."""
    store.write_synced(str(rig.state), Record("c1", "", []))
    os.utime(store.path_of(str(rig.state), "c1"), (0, 0))
    rig.reaper.release_orphans()
    assert rig.reaper.release_orphans() == ["c1"]


def test_the_reason_to_wait_is_logged_once(rig: ReaperRig) -> None:
    """A new reason is logged again."""
    rig.write("c1", age=0)
    with capture_logs() as logged:
        for _ in range(5):
            rig.reaper.release_orphans()
        rig.clock.now += 600
        rig.add_namespace()
        rig.add_process(7)
        for _ in range(5):
            rig.reaper.release_orphans()
    reasons = [each["reason"] for each in logged if each["event"] == "record not released yet"]
    assert reasons == [
        "the record is younger than GENIE_REAP_AGE_SECONDS (600 s)",
        "a process runs in its network namespace",
    ]


def test_a_record_that_del_parks_is_not_released(rig: ReaperRig) -> None:
    """The plugin's DEL succeeds, but the record stays. The next one waits as after a failure."""
    rig.write("c1")
    rig.parks = True
    for _ in range(5):
        assert rig.reaper.release_orphans() == []
    assert rig.released == ["c1"]
    rig.clock.now += 600
    rig.parks = False
    assert rig.reaper.release_orphans() == ["c1"]


def test_an_unreadable_record_is_not_released(rig: ReaperRig) -> None:
    """A newer plugin may have written it."""
    (rig.state / "bad.json").write_text("{")
    for _ in range(3):
        assert rig.reaper.release_orphans() == []
    assert (rig.state / "bad.json").exists()


def test_remove_force_releases_blocking_records_at_once(rig: ReaperRig, host: Host) -> None:
    """Without asking the runtime; a locked record waits for the next pass."""
    rig.is_away = True
    for name in ("c1", "c2"):
        rig.write(name, age=0)
    held = os.open(rig.state / "c2.lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        reaper = rig.make_reaper(host, cni_conf_dir="/etc/cni/net.d", mode="remove --force")
        reaper.run_once()
        assert rig.released == ["c1"]
    finally:
        os.close(held)
    reaper.run_once()
    assert rig.released == ["c1", "c2"]


def test_a_pod_whose_add_succeeded_since_the_last_check_has_not_ended(
    rig: ReaperRig, host: Host
) -> None:
    """Its ADD took two checks, in which the runtime did not list the sandbox."""
    host.network("canal")
    rig.add_namespace()
    record = make_canal_record("/etc/cni/net.d/10-canal.conflist")
    record.attachments[0].phase = ATTACHING
    store.write_synced(str(rig.state), record)
    reaper = rig.make_reaper(host, cni_conf_dir="/etc/cni/net.d", mode="remove --force")
    for _ in range(2):
        reaper.release_orphans()

    record.attachments[0].phase = ATTACHED
    store.write_synced(str(rig.state), record)
    assert reaper.release_blocking() == []
    rig.listed = {"c1"}
    reaper.release_orphans()
    assert reaper.release_blocking() == []
    assert rig.released == []


def test_remove_force_spares_a_pod_whose_add_succeeds_during_another_del(
    rig: ReaperRig, host: Host
) -> None:
    """The successor can release that pod, so it no longer blocks the removal."""
    host.network("canal")
    rig.add_namespace()
    record = make_canal_record("/etc/cni/net.d/10-canal.conflist")
    record.container_id = "new"
    record.attachments[0].phase = ATTACHING
    store.write_synced(str(rig.state), record)
    rig.write("blocking")

    def finish_add() -> None:
        record.attachments[0].phase = ATTACHED
        store.write_synced(str(rig.state), record)

    rig.during_del = finish_add
    reaper = rig.make_reaper(host, cni_conf_dir="/etc/cni/net.d", mode="remove --force")
    assert reaper.release_blocking() == ["blocking"]
    assert rig.released == ["blocking"]
    assert store.exists(str(rig.state), "new")
