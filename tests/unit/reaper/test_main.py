from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from dispatcher.node import accepted_settings, status_answers
from dispatcher.node.accepted_settings import AcceptedSettings
from dispatcher.node.loop import Loop
from dispatcher.node.status_answers import StatusAnswer
from dispatcher.reaper import __main__ as reaper_command
from dispatcher.reaper import cri, plugin_del
from dispatcher.reaper.settings_reader import SettingsReader
from dispatcher.state import store
from tests.unit.builders import make_record

if TYPE_CHECKING:
    from pathlib import Path

    from dispatcher.node.record_cache import CachedRecord
    from dispatcher.node.settings import NodeSettings
    from tests.unit.host import Host


@pytest.mark.usefixtures("sigterm_soon")
def test_sigterm_ends_the_reaper(host: Host) -> None:
    """It needs neither the API server nor, without records, the runtime."""
    assert reaper_command.main([*host.options(), "--reap-look-seconds=0.1"]) == 0


def test_a_pass_asks_the_runtime_and_runs_the_plugins_del(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each DEL is progress: many of them do not make the loop look stuck."""
    sockets = []

    def list_sandboxes(path: Path, own_uid: str) -> set[str]:
        sockets.append((path, own_uid))
        return set()

    def run_del(_: NodeSettings, cached: CachedRecord) -> str:
        assert loop.is_progressing
        store.remove(str(host.state), cached.container_id)
        return ""

    monkeypatch.setattr(cri, "list_sandboxes", list_sandboxes)
    monkeypatch.setattr(plugin_del, "run", run_del)
    store.write_synced(str(host.state), make_record())
    places = {"state_dir": "/var/lib/cni/genie", "cni_bin_dir": "/opt/cni/bin"}
    settings = host.settings(host_root=host.root, pod_uid="u", reap_age_seconds=0, **places)
    (host.root / "proc").mkdir()

    accepted_settings.write(host.state, AcceptedSettings(settings.live, settings.live))
    reader, have_changed = SettingsReader(settings), threading.Event()
    loop = reaper_command._make_loop(settings, reader, have_changed)
    for _ in range(2):
        assert loop.run_once() == settings.reap_look_seconds
    assert list(host.state.glob("*.json")) == []
    assert sockets == [(host.root / "run/containerd/containerd.sock", "u")] * 2


def test_networks_are_asked_for_their_status_while_genie_stays_on_the_node(host: Host) -> None:
    """Under the names by which pods know them; the answers are left for the agent."""
    plugin = host.bin / "moody"
    plugin.write_text('#!/bin/sh\necho \'{"code": 50, "msg": "down"}\'; exit 1\n')
    plugin.chmod(0o755)
    document = host.network("weave", ["moody"])
    document.write_text(document.read_text().replace("1.0.0", "1.1.0"))
    settings = host.settings()
    loop = reaper_command._make_status_loop(settings, SettingsReader(settings))
    loop.run_once()
    assert status_answers.read(host.state) == status_answers.NO_ANSWERS, "nothing is accepted"

    accepted_settings.write(host.state, AcceptedSettings(settings.live, settings.live))
    assert loop.run_once() == settings.status_seconds
    down = StatusAnswer(50, "down")
    answers = status_answers.read(host.state).by_network
    assert answers == {"weave": down, "10-weave": down}

    document.unlink()
    leaving = host.settings(mode="remove").live
    accepted_settings.write(host.state, AcceptedSettings(leaving, leaving))
    loop.run_once()
    assert status_answers.read(host.state).by_network == answers


@pytest.mark.usefixtures("signals")
def test_a_stuck_reaper_exits(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no probe; the restarts of its container show it."""
    monkeypatch.setattr(Loop, "is_progressing", False)
    monkeypatch.setattr(reaper_command, "WATCH_SECONDS", 0.01)
    assert reaper_command.main(host.options()) == 1


def test_an_invalid_setting_is_named_and_the_reaper_exits_with_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In one line."""
    assert reaper_command.main(["--node-name=n", "--reap-age-seconds=-1"]) == 1
    assert "--reap-age-seconds" in capsys.readouterr().err
