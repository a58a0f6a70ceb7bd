from __future__ import annotations

import fcntl
import itertools
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from dispatcher.node import gone_containers, reaper_problem
from dispatcher.reaper.cri import CRIError
from dispatcher.reaper.host_paths import namespace, resolve
from dispatcher.reaper.reaper import UNANSWERED, Reaper
from dispatcher.state import lock, store
from dispatcher.state.record import PARKED, Record
from tests.unit.agent.test_network_status import record

if TYPE_CHECKING:
    from dispatcher.node.record_cache import CachedRecord
    from tests.unit.host import Clock, Host


class World:
    """A host below a folder, a runtime and a plugin, all as the test says."""

    def __init__(self, host: Host, clock: Clock) -> None:
        self.root = host.root
        self.clock = clock
        self.listed: set[str] = set()
        self.away = False
        self.fault = ""
        self.freed: list[str] = []
        (self.root / "proc").mkdir()
        self.state = host.root / "state"
        self.state.mkdir()
        self.parks = False
        self.reaper = self.reap(host)

    def reap(self, host: Host, **settings: Any) -> Reaper:
        """Return a reaper with *settings*."""
        given = host.settings(host_root=host.root, state_dir="/state", **settings)
        return Reaper(given, ask=self.ask, free=self.free, clock=self.clock)

    def ask(self) -> set[str]:
        """Answer as the runtime."""
        if self.away:
            raise CRIError("away")
        return self.listed

    def free(self, stored: CachedRecord) -> str:
        """Act as the plugin."""
        self.freed.append(stored.container_id)
        if not self.fault and not self.parks:
            store.remove(str(self.state), stored.container_id)
        return self.fault

    def write(self, container_id: str, age: float = 1000, netns: str = "/run/netns/x") -> None:
        """Write a record of *age* seconds."""
        made = record(container_id)
        made.netns = netns
        store.write_synced(str(self.state), made)
        written = self.clock.now - age
        os.utime(store.path_of(str(self.state), container_id), (written, written))

    def process(self, pid: int) -> Path:
        """Add a process that lives in the network namespace of the test; returns its link to it."""
        return self.link(f"proc/{pid}/ns/net")

    def netns(self) -> None:
        """Make that the namespace of the records, too."""
        self.link("run/netns/x")

    def link(self, place: str) -> Path:
        """Make *place* that namespace, by a link: only the kernel makes such files."""
        path = self.root / place
        path.parent.mkdir(parents=True)
        path.symlink_to("/proc/self/ns/net")
        return path


@pytest.fixture
def world(host: Host, clock: Clock) -> World:
    return World(host, clock)


def test_what_the_runtime_does_not_list_twice_is_freed(world: World) -> None:
    """And what it lists stays, beside it."""
    world.write("gone")
    world.write("living")
    world.listed = {"living"}
    assert world.reaper.look() == []
    assert world.reaper.look() == ["gone"]
    assert world.reaper.look() == []
    assert world.freed == ["gone"]


def test_the_agent_learns_which_containers_the_runtime_no_longer_has(world: World) -> None:
    """After two looks; what is listed again is there again, and while it is away none is gone."""
    world.netns()
    for container in ("gone", "living"):
        world.write(container, age=0)
    world.listed = {"living"}
    world.reaper.look()
    assert gone_containers.read(world.state) == set()
    world.reaper.look()
    assert gone_containers.read(world.state) == {"gone"}
    world.away = True
    world.reaper.look()
    assert not (world.state / gone_containers.NAME).exists()
    world.away = False
    for _ in range(2):
        world.reaper.look()
    assert gone_containers.read(world.state) == {"gone"}
    world.listed = {"gone", "living"}
    world.reaper.look()
    assert gone_containers.read(world.state) == set()


def test_the_agent_learns_which_containers_have_no_namespace(world: World) -> None:
    """A reboot took it; the runtime lists such a sandbox for a while, or does not answer."""
    world.write("rebooted", age=0, netns="/run/netns/gone")
    world.listed = {"rebooted"}
    world.reaper.look()
    assert gone_containers.read(world.state) == {"rebooted"}
    world.away = True
    world.reaper.look()
    assert gone_containers.read(world.state) == {"rebooted"}


