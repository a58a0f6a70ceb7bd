from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.conf import decode
from dispatcher.node.status_answers import StatusAnswer
from dispatcher.reaper import plugin_status
from dispatcher.reaper.plugin_status import StatusError
from tests.unit.agent.builders import eventually

if TYPE_CHECKING:
    from dispatcher.conf import Conf
    from tests.unit.host import Host

NOT_READY = """printf %s '{"code": 50, "msg": "no\\ndaemon"}'; exit 1"""


def chain(*types: str) -> Conf:
    plugins: list[dict[str, Any]] = [
        {"type": each, "cni.dev/x": 1, "capabilities": {"ips": True}} for each in types
    ]
    conf = {"cniVersion": "1.1.0", "name": "weave", "plugins": plugins}
    return decode(json.dumps(conf).encode(), "10-weave.conflist")


def install(host: Host, name: str, script: str) -> None:
    path = host.bin / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def ask(host: Host, conf: Conf, seconds: float = 10.0) -> StatusAnswer:
    return plugin_status.ask(conf, host.settings().host_root, [str(host.bin)], seconds)


def test_each_plugin_gets_status_as_from_a_runtime(host: Host) -> None:
    """The variables of a container are empty; keys for runtimes and capabilities are left out."""
    install(host, "a", f"env | grep ^CNI_ | sort > {host.root}/env; cat > {host.root}/in")
    install(host, "b", f"touch {host.root}/b")
    assert ask(host, chain("a", "b")) == StatusAnswer(0)
    assert (host.root / "env").read_text().splitlines() == [
        "CNI_ARGS=",
        "CNI_COMMAND=STATUS",
        "CNI_CONTAINERID=",
        "CNI_IFNAME=",
        "CNI_NETNS=",
        f"CNI_PATH={host.bin}",
    ]
    assert json.loads((host.root / "in").read_text()) == {
        "type": "a",
        "name": "weave",
        "cniVersion": "1.1.0",
        "capabilities": {"ips": True},
    }
    assert (host.root / "b").exists()


def test_numbers_of_a_configuration_keep_their_spelling(host: Host) -> None:
    """Also those that Python would print in another way."""
    install(host, "a", f"cat > {host.root}/in")
    conf = b'{"cniVersion":"1.1.0","name":"weave","plugins":[{"type":"a","x":[0.50,1e3]}]}'
    assert ask(host, decode(conf, "10-weave.conflist")) == StatusAnswer(0)
    assert '"x":[0.50,1e3]' in (host.root / "in").read_text()


def test_the_first_plugin_that_is_not_available_answers(host: Host) -> None:
    """In one line; the plugins after it are not asked."""
    install(host, "a", NOT_READY)
    install(host, "b", f"touch {host.root}/b")
    assert ask(host, chain("a", "b")) == StatusAnswer(50, "no daemon")
    assert not (host.root / "b").exists()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param('echo \'{"code": 4, "msg": "STATUS?"}\'; exit 1', "code 4", id="unknown"),
        pytest.param("exit 3", "exit status 3", id="no output"),
        pytest.param("echo '[1]'; exit 1", "exit status 1", id="no object"),
        pytest.param("echo '{}'; exit 1", "exit status 1", id="no code"),
    ],
)
def test_any_other_failure_is_no_answer(host: Host, script: str, reason: str) -> None:
    """A plugin of an older version fails so; it may work."""
    install(host, "a", script)
    with pytest.raises(StatusError, match=reason):
        ask(host, chain("a"))


def test_a_plugin_that_cannot_be_executed_is_no_answer(host: Host) -> None:
    """Missing, or of another machine; the agent reports a missing one itself."""
    with pytest.raises(StatusError, match="plugin a is missing"):
        ask(host, chain("a"))
    (host.bin / "a").write_text("?")
    with pytest.raises(StatusError, match="Permission denied"):
        ask(host, chain("a"))


def test_a_plugin_that_hangs_is_killed_with_its_children(host: Host) -> None:
    """At the deadline, which is that of the whole network."""
    install(host, "a", f"echo $$ > {host.root}/pid; sleep 60 & sleep 60")
    begin = time.monotonic()
    with pytest.raises(StatusError, match="did not end in time"):
        ask(host, chain("a", "a"), seconds=0.5)
    assert time.monotonic() - begin < 5
    group = (host.root / "pid").read_text().strip()

    def running() -> list[bytes]:
        command = ["ps", "-o", "stat=", "-g", group]
        listed = subprocess.run(command, capture_output=True, check=False).stdout.split()
        return [each for each in listed if not each.startswith(b"Z")]

    eventually(lambda: running() == [])  # the kernel ends each of them when it is scheduled


def test_a_daemon_that_a_plugin_left_is_not_waited_for(host: Host) -> None:
    """It holds the plugin's output open."""
    install(host, "a", f"sleep 60 & echo $! > {host.root}/pid; exit 0")
    begin = time.monotonic()
    assert ask(host, chain("a")) == StatusAnswer(0)
    assert time.monotonic() - begin < 5
    os.kill(int((host.root / "pid").read_text()), 9)


def test_a_plugin_runs_with_the_hosts_root_directory(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By chroot(1), at the host's path; only the start of the process is replaced here."""
    commands = []

    def start(command: list[str], **_: object) -> None:
        commands.append(command)
        raise OSError(2, "stop here")

    monkeypatch.setattr("subprocess.Popen", start)
    install(host, "a", "exit 0")
    folders = ["/opt/cni/bin", host.k3s_executables("b")]
    for plugin_type in ("a", "b"):
        with pytest.raises(StatusError, match="stop here"):
            plugin_status.ask(chain(plugin_type), host.root, folders)
    chroot = ["chroot", str(host.root)]
    assert commands == [[*chroot, "/opt/cni/bin/a"], [*chroot, f"{folders[1]}/b"]]


def test_no_descriptor_is_left(host: Host) -> None:
    """Neither after an answer nor after a failure."""
    install(host, "a", NOT_READY)
    before = descriptors()
    ask(host, chain("a"))
    with pytest.raises(StatusError):
        ask(host, chain("missing"))
    assert descriptors() == before


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_long_sentence_is_cut(host: Host) -> None:
    """It becomes a label of a metric."""
    install(host, "a", f"""echo '{{"code": 51, "msg": "{"x" * 5000}"}}'; exit 1""")
    assert ask(host, chain("a")) == StatusAnswer(51, "x" * plugin_status.MAX_MSG)
