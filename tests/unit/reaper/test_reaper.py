from __future__ import annotations

import fcntl
import itertools
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from dispatcher.node import gone_containers, reaper_problem
from dispatcher.reaper.host_paths import namespace_id, resolve
from dispatcher.reaper.reaper import UNANSWERED_PASSES
from dispatcher.state import lock, store
from dispatcher.state.record import PARKED, Record
from tests.unit.builders import ReaperRig, make_record

if TYPE_CHECKING:
    from tests.unit.host import Clock, Host


@pytest.fixture
def rig(host: Host, clock: Clock) -> ReaperRig:
    return ReaperRig(host, clock)


def test_what_the_runtime_does_not_list_twice_is_freed(rig: ReaperRig) -> None:
    """And what it lists stays, beside it."""
    rig.write("gone")
    rig.write("living")
    rig.listed = {"living"}
    assert rig.reaper.release_orphans() == []
    assert rig.reaper.release_orphans() == ["gone"]
    assert rig.reaper.release_orphans() == []
    assert rig.released == ["gone"]


def test_the_agent_learns_which_containers_the_runtime_no_longer_has(rig: ReaperRig) -> None:
    """After two looks; what is listed again is there again, and while it is away none is gone."""
    rig.add_namespace()
    for container in ("gone", "living"):
        rig.write(container, age=0)
    rig.listed = {"living"}
    rig.reaper.release_orphans()
    assert gone_containers.read(rig.state) == set()
    rig.reaper.release_orphans()
    assert gone_containers.read(rig.state) == {"gone"}
    rig.is_away = True
    rig.reaper.release_orphans()
    assert not (rig.state / gone_containers.NAME).exists()
    rig.is_away = False
    for _ in range(2):
        rig.reaper.release_orphans()
    assert gone_containers.read(rig.state) == {"gone"}
    rig.listed = {"gone", "living"}
    rig.reaper.release_orphans()
    assert gone_containers.read(rig.state) == set()


def test_the_agent_learns_which_containers_have_no_namespace(rig: ReaperRig) -> None:
    """A reboot took it; the runtime lists such a sandbox for a while, or does not answer."""
    rig.write("rebooted", age=0, netns="/run/netns/gone")
    rig.listed = {"rebooted"}
    rig.reaper.release_orphans()
    assert gone_containers.read(rig.state) == {"rebooted"}
    rig.is_away = True
    rig.reaper.release_orphans()
    assert gone_containers.read(rig.state) == {"rebooted"}


def test_a_folder_that_cannot_be_written_does_not_stop_the_reaper(tmp_path: Path) -> None:
    """What the agent is to know waits for the next look."""
    gone_containers.write(tmp_path / "none", {"c1"})
    assert gone_containers.read(tmp_path / "none") == set()


def test_a_sandbox_that_is_listed_in_between_is_counted_anew(rig: ReaperRig) -> None:
    """Two looks in a row, not two looks."""
    rig.write("c1")
    rig.reaper.release_orphans()
    rig.listed = {"c1"}
    rig.reaper.release_orphans()
    rig.listed = set()
    assert rig.reaper.release_orphans() == []
    assert rig.reaper.release_orphans() == ["c1"]


def test_while_the_runtime_is_away_nothing_is_freed_and_looks_start_anew(rig: ReaperRig) -> None:
    """It knows its sandboxes again only when it is up."""
    rig.write("c1")
    rig.reaper.release_orphans()
    rig.is_away = True
    assert rig.reaper.release_orphans() == []
    rig.is_away = False
    assert rig.reaper.release_orphans() == []
    assert rig.reaper.release_orphans() == ["c1"]


def test_that_the_runtime_stays_away_is_left_for_the_agent_to_say(rig: ReaperRig) -> None:
    """After some looks, since runtimes are restarted; it is taken back with the first answer."""
    rig.write("c1")
    rig.is_away = True
    for _ in range(UNANSWERED_PASSES - 1):
        rig.reaper.release_orphans()
    assert reaper_problem.read(rig.state) == ""
    rig.reaper.release_orphans()
    assert "runtime does not answer: away" in reaper_problem.read(rig.state)
    rig.is_away = False
    rig.reaper.release_orphans()
    assert reaper_problem.read(rig.state) == ""


def test_a_node_without_records_has_nothing_to_complain_of(rig: ReaperRig) -> None:
    """What an earlier reaper left goes, though the runtime is not asked."""
    rig.is_away = True
    reaper_problem.write(rig.state, "earlier")
    rig.reaper.release_orphans()
    assert reaper_problem.read(rig.state) == ""


def test_a_folder_that_cannot_be_written_keeps_nobody_from_work(rig: ReaperRig) -> None:
    """The complaint is in the log all the same."""
    with capture_logs() as said:
        reaper_problem.write(rig.state / "never", "sentence")
    assert said[0]["sentence"] == "sentence"


def test_what_a_killed_call_left_without_a_record_goes_at_once(rig: ReaperRig) -> None:
    """It stands for nothing, so the runtime need not be asked."""
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