def test_a_folder_that_cannot_be_written_does_not_stop_the_reaper(tmp_path: Path) -> None:
    """What the agent is to know waits for the next look."""
    gone_containers.write(tmp_path / "none", {"c1"})
    assert gone_containers.read(tmp_path / "none") == set()


def test_a_sandbox_that_is_listed_in_between_is_counted_anew(world: World) -> None:
    """Two looks in a row, not two looks."""
    world.write("c1")
    world.reaper.look()
    world.listed = {"c1"}
    world.reaper.look()
    world.listed = set()
    assert world.reaper.look() == []
    assert world.reaper.look() == ["c1"]


def test_while_the_runtime_is_away_nothing_is_freed_and_looks_start_anew(world: World) -> None:
    """It knows its sandboxes again only when it is up."""
    world.write("c1")
    world.reaper.look()
    world.away = True
    assert world.reaper.look() == []
    world.away = False
    assert world.reaper.look() == []
    assert world.reaper.look() == ["c1"]


def test_that_the_runtime_stays_away_is_left_for_the_agent_to_say(world: World) -> None:
    """After some looks, since runtimes are restarted; it is taken back with the first answer."""
    world.write("c1")
    world.away = True
    for _ in range(UNANSWERED - 1):
        world.reaper.look()
    assert reaper_problem.read(world.state) == ""
    world.reaper.look()
    assert "runtime does not answer: away" in reaper_problem.read(world.state)
    world.away = False
    world.reaper.look()
    assert reaper_problem.read(world.state) == ""


def test_a_node_without_records_has_nothing_to_complain_of(world: World) -> None:
    """What an earlier reaper left goes, though the runtime is not asked."""
    world.away = True
    reaper_problem.write(world.state, "earlier")
    world.reaper.look()
    assert reaper_problem.read(world.state) == ""


def test_a_folder_that_cannot_be_written_keeps_nobody_from_work(world: World) -> None:
    """The complaint is in the log all the same."""
    with capture_logs() as said:
        reaper_problem.write(world.state / "never", "sentence")
    assert said[0]["sentence"] == "sentence"


def test_what_a_killed_call_left_without_a_record_goes_at_once(world: World) -> None:
    """It stands for nothing, so the runtime need not be asked."""
    world.away = True
    (world.state / "c1.lock").touch()
    (world.state / "c1.json.tmp").write_bytes(b"{")
    world.reaper.turn()
    assert list(world.state.iterdir()) == []


def test_a_young_record_waits(world: World) -> None:
    """An ADD that still runs has no sandbox in the runtime's list."""
    world.write("c1", age=0)
    for _ in range(3):
        assert world.reaper.look() == []
    world.clock.now += 600
    assert world.reaper.look() == ["c1"]


