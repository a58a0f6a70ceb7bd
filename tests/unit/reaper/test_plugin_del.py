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


def cached(netns: str = "") -> CachedRecord:
    record = make_record()
    record.netns = netns
    return CachedRecord("c1", 0.0, record, "")


def test_the_plugin_is_called_as_the_runtime_would(host: Host) -> None:
    """Environment from the record, configuration from the runtime's own directory."""
    install(host, "exit 0")
    (host.conf / "00-genie.conflist").write_bytes(render(host.settings()))
    (host.root / "netns").symlink_to("/proc/self/ns/net")
    assert plugin_del.run(host.settings(), cached(str(host.root / "netns"))) == ""
    *environment, conf = (host.root / "out").read_text().splitlines()
    assert environment == [
        f"CNI_ARGS={ARGS}",
        "CNI_COMMAND=DEL",
        "CNI_CONTAINERID=c1",
        "CNI_IFNAME=eth0",
        f"CNI_NETNS={host.root}/netns",
        f"CNI_PATH={host.bin}",
    ]
    conf = json.loads(conf)
    assert (conf["type"], conf["stateDir"], conf["cniVersion"]) == (
        "genie",
        str(host.state),
        "1.0.0",
    )
    assert "capabilities" not in conf


@pytest.mark.parametrize(
    "netns",
    [
        pytest.param("/run/netns/never-was", id="no file"),
        pytest.param("/etc/passwd", id="a plain file"),
        pytest.param("/proc/self/ns/net", id="a path of a process"),
    ],
)
def test_cni_netns_is_empty_if_the_namespace_does_not_exist(host: Host, netns: str) -> None:
    """As the specification asks (section 2, DEL)."""
    install(host, "exit 0")
    assert plugin_del.run(host.settings(), cached(netns)) == ""
    assert "CNI_NETNS=\n" in (host.root / "out").read_text()


def test_a_record_without_attachments_gets_a_del(host: Host) -> None:
    """For the primary interface: only the plugin's DEL removes the record."""
    install(host, "exit 0")
    assert plugin_del.run(host.settings(), CachedRecord("c1", 0.0, Record("c1", "", []), "")) == ""
    assert "CNI_IFNAME=eth0\n" in (host.root / "out").read_text()


def test_without_a_conflist_the_configuration_is_made_of_the_settings(host: Host) -> None:
    """After a removal, or with an invalid file."""
    install(host, "exit 0")
    (host.conf / "00-genie.conflist").write_text("{")
    assert plugin_del.run(host.settings(), cached()) == ""
    conf = json.loads((host.root / "out").read_text().splitlines()[-1])
    assert conf["stateDir"] == str(host.state)
    assert conf["agentSocket"] == ""


def test_each_cni_ifname_gets_a_del_the_last_one_first(host: Host) -> None:
    """A runtime that made two calls for one container gets two DELs."""
    install(host, "exit 0")
    both = cached()
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
def test_a_failure_has_the_plugins_own_message(host: Host, then: str, words: str) -> None:
    """Or what it wrote to standard error."""
    install(host, then)
    assert words in plugin_del.run(host.settings(), cached())


def test_a_missing_plugin_is_a_failure(host: Host) -> None:
    """The DEL is retried when the agent has restored it."""
    assert "No such file" in plugin_del.run(host.settings(), cached())


def test_no_del_runs_for_an_unreadable_record(host: Host) -> None:
    """The error is the record's fault."""
    assert plugin_del.run(host.settings(), CachedRecord("c1", 0.0, None, "corrupt")) == "corrupt"


def test_the_plugin_runs_with_the_hosts_root_directory(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By chroot(1); only the start of the process is replaced here."""
    commands = []

    def run(command: list[str], **_: object) -> None:
        commands.append(command)
        raise FileNotFoundError("stop here")

    monkeypatch.setattr("subprocess.run", run)
    plugin_del.run(host.settings(host_root=host.root, cni_bin_dir="/opt/cni/bin"), cached())
    assert commands == [["chroot", str(host.root), "/opt/cni/bin/genie"]]
