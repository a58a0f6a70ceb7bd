from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.node import accepted_settings
from dispatcher.node.accepted_settings import AcceptedSettings, generation
from dispatcher.node.mode import Mode
from dispatcher.node.settings import LiveSettings
from dispatcher.state.store import ACCEPTED_SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,8}[a-z0-9])?", fullmatch=True)
LIVE_SETTINGS = st.builds(
    LiveSettings,
    default_network=st.just("") | NAMES,
    mode=st.sampled_from(Mode),
    ignored_networks=st.lists(NAMES, max_size=3).map(tuple),
    max_attachments=st.integers(1, 32),
    max_per_network=st.integers(1, 32),
    limits=st.sampled_from(["enforce", "warn"]),
)


@settings(max_examples=30)  # each syncs a disk
@given(LIVE_SETTINGS, LIVE_SETTINGS)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, wanted: LiveSettings, in_force: LiveSettings
) -> None:
    """Every value of every setting."""
    folder = tmp_path_factory.mktemp("state")
    accepted = AcceptedSettings(wanted, in_force)
    accepted_settings.write(folder, accepted)
    assert accepted_settings.read(folder) == accepted


@given(LIVE_SETTINGS, LIVE_SETTINGS)
def test_a_generation_stands_for_the_values(one: LiveSettings, other: LiveSettings) -> None:
    """The same on every node."""
    assert (generation(one) == generation(other)) == (one == other)
    assert generation(dataclasses.replace(one)) == generation(one)


def test_without_a_file_nothing_is_accepted(tmp_path: Path) -> None:
    """Also without the directory."""
    assert accepted_settings.read(tmp_path / "none") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"format": 1}',
        b'{"format": 1, "digest": "0", "wanted": {}, "in-force": {}}',
        b"\xff",
    ],
)
def test_a_corrupt_file_counts_as_missing(tmp_path: Path, content: bytes) -> None:
    """Whoever wrote it."""
    (tmp_path / ACCEPTED_SETTINGS).write_bytes(content)
    assert accepted_settings.read(tmp_path) is None


def test_a_changed_value_is_not_believed(tmp_path: Path) -> None:
    """A disk that changes a bit must not remove Genie from a node."""
    live = LiveSettings(default_network="canal")
    accepted_settings.write(tmp_path, AcceptedSettings(live, live))
    path = tmp_path / ACCEPTED_SETTINGS
    path.write_text(path.read_text().replace('"install"', '"remove"'))
    assert accepted_settings.read(tmp_path) is None


@pytest.mark.parametrize("content", ["a newer format", "an invalid value"])
def test_what_another_version_wrote_is_not_guessed(tmp_path: Path, content: str) -> None:
    """With a digest that matches."""
    live = {"mode": "explode"} if content == "an invalid value" else {}
    number = accepted_settings.FORMAT + (content == "a newer format")
    fields = {"format": number, "wanted": live, "in-force": {}}
    text = json.dumps({**fields, "digest": accepted_settings._digest(fields)})
    (tmp_path / ACCEPTED_SETTINGS).write_text(text)
    assert accepted_settings.read(tmp_path) is None


def test_a_setting_that_the_writer_did_not_know_has_its_default(tmp_path: Path) -> None:
    """After an upgrade to a version with more settings."""
    fields = {"format": 1, "wanted": {"limits": "warn"}, "in-force": {"former": "x"}}
    text = json.dumps({**fields, "digest": accepted_settings._digest(fields)})
    (tmp_path / ACCEPTED_SETTINGS).write_text(text)
    expected = AcceptedSettings(LiveSettings(limits="warn"), LiveSettings())
    assert accepted_settings.read(tmp_path) == expected
