"""Any calls and faults in any order: what delegates hold is recorded, and living pods keep it."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dispatcher.cni_errors import CNIError
from dispatcher.state import store
from tests.unit.plugin.rig import Rig, failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KINDS = ("w1", "w2", "c1")
CHOICES = st.sampled_from(["weave", "canal", "weave,canal", "canal@net1,weave", "weave,weave", ""])
CONTAINERS = st.sampled_from(["a", "b"])


class Killed(BaseException):
    """Stands for a kill of the plugin: nothing more of it runs."""


@contextlib.contextmanager
def _at_each_write(before: Callable[[], None], after: Callable[[], None]) -> Iterator[None]:
    """Call something before and after each write of a record, synced or not."""
    real = {name: getattr(store, name) for name in ("write_synced", "write_unsynced")}

    def watched(name: str) -> Callable[..., None]:
        def write(*args: object) -> None:
            before()
            real[name](*args)
            after()

        return write

    def stage(*args: Any) -> Callable[[], None]:
        before()
        finish = real_stage(*args)
        after()

        def watched_finish() -> None:
            with mock.patch("posix.fdatasync", side_effect=lambda _: before()):
                finish()
            after()

        return watched_finish

    real_stage = store.stage
    put_in: dict[str, Any] = {"stage": stage, **{name: watched(name) for name in real}}
    with mock.patch.multiple(store, **put_in):
        yield


class Node(RuleBasedStateMachine):
    """One node under ADDs, DELs, GCs, failing and vanishing delegates, kills and full disks."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.rig = Rig(Path(self.folder.name))
        self.rig.version = "1.0.0"
        self.alive: set[str] = set()

    def teardown(self) -> None:
        """Remove all faults; a DEL of each container must then release everything."""
        self.rig.delegates.faults.clear()
        self.rig.delegates.absent.clear()
        for container in ("a", "b"):
            self.rig.run("DEL", container=container)
        assert self.rig.delegates.held == set()
        assert self.rig.left() == []
        self.folder.cleanup()

    @rule(plugin_type=st.sampled_from(KINDS), command=st.sampled_from(["ADD", "DEL"]))
    def a_delegate_begins_to_fail(self, plugin_type: str, command: str) -> None:
        """From now on."""
        self.rig.delegates.faults[command, plugin_type] = failure()

    @rule(plugin_type=st.sampled_from(KINDS))
    def an_executable_vanishes(self, plugin_type: str) -> None:
        """Remove it."""
        self.rig.delegates.absent.add(plugin_type)

    @rule()
    def all_faults_are_removed(self) -> None:
        """Restore executables and delegates."""
        self.rig.delegates.faults.clear()
        self.rig.delegates.absent.clear()

    @rule(seconds=st.sampled_from([1, 700]))
    def time_passes(self, seconds: int) -> None:
        """Long enough to park, or not."""
        self.rig.now += seconds

    @rule(container=CONTAINERS, cni=CHOICES)
    def add(self, container: str, cni: str) -> None:
        """Attach."""
        with contextlib.suppress(CNIError):
            self.rig.run("ADD", cni, container=container)
            self.alive.add(container)

    @rule(container=CONTAINERS)
    def delete(self, container: str) -> None:
        """Free."""
        self.alive.discard(container)
        with contextlib.suppress(CNIError):
            self.rig.run("DEL", container=container)

    @rule(alive=st.sets(CONTAINERS))
    def collect(self, alive: set[str]) -> None:
        """Free what the runtime does not list, and no more than that."""
        self.alive &= alive
        listed: Any = [{"containerID": each, "ifname": "eth0"} for each in alive]
        self.rig.version = "1.1.0"
        with contextlib.suppress(CNIError):
            self.rig.run("GC", **{"cni.dev/valid-attachments": listed})
        self.rig.version = "1.0.0"

    @rule(container=CONTAINERS)
    def collect_while_a_record_cannot_be_read(self, container: str) -> None:
        """As by a version that is too old for it."""
        file = self.rig.state / f"{container}.json"
        kept = file.read_bytes() if file.exists() else b""
        if kept:
            file.write_text('{"format": 9, "oldestReader": 9}')
        self.collect(self.alive)
        if kept:
            file.write_bytes(kept)

    @rule(container=CONTAINERS, cni=CHOICES, writes=st.integers(0, 3))
    def add_on_a_full_disk(self, container: str, cni: str, writes: int) -> None:
        """After some writes there is no space left."""
        left = writes

        def before() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(28, "No space left on device")

        with _at_each_write(before, lambda: None), contextlib.suppress(CNIError, OSError):
            self.rig.run("ADD", cni, container=container)

    @rule(
        container=CONTAINERS,
        cni=CHOICES,
        command=st.sampled_from(["ADD", "DEL"]),
        after=st.integers(0, 6),
    )
    def the_plugin_is_killed(self, container: str, cni: str, command: str, after: int) -> None:
        """At any write of a record, or any call of a delegate, before or after it."""
        steps = after
        delegates = self.rig.delegates

        def step() -> None:
            nonlocal steps
            steps -= 1
            if steps == -1:
                raise Killed

        real_call = type(delegates).__call__

        def die() -> None:
            self.step_or_die(step)

        def call(delegate: object, *args: object) -> object:
            self.step_or_die(step)
            output = real_call(delegate, *args)  # type: ignore[arg-type]
            self.step_or_die(step)
            return output

        self.alive -= {container} if command == "DEL" else set()
        self.dead = False
        type(delegates).__call__ = call  # type: ignore[assignment, method-assign]
        try:
            with _at_each_write(die, die), contextlib.suppress(CNIError, Killed):
                self.rig.run(command, cni, container=container)
        finally:
            type(delegates).__call__ = real_call  # type: ignore[method-assign]

    def step_or_die(self, step: object) -> None:
        """Let nothing happen after the kill, not even the roll-back."""
        if self.dead:
            raise Killed
        try:
            step()  # type: ignore[operator]
        except Killed:
            self.dead = True
            raise

    def recorded(self, *phases: str) -> set[tuple[str, str, str, str]]:
        """Return the resources of the attachments on disk that are in one of *phases*."""
        records = {container: self.rig.record(container) for container in self.rig.records}
        for file in self.rig.state.glob("*.json.tmp"):  # whole, or the next call forgets it
            records.setdefault(file.name.partition(".")[0], json.loads(file.read_bytes()))
        return {
            (container, attachment["interface"], attachment["conf"]["name"], plugin["type"])
            for container, record in records.items()
            for attachment in record["attachments"]
            for plugin in attachment["conf"]["plugins"]
            if attachment["phase"] in phases
        }

    @invariant()
    def what_is_held_is_recorded(self) -> None:
        """Each resource of a delegate belongs to an attachment on disk that was begun."""
        assert self.rig.delegates.held <= self.recorded(
            "attaching", "attached", "releasing", "parked"
        )

    @invariant()
    def what_is_alive_is_held(self) -> None:
        """Check that what was neither deleted nor dropped by the runtime has its resources."""
        attached = self.recorded("attached")
        assert self.alive <= {container for container, *_ in attached}
        assert {each for each in attached if each[0] in self.alive} <= self.rig.delegates.held


TestNode = Node.TestCase
TestNode.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)
