from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.agent.settings_follower import SettingsFollower
from dispatcher.node import accepted_settings
from dispatcher.node.mode import Mode
from dispatcher.node.settings import LiveSettings, NodeSettings
from dispatcher.state.store import ACCEPTED_SETTINGS
from tests.unit.mounts import Mount

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.host import Clock, Host, RecordedEvents


class Rig:
    """A node with a mounted ConfigMap, and the agents that one after the other follow it."""

    def __init__(self, host: Host, clock: Clock, events: RecordedEvents, folder: Path) -> None:
        self.mount = Mount(folder)
        self.unavailable: dict[str, str] = {}
        """Why this node cannot attach a network."""
        self.delay = 12.0
        """The random delay of the next change."""
        self.bounds: list[tuple[float, float]] = []
        self.host, self.clock, self.events = host, clock, events
        self.settings: dict[str, Any] = {"settings_dir": self.mount.path}
        self.start()

    def start(self) -> None:
        """Start the agent, which has crashed before if it ran."""
        self.follower = SettingsFollower(
            self.host.settings(**self.settings),
            self.events,
            unavailable_reason=lambda settings: self.unavailable.get(settings.default_network, ""),
            clock=self.clock,
            uniform=self._uniform,
        )

    def _uniform(self, least: float, most: float) -> float:
        self.bounds.append((least, most))
        return self.delay

    def follow(self, *, is_confirmed: bool = False) -> LiveSettings | None:
        """Return the settings in force, after a check that the reaper knows them."""
        settings = self.follower.follow(is_confirmed=is_confirmed)
        assert isinstance(settings, NodeSettings | None)
        accepted = accepted_settings.read(self.host.state)
        live = settings.live if settings else None
        assert live == (accepted.in_force if accepted else None)
        return live

    def default(self) -> str:
        """Return the default network in force."""
        live = self.follow()
        return live.default_network if live else "none"


@pytest.fixture
def rig(host: Host, clock: Clock, events: RecordedEvents, tmp_path: Path) -> Rig:
    rig = Rig(host, clock, events, tmp_path / "settings")
    rig.mount.write({"default-network": "canal"})
    return rig


def test_the_first_settings_are_applied_at_once(rig: Rig) -> None:
    """Nothing works before."""
    assert rig.default() == "canal"
    assert rig.bounds == []
    assert rig.events.reasons() == ["SettingsApplied"]
    [(_, _, message)] = rig.events.emitted
    assert 'default-network "canal"' in message


def test_a_change_is_applied_after_a_random_time_and_an_event_says_what_changed(
    rig: Rig, clock: Clock
) -> None:
    """The time is chosen once for each change."""
    rig.follow()
    rig.mount.write({"default-network": "weave", "max-attachments": "7"})
    assert rig.default() == "canal"
    clock.now += 11.9
    assert rig.default() == "canal"
    clock.now += 0.1
    assert rig.follow() == LiveSettings(default_network="weave", max_attachments=7)
    assert rig.bounds == [(0.0, 30.0)]
    assert rig.events.emitted[1:] == [
        ("n1", "SettingsApplied", 'settings applied: default-network "weave", max-attachments "7"')
    ]


def test_a_change_that_is_taken_back_in_time_has_no_effect(rig: Rig, clock: Clock) -> None:
    """And the next one has a new time."""
    rig.follow()
    for value in ("weave", "canal", "weave"):
        rig.mount.write({"default-network": value})
        clock.now += 10
        assert rig.default() == "canal"
    assert len(rig.bounds) == 2


def test_a_change_that_is_replaced_waits_again(rig: Rig, clock: Clock) -> None:
    """So the last one of a series is not applied on all nodes together either."""
    rig.follow()
    rig.mount.write({"default-network": "wave"})
    rig.follow()
    clock.now += 11
    rig.mount.write({"default-network": "weave"})
    rig.follow()
    clock.now += 11
    assert rig.default() == "canal"
    clock.now += 1
    assert rig.default() == "weave"


def test_an_agent_that_starts_applies_a_change_at_once(rig: Rig) -> None:
    """A rollout starts one after the other."""
    rig.follow()
    rig.mount.write({"default-network": "weave"})
    rig.start()
    assert rig.default() == "weave"


def test_invalid_settings_are_refused_and_the_last_ones_stay(rig: Rig, clock: Clock) -> None:
    """Also when the agent is restarted meanwhile; the other values do not count either."""
    rig.follow()
    rig.mount.write({"default-network": "weave", "mode": "gone"})
    for _ in range(2):
        clock.now += 60
        assert rig.default() == "canal"
        assert 'setting "mode" of the ConfigMap genie' in rig.follower.refused
        assert rig.follower.unmet == ""
        assert rig.events.emitted[-1][1] == "SettingsRefused"
        assert "the settings before them stay in force" in rig.events.emitted[-1][2]
        rig.start()

    rig.mount.write({"default-network": "weave"})
    rig.follow()
    assert rig.follower.refused == ""
    assert rig.default() == "weave"


def test_a_first_start_with_invalid_settings_has_none_in_force(rig: Rig) -> None:
    """Until they are valid; then they are applied at once."""
    rig.mount.write({"mode": "gone"})
    assert rig.follow() is None
    assert "nothing is installed or removed" in rig.events.emitted[-1][2]
    rig.mount.write({"default-network": "weave"})
    assert rig.default() == "weave"


