from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dispatcher.agent.conflist import ConflistError, ConflistFile, render
from dispatcher.plugin.genie_conf import read_conf

if TYPE_CHECKING:
    from tests.unit.host import Host


def test_the_conflist_is_what_the_plugin_reads(host: Host) -> None:
    """Every option is one that the plugin knows, with the value of the setting."""
    settings = host.settings(deadline_seconds=80)
    conflist = json.loads(render(settings))
    [plugin] = conflist["plugins"]
    own = read_conf(json.dumps({**plugin, "name": "genie", "cniVersion": "1.1.0"}).encode(), "ADD")
    assert own.settings.default == "canal"
    assert own.settings.conf_dirs == [str(host.extra), str(host.conf)]
    assert own.settings.state_dir == str(host.state)
    assert own.settings.agent_socket == str(host.root / "agent.sock")
    assert own.settings.deadline == 80
    assert plugin["capabilities"]["io.kubernetes.cri.pod-annotations"] is True
    assert conflist["cniVersions"] == ["0.4.0", "1.0.0", "1.1.0"]


def test_a_disabled_conflist_asks_for_no_annotations_and_no_agent(host: Host) -> None:
    """Then the plugin knows only the default network."""
    [plugin] = json.loads(render(host.settings(mode="disable")))["plugins"]
    assert "io.kubernetes.cri.pod-annotations" not in plugin["capabilities"]
    assert plugin["agentSocket"] == ""
    assert plugin["default"] == "canal"


FIRST_VERSIONS = {
    *("type", "default", "capabilities", "confDirs", "stateDir", "agentSocket"),
    *("deadlineSeconds", "parkAfterSeconds", "args"),
}
"""What every version of the plugin takes in Genie's own entry."""


def test_limits_of_static_pods_are_where_an_older_plugin_does_not_refuse_them(host: Host) -> None:
    """After a downgrade it may meet this file before its own agent has replaced it."""
    [plugin] = json.loads(render(host.settings(max_attachments=8, max_per_network=3)))["plugins"]
    assert plugin.keys() <= FIRST_VERSIONS
    own = read_conf(json.dumps({**plugin, "name": "genie", "cniVersion": "1.1.0"}).encode(), "ADD")
    assert (own.settings.max_attachments, own.settings.max_per_network) == (8, 3)


def test_limits_that_only_warn_are_none_for_static_pods(host: Host) -> None:
    """Nobody reads a warning of the plugin."""
    [plugin] = json.loads(render(host.settings(limits="warn")))["plugins"]
    assert "args" not in plugin


OURS = b'{"plugins": [{"type": "genie"}]}'


def test_it_is_written_once_and_then_left_alone(host: Host) -> None:
    """A second look at an unchanged file writes nothing."""
    conflist = ConflistFile(host.conf)
    assert conflist.install(OURS, 0) == []
    before = conflist.path.stat()
    assert conflist.install(OURS, 4) == []
    assert conflist.path.stat().st_mtime_ns == before.st_mtime_ns
    assert conflist.in_place
    assert before.st_mode & 0o777 == 0o644


def test_a_new_setting_replaces_an_old_conflist_silently(host: Host) -> None:
    """After a restart with another default network, say."""
    ConflistFile(host.conf).install(OURS, 0)
    conflist = ConflistFile(host.conf)
    assert conflist.install(OURS + b"\n", 0) == []
    assert conflist.path.read_bytes() == OURS + b"\n"


def test_a_loss_is_made_good_and_said(host: Host) -> None:
    """Once is an accident."""
    conflist = ConflistFile(host.conf)
    conflist.install(OURS, 0)
    conflist.path.unlink()
    [sentence] = conflist.install(OURS, 4)
    assert "was deleted" in sentence
    conflist.path.write_bytes(OURS + b" ")
    [sentence] = conflist.install(OURS, 100)
    assert "was changed" in sentence
    assert conflist.path.read_bytes() == OURS


def test_after_two_losses_in_a_minute_the_agent_stops_fighting_and_names_cilium(
    host: Host,
) -> None:
    """It tries again ten minutes later."""
    conflist = ConflistFile(host.conf)
    conflist.install(OURS, 0)
    backup = conflist.path.with_name(conflist.path.name + ".cilium_bak")
    conflist.path.rename(backup)
    conflist.install(OURS, 4)
    conflist.path.rename(backup)
    for now in (30, 40, 600):
        with pytest.raises(ConflistError, match=r"Cilium.*cni\.exclusive: false"):
            conflist.install(OURS, now)
        assert not conflist.path.exists()
    conflist.install(OURS, 700)
    assert conflist.path.exists()


def test_an_unknown_rival_is_described(host: Host) -> None:
    """Without the tell-tale backup nobody is accused."""
    conflist = ConflistFile(host.conf)
    conflist.install(OURS, 0)
    for now in (10, 20):
        conflist.path.unlink()
        if now == 10:
            conflist.install(OURS, now)
    with pytest.raises(ConflistError, match="another program"):
        conflist.install(OURS, 20)


def test_two_losses_far_apart_are_no_fight(host: Host) -> None:
    """A person may clean up a directory twice a day."""
    conflist = ConflistFile(host.conf)
    conflist.install(OURS, 0)
    for now in (10, 100, 200):
        conflist.path.unlink()
        conflist.install(OURS, now)
        assert conflist.path.exists()


def test_a_file_of_that_name_that_is_not_ours_is_not_touched(host: Host) -> None:
    """Neither replaced nor removed."""
    conflist = ConflistFile(host.conf)
    conflist.path.write_text("theirs")
    with pytest.raises(ConflistError, match="not written by Genie"):
        conflist.install(OURS, 0)
    conflist.remove()
    assert conflist.path.read_text() == "theirs"
    assert not conflist.in_place


def test_a_file_that_the_runtime_would_load_before_ours_is_named(host: Host) -> None:
    """The original CNI-Genie's 00-genie.conf sorts before 00-genie.conflist."""
    (host.conf / "00-genie.conf").write_text("{}")
    (host.conf / "00-aaa.txt").write_text("no configuration")
    conflist = ConflistFile(host.conf)
    with pytest.raises(ConflistError, match=r"00-genie\.conf sorts before"):
        conflist.install(OURS, 0)
    with pytest.raises(ConflistError, match=r"00-genie\.conf sorts before"):
        conflist.install(OURS, 4)


def test_removing_takes_ours_away(host: Host) -> None:
    """And twice is once."""
    conflist = ConflistFile(host.conf)
    conflist.install(OURS, 0)
    conflist.remove()
    conflist.remove()
    assert list(host.conf.iterdir()) == []


def test_a_directory_that_is_not_there_is_named(host: Host) -> None:
    """It is the runtime's; the agent does not invent it."""
    host.conf.rmdir()
    with pytest.raises(ConflistError, match=r"net\.d.*No such file"):
        ConflistFile(host.conf).install(OURS, 0)
