from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dispatcher.agent.conflist import render
from dispatcher.node.record_cache import CachedRecord
from dispatcher.reaper import plugin_del
from dispatcher.state.record import Record
from tests.unit.builders import ARGS, make_record

if TYPE_CHECKING:
    from tests.unit.host import Host

PLUGIN = """#!/bin/sh
env | grep ^CNI_ | sort >> {out}
cat >> {out}
{then}
"""


def install(host: Host, then: str) -> None:
    path = host.bin / "genie"
    path.write_text(PLUGIN.format(out=host.root / "out", then=then))
    path.chmod(0o755)


def stored(netns: str = "") -> CachedRecord:
    made = make_record()
    made.netns = netns
    return CachedRecord("c1", 0.0, made, "")


def test_the_plugin_is_called_as_the_runtime_would(host: Host) -> None:
    """Environment from the record, configuration from the runtime's own directory."""
    install(host, "exit 0")
    (host.conf / "00-genie.conflist").write_bytes(render(host.settings()))
    (host.root / "netns").symlink_to("/proc/self/ns/net")
    assert plugin_del.run(host.settings(), stored(str(host.root / "netns"))) == ""
    *environment, conf = (host.root / "out").read_text().splitlines()
    assert environment == [
        f"CNI_ARGS={ARGS}",
        "CNI_COMMAND=DEL",
        "CNI_CONTAINERID=c1",
        "CNI_IFNAME=eth0",
        f"CNI_NETNS={host.root}/netns",
        f"CNI_PATH={host.bin}",
    ]
    said = json.loads(conf)
    assert (said["type"], said["stateDir"], said["cniVersion"]) == (
        "genie",
        str(host.state),
        "1.0.0",
    )
    assert "capabilities" not in said


@pytest.mark.parametrize(
    "netns",
    [
        pytest.param("/run/netns/never-was", id="nothing is there"),
        pytest.param("/etc/passwd", id="a plain file is left of it"),
        pytest.param("/proc/self/ns/net", id="the number may be another process's"),
    ],
)
def test_a_namespace_that_is_gone_is_not_named(host: Host, netns: str) -> None:
    """An empty CNI_NETNS means so (specification, section 2, DEL)."""
    install(host, "exit 0")
    assert plugin_del.run(host.settings(), stored(netns)) == ""
    assert "CNI_NETNS=\n" in (host.root / "out").read_text()


def test_a_record_of_nothing_gets_a_del_all_the_same(host: Host) -> None:
    """For the interface that every pod has: the plugin's DEL is what takes the record away."""
    install(host, "exit 0")
    assert plugin_del.run(host.settings(), CachedRecord("c1", 0.0, Record("c1", "", []), "")) == ""
    assert "CNI_IFNAME=eth0\n" in (host.root / "out").read_text()


def test_without_a_conflist_the_settings_say_where_the_records_are(host: Host) -> None:
    """After an uninstall, or with a file that is broken."""
    install(host, "exit 0")
    (host.conf / "00-genie.conflist").write_text("{")
    assert plugin_del.run(host.settings(), stored()) == ""
    said = json.loads((host.root / "out").read_text().splitlines()[-1])
    assert said["stateDir"] == str(host.state)
    assert said["agentSocket"] == ""


def test_each_interface_that_was_asked_for_is_freed_latest_first(host: Host) -> None:
    """A runtime that made two calls for one container gets two DELs."""
    install(host, "exit 0")
    both = stored()
    assert both.record is not None
    both.record.attachments[1].cni_ifname = "eth9"
    plugin_del.run(host.settings(), both)
    lines = (host.root / "out").read_text().splitlines()
    assert [line for line in lines if line.startswith("CNI_IFNAME")] == [
        "CNI_IFNAME=eth9",
        "CNI_IFNAME=eth0",
    ]


@pytest.mark.parametrize(
    ("then", "words"),
    [
        pytest.param('echo \'{"code": 11, "msg": "not now"}\'; exit 1', "not now", id="CNI error"),
        pytest.param("echo trouble >&2; exit 3", "exit code 3: trouble", id="no JSON"),
    ],
)
def test_a_failure_is_told_in_the_plugins_own_words(host: Host, then: str, words: str) -> None:
    """Its message, or what it wrote to stderr."""
    install(host, then)
    assert words in plugin_del.run(host.settings(), stored())


def test_a_plugin_that_is_not_there_is_a_failure(host: Host) -> None:
    """It will be tried again when the agent has put it back."""
    assert "No such file" in plugin_del.run(host.settings(), stored())


def test_a_record_that_cannot_be_read_is_not_acted_on(host: Host) -> None:
    """Its fault is the answer."""
    assert plugin_del.run(host.settings(), CachedRecord("c1", 0.0, None, "corrupt")) == "corrupt"


def test_the_hosts_root_becomes_the_plugins(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through chroot(1); who runs it is the only thing replaced here."""
    commands = []

    def run(command: list[str], **_: object) -> None:
        commands.append(command)
        raise FileNotFoundError("stop here")

    monkeypatch.setattr("subprocess.run", run)
    plugin_del.run(host.settings(host_root=host.root, cni_bin_dir="/opt/cni/bin"), stored())
    assert commands == [["chroot", str(host.root), "/opt/cni/bin/genie"]]
