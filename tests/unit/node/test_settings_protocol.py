"""Agent and reaper follow the ConfigMap in any order of changes, steps and crashes of either.

The model knows what the agent has written for the reaper, and nothing else of the code's state. The
mounted directory, the file between the two programs, and both programs' parts are the real ones.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dispatcher.agent.settings_follower import SettingsFollower
from dispatcher.kube.errors import InvalidSettingsError
from dispatcher.node import accepted_settings, removal, settings_dir
from dispatcher.node.mode import Mode
from dispatcher.node.settings import LiveSettings, NodeSettings
from dispatcher.reaper.settings_reader import SettingsReader
from dispatcher.state.store import ACCEPTED_SETTINGS
from tests.unit.host import Clock, RecordedEvents
from tests.unit.mounts import Mount

if TYPE_CHECKING:
    from dispatcher.node.accepted_settings import AcceptedSettings

MOUNTED = st.fixed_dictionaries(
    {
        "default-network": st.sampled_from(["", "canal", "weave", "flannel", "a/b"]),
        "mode": st.sampled_from([*map(str, Mode), "gone"]),
    }
)
DELAY = 30.0
RECORD = "c1.json"


class CrashError(Exception):
    """The agent is killed."""


class SettingsProtocol(RuleBasedStateMachine):
    """One node: its ConfigMap, its agent and its reaper."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        root = Path(self.folder.name)
        self.mount = Mount(root / "settings")
        (root / "state").mkdir()
        self.node = NodeSettings(
            node_name="n1", state_dir=root / "state", settings_dir=self.mount.path
        )
        self.clock = Clock()
        self.attachable = {"canal"}
        self.is_confirmed = False
        self.written: AcceptedSettings | None = None
        """What any agent accepted last."""
        self.known: AcceptedSettings | None = None
        """What the running agent can know of that: an earlier one may have removed the file."""
        self.dies_at = ""
        """Whether the next write kills the agent, "before" or "after" it."""
        self.patch = pytest.MonkeyPatch()
        self.write = accepted_settings.write
        self.patch.setattr(accepted_settings, "write", self._write)
        self.patch.setattr("os.fsync", lambda _: None)  # a kill loses no write; it takes most time

    def _write(self, state_dir: Path, accepted: AcceptedSettings) -> None:
        """Write as the agent does, and check what it accepts."""
        if self.dies_at == "before":
            raise CrashError
        former = self.written.in_force if self.written else LiveSettings()
        if accepted.in_force.mode.is_forced and not former.mode.is_forced:
            assert self.is_confirmed
        assert accepted.in_force.default_network in {
            accepted.wanted.default_network,
            former.default_network,
        }
        self.write(state_dir, accepted)
        self.written = self.known = accepted
        if self.dies_at == "after":
            raise CrashError

    @initialize(data=MOUNTED)
    def begin(self, data: dict[str, str]) -> None:
        """Mount the first ConfigMap, then start both programs."""
        self.mount.write(data)
        self.start_agent()
        self.start_reaper()

    @rule(data=MOUNTED)
    def change_settings(self, data: dict[str, str]) -> None:
        """Let the kubelet replace the mounted ConfigMap."""
        self.mount.write(data)

    @rule(seconds=st.sampled_from([4.0, 15.0, DELAY]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.now += seconds

    @rule(name=st.sampled_from(["canal", "weave", "flannel"]))
    def change_network(self, name: str) -> None:
        """Install a network on the node, or remove it."""
        self.attachable ^= {name}

    @rule()
    def change_confirmation(self) -> None:
        """Annotate the Node, or remove the annotation."""
        self.is_confirmed = not self.is_confirmed

    @rule()
    def start_agent(self) -> None:
        """Start the agent, which was killed."""
        self.in_force: LiveSettings | None = None
        self.known = self.written if self._is_stored() else None
        self.follower = SettingsFollower(
            self.node,
            RecordedEvents(),
            unavailable_reason=lambda settings: (
                "" if settings.default_network in self.attachable else "it is missing"
            ),
            clock=self.clock,
            uniform=lambda _, most: most,
        )

    @rule()
    def start_reaper(self) -> None:
        """Start the reaper, which was killed."""
        self.reader = SettingsReader(self.node)

    @rule()
    def run_agent(self) -> None:
        """Reconcile once. The agent acts on what it has accepted, and on nothing else."""
        in_force = self.follower.follow(is_confirmed=self.is_confirmed)
        self.in_force = in_force.live if in_force else None
        assert self.in_force == (self.known.in_force if self.known else None)

    @rule(moment=st.sampled_from(["before", "after"]))
    def kill_agent_while_it_writes(self, moment: str) -> None:
        """Kill the agent if it writes in this step, and start it again."""
        self.dies_at = moment
        try:
            self.run_agent()
        except CrashError:
            self.start_agent()
        finally:
            self.dies_at = ""

    @rule()
    def attach(self) -> None:
        """Start a pod, which an agent must have made possible; it has a record."""
        if self._is_stored():
            (self.node.state_dir / RECORD).touch()

    @rule()
    def release(self) -> None:
        """Release the pod's networks, or hand them over."""
        (self.node.state_dir / RECORD).unlink(missing_ok=True)

    @rule()
    def purge(self) -> None:
        """Remove the files that are not needed any more, when Genie has left the node."""
        if self.written and self.written.in_force.mode.is_leaving:
            removal.purge(self.node.state_dir)

    @rule()
    def run_reaper(self) -> None:
        """Begin a pass of the reaper: it acts on what the agent accepted last, or waits.

        It may wait only before the first settings, and when no record is left to hand over.
        """
        acted_on = self.reader.read()
        has_record = (self.node.state_dir / RECORD).exists()
        if self._is_stored() or has_record or acted_on is not None:
            assert self.written is not None
            assert acted_on is not None
            assert acted_on.live == self.written.in_force

    def _is_stored(self) -> bool:
        return (self.node.state_dir / ACCEPTED_SETTINGS).exists()

    @invariant()
    def force_is_accepted_confirmed_and_still_wanted(self) -> None:
        """At any moment within a pass."""
        if not hasattr(self, "reader") or not self.reader.allow_force():
            return
        assert self.written is not None
        assert self.written.in_force.mode is Mode.REMOVE_FORCE
        assert settings_dir.read(self.mount.path) == self.written.wanted

    @invariant()
    def invalid_settings_are_never_accepted(self) -> None:
        """Refuse the mounted ones as long as they are invalid."""
        try:
            settings_dir.read(self.mount.path)
        except InvalidSettingsError:
            if self.written:
                assert "gone" not in str(self.written)
                assert "a/b" not in str(self.written)

    def teardown(self) -> None:
        """Whatever has happened, both converge once the ConfigMap is valid and the node is able."""
        try:
            if hasattr(self, "follower"):
                self._converge()
        finally:
            self.patch.undo()
            self.folder.cleanup()

    def _converge(self) -> None:
        self.mount.write({"default-network": "weave", "mode": "disable"})
        self.attachable = {"weave"}
        self.run_agent()
        self.clock.now += DELAY
        self.run_agent()
        self.run_reaper()
        expected = LiveSettings(default_network="weave", mode=Mode.DISABLE)
        assert self.in_force == expected
        in_force = self.reader.read()
        assert in_force is not None
        assert in_force.live == expected


TestSettingsProtocol = SettingsProtocol.TestCase
TestSettingsProtocol.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    phases=[Phase.reuse, Phase.generate],  # to shrink takes minutes
    suppress_health_check=[HealthCheck.too_slow],
)
