from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from dispatcher.node import accepted_settings
from dispatcher.node.accepted_settings import AcceptedSettings
from dispatcher.node.mode import Mode
from dispatcher.node.settings import LiveSettings
from dispatcher.reaper.settings_reader import SettingsReader
from dispatcher.state.store import ACCEPTED_SETTINGS
from tests.unit.mounts import Mount

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.host import Host

FORCED = LiveSettings(default_network="weave", mode=Mode.REMOVE_FORCE)


def accept(host: Host, live: LiveSettings, wanted: LiveSettings | None = None) -> None:
    """Write what the agent has in force."""
    accepted_settings.write(host.state, AcceptedSettings(wanted or live, live))


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    mount = Mount(tmp_path / "settings")
    mount.write({"default-network": "weave", "mode": "remove --force"})
    return mount


@pytest.fixture
def reader(host: Host, mount: Mount) -> SettingsReader:
    return SettingsReader(host.settings(settings_dir=mount.path))


def test_before_the_agent_has_accepted_anything_there_is_nothing_to_act_on(
    reader: SettingsReader,
) -> None:
    """Whatever the ConfigMap contains."""
    assert reader.read() is None
    assert not reader.has_changed()
    assert not reader.allow_force()


def test_settings_are_those_that_the_agent_has_in_force(reader: SettingsReader, host: Host) -> None:
    """Not those that it wants; all other settings are the reaper's own."""
    kept = dataclasses.replace(FORCED, default_network="canal", mode=Mode.INSTALL)
    accept(host, kept, FORCED)
    assert reader.has_changed()
    settings = reader.read()
    assert settings is not None
    assert (settings.live, settings.node_name) == (kept, "n1")
    assert not reader.has_changed()
    assert not reader.allow_force()


def test_the_last_settings_count_when_the_agent_has_removed_its_files(
    reader: SettingsReader, host: Host
) -> None:
    """Genie has left the node, but records are still to be handed over."""
    accept(host, FORCED)
    assert reader.read()
    (host.state / ACCEPTED_SETTINGS).unlink()
    settings = reader.read()
    assert settings is not None
    assert settings.mode is Mode.REMOVE_FORCE
    assert not reader.has_changed()


def test_force_needs_the_same_settings_in_the_configmap(
    reader: SettingsReader, host: Host, mount: Mount
) -> None:
    """Whoever takes the mode back stops the reaper, though the agent has not answered yet."""
    accept(host, FORCED)
    reader.read()
    assert reader.allow_force()
    mount.write({"default-network": "weave", "mode": "install"})
    assert not reader.allow_force()
    mount.write({"default-network": "a/b", "mode": "remove --force"})
    assert not reader.allow_force()
    mount.write({"default-network": "weave", "mode": "remove --force"})
    assert reader.allow_force()


def test_force_ends_when_the_agent_accepts_other_settings(
    reader: SettingsReader, host: Host
) -> None:
    """Within a pass of the reaper, too."""
    accept(host, FORCED)
    reader.read()
    accept(host, dataclasses.replace(FORCED, mode=Mode.REMOVE), FORCED)
    assert not reader.allow_force()


def test_without_a_directory_the_agents_word_is_enough(host: Host) -> None:
    """The mode then comes from the environment, and changes with a restart only."""
    reader = SettingsReader(host.settings())
    accept(host, FORCED)
    reader.read()
    assert reader.allow_force()