def test_a_locked_record_waits(world: World) -> None:
    """A delegate that outlived its plugin holds the lock, too."""
    world.write("c1")
    held = os.open(world.state / "c1.lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        for _ in range(3):
            assert world.reaper.look() == []
    finally:
        os.close(held)
    assert world.reaper.look() == ["c1"]


def test_a_delegate_whose_time_is_over_and_whose_plugin_is_gone_is_ended(world: World) -> None:
    """Where no DEL comes any more nobody else would, and its container would wait for ever."""
    world.write("c1")
    held = lock.acquire_container(str(world.state), "c1", time.monotonic() + 5)
    with subprocess.Popen(["sleep", "60"], close_fds=False, process_group=0) as delegate:
        held.record_delegate(delegate.pid, time.monotonic() - 60)
        os.close(held._file)  # as a kill of the plugin does
        for _ in range(2):  # the first only notes that the runtime does not know it
            assert world.reaper.look() == []
        assert delegate.wait(30) == -9
    assert world.reaper.look() == ["c1"]


def test_a_namespace_with_a_process_waits_and_an_empty_one_does_not(world: World) -> None:
    """A pod lives as long as a process of it does, whatever the runtime lists."""
    world.write("c1")
    world.netns()
    lives = world.process(7)
    (world.root / "proc/self").mkdir()
    (world.root / "proc/8").mkdir()
    for _ in range(3):
        assert world.reaper.look() == []
    lives.unlink()
    assert world.reaper.look() == ["c1"]


def test_a_namespace_that_is_known_by_a_process_waits_for_its_end(world: World) -> None:
    """``/proc/<pid>/ns/net`` leads nowhere by name; it is what some runtimes give as a path."""
    lives = world.process(7)
    world.write("c1", netns="/proc/7/ns/net")
    for _ in range(3):
        assert world.reaper.look() == []
    lives.unlink()
    assert world.reaper.look() == ["c1"]


def test_a_failed_del_is_tried_again_ever_more_rarely(world: World) -> None:
    """After ten minutes, twenty, forty."""
    world.write("c1")
    world.fault = "the delegate failed"
    tries = []
    for _ in range(80):
        before = len(world.freed)
        world.reaper.look()
        if len(world.freed) > before:
            tries.append(world.clock.now)
        world.clock.now += 60
    assert [late - early for early, late in itertools.pairwise(tries)] == [600, 1200, 2400]
    world.fault = ""
    world.clock.now += 86_400
    assert world.reaper.look() == ["c1"]


def test_what_is_parked_waits_for_the_executable_and_is_freed_soon_after(
    world: World, host: Host
) -> None:
    """No DEL is tried in vain meanwhile: each would make the record younger again."""
    reaper = world.reap(host, cni_bin_dir="/opt/cni/bin")
    parked = record("c1")
    for attachment in parked.attachments:
        attachment.phase = PARKED
    store.write_synced(str(world.state), parked)
    os.utime(store.path_of(str(world.state), "c1"), (0, 0))
    for _ in range(5):
        assert reaper.look() == []
    assert world.freed == []
    host.executable("bridge")
    assert reaper.look() == ["c1"]


def test_a_record_of_nothing_is_freed(world: World) -> None:
    """A DEL was killed between the last attachment and the record."""
    store.write_synced(str(world.state), Record("c1", "", []))
    os.utime(store.path_of(str(world.state), "c1"), (0, 0))
    world.reaper.look()
    assert world.reaper.look() == ["c1"]


def test_why_a_record_is_left_alone_is_in_the_log_once(
    world: World,
) -> None:
    """Not at every look, and again when the reason is another."""
    world.write("c1", age=0)
    with capture_logs() as said:
        for _ in range(5):
            world.reaper.look()
        world.clock.now += 600
        world.netns()
        world.process(7)
        for _ in range(5):
            world.reaper.look()
    reasons = [each["reason"] for each in said if each["event"] == "left alone"]
    assert reasons == ["it is too young", "its network namespace holds a process"]


def test_what_a_del_parks_is_not_called_freed(world: World) -> None:
    """The plugin's DEL succeeds then, and the record stays."""
    world.write("c1")
    world.parks = True
    for _ in range(3):
        assert world.reaper.look() == []
    assert world.freed == ["c1", "c1"]


def test_a_record_that_cannot_be_read_is_left_to_those_who_can(world: World) -> None:
    """A newer plugin's, say."""
    (world.state / "bad.json").write_text("{")
    for _ in range(3):
        assert world.reaper.look() == []
    assert (world.state / "bad.json").exists()


def test_remove_by_force_frees_what_is_in_the_way_at_once(world: World, host: Host) -> None:
    """Without asking the runtime; only a call in progress is waited for."""
    world.away = True
    for name in ("c1", "c2"):
        world.write(name, age=0)
    held = os.open(world.state / "c2.lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        reaper = world.reap(host, cni_conf_dir="/etc/cni/net.d", mode="remove --force")
        reaper.turn()
        assert world.freed == ["c1"]
    finally:
        os.close(held)
    reaper.turn()
    assert world.freed == ["c1", "c2"]


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
    assert namespace(tmp_path, "/var/run/netns/x") is not None
    assert namespace(tmp_path, "/var/alias/x") == namespace(tmp_path, "/run/netns/x")
    assert namespace(tmp_path, "/var/run/netns/y") is None
    assert namespace(tmp_path, "") is None


def test_a_namespace_is_what_the_kernel_calls_one(tmp_path: Path) -> None:
    """Those of a process are; a plain file, which a reboot leaves where one was mounted, is not."""
    own = Path("/proc/self/ns/net").stat()
    assert namespace(Path("/"), f"/proc/{os.getpid()}/ns/net") == (own.st_dev, own.st_ino)
    (tmp_path / "left").touch()
    assert namespace(tmp_path, "/left") is None


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    """And a namespace behind them is gone."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="too many"):
        resolve(tmp_path, "/a")
    assert namespace(tmp_path, "/a/x") is None