def test_a_delegate_whose_time_is_over_and_whose_plugin_is_gone_is_ended(rig: ReaperRig) -> None:
    """Where no DEL comes any more nobody else would, and its container would wait for ever."""
    rig.write("c1")
    held = lock.acquire_container(str(rig.state), "c1", time.monotonic() + 5)
    with subprocess.Popen(["sleep", "60"], close_fds=False, process_group=0) as delegate:
        held.record_delegate(delegate.pid, time.monotonic() - 60)
        os.close(held._file)  # as a kill of the plugin does
        for _ in range(2):  # the first only notes that the runtime does not know it
            assert rig.reaper.release_orphans() == []
        assert delegate.wait(30) == -9
    assert rig.reaper.release_orphans() == ["c1"]


def test_a_namespace_with_a_process_waits_and_an_empty_one_does_not(rig: ReaperRig) -> None:
    """A pod lives as long as a process of it does, whatever the runtime lists."""
    rig.write("c1")
    rig.add_namespace()
    lives = rig.add_process(7)
    (rig.root / "proc/self").mkdir()
    (rig.root / "proc/8").mkdir()
    for _ in range(3):
        assert rig.reaper.release_orphans() == []
    lives.unlink()
    assert rig.reaper.release_orphans() == ["c1"]


def test_a_namespace_that_is_known_by_a_process_waits_for_its_end(rig: ReaperRig) -> None:
    """``/proc/<pid>/ns/net`` leads nowhere by name; it is what some runtimes give as a path."""
    lives = rig.add_process(7)
    rig.write("c1", netns="/proc/7/ns/net")
    for _ in range(3):
        assert rig.reaper.release_orphans() == []
    lives.unlink()
    assert rig.reaper.release_orphans() == ["c1"]


def test_a_failed_del_is_tried_again_ever_more_rarely(rig: ReaperRig) -> None:
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


def test_what_is_parked_waits_for_the_executable_and_is_freed_soon_after(
    rig: ReaperRig, host: Host
) -> None:
    """No DEL is tried in vain meanwhile: each would make the record younger again."""
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


def test_a_record_of_nothing_is_freed(rig: ReaperRig) -> None:
    """A DEL was killed between the last attachment and the record."""
    store.write_synced(str(rig.state), Record("c1", "", []))
    os.utime(store.path_of(str(rig.state), "c1"), (0, 0))
    rig.reaper.release_orphans()
    assert rig.reaper.release_orphans() == ["c1"]


def test_why_a_record_is_left_alone_is_in_the_log_once(
    rig: ReaperRig,
) -> None:
    """Not at every look, and again when the reason is another."""
    rig.write("c1", age=0)
    with capture_logs() as said:
        for _ in range(5):
            rig.reaper.release_orphans()
        rig.clock.now += 600
        rig.add_namespace()
        rig.add_process(7)
        for _ in range(5):
            rig.reaper.release_orphans()
    reasons = [each["reason"] for each in said if each["event"] == "record not released yet"]
    assert reasons == [
        "the record is younger than reap_age_seconds",
        "a process runs in its network namespace",
    ]


def test_what_a_del_parks_is_not_called_freed(rig: ReaperRig) -> None:
    """The plugin's DEL succeeds then, and the record stays."""
    rig.write("c1")
    rig.parks = True
    for _ in range(3):
        assert rig.reaper.release_orphans() == []
    assert rig.released == ["c1", "c1"]


def test_a_record_that_cannot_be_read_is_left_to_those_who_can(rig: ReaperRig) -> None:
    """A newer plugin's, say."""
    (rig.state / "bad.json").write_text("{")
    for _ in range(3):
        assert rig.reaper.release_orphans() == []
    assert (rig.state / "bad.json").exists()


def test_remove_by_force_frees_what_is_in_the_way_at_once(rig: ReaperRig, host: Host) -> None:
    """Without asking the runtime; only a call in progress is waited for."""
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


def test_a_link_on_the_host_leads_to_the_host(tmp_path: Path) -> None:
    """/var/run is a link to /run, and not to the container's own."""
    (tmp_path / "run/netns").mkdir(parents=True)
    (tmp_path / "run/netns/x").symlink_to("/proc/self/ns/net")
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("/run")
    (tmp_path / "var/alias").symlink_to("../run/./netns")
    assert resolve(tmp_path, "/var/run/netns") == tmp_path / "run/netns"
    assert resolve(tmp_path, "/var/alias/y") == tmp_path / "run/netns/y"
    assert resolve(tmp_path, "/../../var/run") == tmp_path / "run"
    assert namespace_id(tmp_path, "/var/run/netns/x") is not None
    assert namespace_id(tmp_path, "/var/alias/x") == namespace_id(tmp_path, "/run/netns/x")
    assert namespace_id(tmp_path, "/var/run/netns/y") is None
    assert namespace_id(tmp_path, "") is None


def test_a_namespace_is_what_the_kernel_calls_one(tmp_path: Path) -> None:
    """Those of a process are; a plain file, which a reboot leaves where one was mounted, is not."""
    own = Path("/proc/self/ns/net").stat()
    assert namespace_id(Path("/"), f"/proc/{os.getpid()}/ns/net") == (own.st_dev, own.st_ino)
    (tmp_path / "left").touch()
    assert namespace_id(tmp_path, "/left") is None


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    """And a namespace behind them is gone."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="too many"):
        resolve(tmp_path, "/a")
    assert namespace_id(tmp_path, "/a/x") is None