def test_a_default_that_this_node_cannot_attach_waits_and_the_other_settings_do_not(
    rig: Rig, clock: Clock
) -> None:
    """The node keeps the old default, says so, and takes the new one when it can."""
    rig.follow()
    rig.unavailable["weave"] = "no executable weave-net"
    rig.mount.write({"default-network": "weave", "mode": "disable"})
    rig.follow()
    clock.now += 30
    assert rig.follow() == LiveSettings(default_network="canal", mode=Mode.DISABLE)
    sentence = (
        'default network "weave" is not ready on this node: no executable weave-net; new pods '
        'without a choice still get "canal"'
    )
    assert rig.follower.unmet == sentence
    assert ("n1", "DefaultNetworkKept", sentence) in rig.events.emitted

    rig.start()
    assert rig.default() == "canal"
    rig.unavailable.clear()
    assert rig.default() == "weave"
    assert rig.follower.unmet == ""


@pytest.mark.parametrize("mode", ["remove", "remove --force"])
def test_a_node_that_genie_leaves_needs_no_default(rig: Rig, clock: Clock, mode: str) -> None:
    """So no problem is reported."""
    rig.follow()
    rig.unavailable["weave"] = "no executable weave-net"
    rig.mount.write({"default-network": "weave", "mode": mode})
    rig.follow()
    clock.now += 30
    live = rig.follow(is_confirmed=True)
    assert live == LiveSettings(default_network="weave", mode=Mode(mode))
    assert rig.follower.unmet == ""


def test_the_first_default_of_a_node_is_in_force_though_it_is_not_ready(rig: Rig) -> None:
    """There is no old one to keep: the reconciler says what is missing."""
    rig.unavailable["canal"] = "no configuration"
    assert rig.default() == "canal"
    assert rig.follower.unmet == ""


def test_a_forced_removal_needs_a_confirmation_of_this_node(rig: Rig, clock: Clock) -> None:
    """Without it the mode stays; other settings change."""
    rig.follow()
    assert not rig.follower.awaits_confirmation
    rig.mount.write({"default-network": "weave", "mode": "remove --force"})
    rig.follow()
    clock.now += 30
    assert rig.follow() == LiveSettings(default_network="weave", mode=Mode.INSTALL)
    assert rig.follower.unmet == (
        'mode "remove --force" is not confirmed for this node, so mode "install" stays; to '
        "release the networks of its running pods: kubectl annotate node n1 "
        "cni-genie.io/confirm-remove=force"
    )
    assert "RemovalUnconfirmed" in rig.events.reasons()

    live = rig.follow(is_confirmed=True)
    assert live is not None
    assert live.mode is Mode.REMOVE_FORCE
    assert not rig.follower.awaits_confirmation
    assert rig.follower.unmet == ""
    rig.start()
    assert rig.follow() == live


def test_a_confirmed_removal_is_taken_back_and_asked_for_again(rig: Rig) -> None:
    """The second one needs the confirmation, too."""
    rig.delay = 0
    forced = {"mode": "remove --force"}
    rig.mount.write(forced)
    assert rig.follow(is_confirmed=True) == LiveSettings(mode=Mode.REMOVE_FORCE)
    rig.mount.write({"mode": "install"})
    assert rig.follow() == LiveSettings()
    rig.mount.write(forced)
    assert rig.follow() == LiveSettings()
    assert rig.follower.awaits_confirmation


def test_an_unconfirmed_removal_leaves_a_node_without_history_alone(rig: Rig) -> None:
    """Neither installed nor removed."""
    rig.mount.write({"default-network": "canal", "mode": "remove --force"})
    assert rig.follow() is None
    assert "so nothing is installed or removed" in rig.follower.unmet
    assert rig.follower.awaits_confirmation
    live = rig.follow(is_confirmed=True)
    assert live == LiveSettings(default_network="canal", mode=Mode.REMOVE_FORCE)


def test_settings_that_cannot_be_written_for_the_reaper_are_not_applied(
    rig: Rig, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both would act on different ones; the next call tries again."""
    rig.follow()
    rig.mount.write({"default-network": "weave"})
    rig.follow()
    clock.now += 30

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(accepted_settings, "write", fail)
        assert rig.default() == "canal"
        assert "No space left on device" in rig.follower.unmet
        assert rig.events.reasons()[-1] == "NotInstalled"
    assert rig.default() == "weave"
    assert rig.follower.unmet == ""


@pytest.mark.parametrize("content", [None, "{"], ids=["removed", "corrupt"])
@pytest.mark.parametrize("mode", ["install", "remove"])
def test_a_lost_file_is_written_again_for_the_reaper(
    rig: Rig, mode: str, content: str | None
) -> None:
    """Except the one that the agent itself removed when Genie had left the node."""
    rig.mount.write({"mode": mode})
    rig.follow()
    path = rig.host.state / ACCEPTED_SETTINGS
    path.unlink() if content is None else path.write_text(content)
    rig.follower.follow(is_confirmed=False)
    assert path.exists() == (mode == "install" or content is not None)
    if path.exists():
        assert accepted_settings.read(rig.host.state)


def test_without_a_directory_the_settings_of_the_start_are_in_force(rig: Rig) -> None:
    """As in versions that read environment variables only; no Event for each start."""
    rig.settings = {"default_network": "weave", "ignored_networks": ("a", "b")}
    rig.start()
    assert rig.follow() == LiveSettings(default_network="weave", ignored_networks=("a", "b"))
    assert rig.events.emitted == []
