from __future__ import annotations

import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest
from inotify_simple import flags

from dispatcher.agent import agent as agent_module
from dispatcher.agent.__main__ import main
from dispatcher.agent.agent import Agent
from dispatcher.agent.network_status import NetworkStatusWriter
from dispatcher.cni_errors import CNIError
from dispatcher.kube.client import Kube
from dispatcher.node import reaper_problem, status_answers
from dispatcher.node.loop import Loop
from dispatcher.node.status_answers import StatusAnswer
from dispatcher.state import store
from dispatcher.state.record import PARKED
from tests.unit.agent.builders import (
    CANAL,
    WEAVE,
    SteppedAgent,
    emitted,
    eventually,
    fetch,
    node_api,
    node_labels,
    write_journal,
)
from tests.unit.builders import make_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dispatcher.node.record_cache import CachedRecord
    from tests.unit.apiserver import Api
    from tests.unit.host import Host


def test_the_agent_installs_publishes_reads_and_answers(host: Host) -> None:
    """All parts together, on files of a temporary folder."""
    api = node_api()
    settings = host.settings(port=0, look_seconds=0.1)
    agent = Agent(settings, host.plugin(), api.client())
    server = agent.start()
    try:
        port = int(server.server_address[1])
        eventually(lambda: "no configuration" in fetch(port, "/readyz")[1])
        assert fetch(port, "/readyz")[0] == 503
        host.executable("bridge")
        host.network("canal")
        eventually(lambda: fetch(port, "/readyz") == (200, "ok\n"))
        eventually(lambda: node_labels(api) == {"network.cni-genie.io/canal": "true"})
        store.write_synced(str(host.state), make_record())
        eventually(
            lambda: (
                "/api/v1/namespaces/ns/pods/p/status"
                in [call.path for call in api.calls_of("PATCH")]
            )
        )
        write_journal(host.state, CNIError(103, "bridge: no address left"))
        eventually(lambda: [e for e in emitted(api) if e["reason"] == "NetworkNotAttached"])
        event = next(e for e in emitted(api) if e["reason"] == "NetworkNotAttached")
        assert event["regarding"]["uid"] == "u1"
        assert event["note"] == "bridge: no address left"
        assert fetch(port, "/healthz") == (200, "ok\n")
        assert 'genie_agent_records{state="attached"} 1.0' in fetch(port, "/metrics")[1]
        assert fetch(port, "/other")[0] == 404
        assert host.settings().socket.is_socket()
        assert host.state.stat().st_mode & 0o777 == 0o700
    finally:
        agent.stop()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({}, [], id="is silent by default"),
        pytest.param(
            {"attached_events": True},
            ['attached network "weave" on eth0 in 30 ms; 40 ms in all'],
            id="is told if the settings say so",
        ),
    ],
)
def test_an_attached_pod(host: Host, settings: dict[str, bool], expected: list[str]) -> None:
    """With milliseconds, as a Normal Event on the pod. A failure is told in either case."""
    api = node_api()
    agent = Agent(host.settings(port=0, look_seconds=0.1, **settings), host.plugin(), api.client())
    agent.start()
    try:
        write_journal(host.state)
        write_journal(host.state, CNIError(103, "bridge: no address left"))
        eventually(lambda: [e for e in emitted(api) if e["reason"] == "NetworkNotAttached"])
    finally:
        agent.stop()
    attached = [e for e in emitted(api) if e["reason"] == "NetworkAttached"]
    assert [e["note"] for e in attached] == expected
    assert {(e["type"], e["regarding"]["uid"]) for e in attached} <= {("Normal", "u1")}


def test_problems_of_records_are_emitted_on_the_node(host: Host) -> None:
    """Parked attachments, and records that cannot be read."""
    api = node_api()
    parked = make_record()
    parked.attachments[0].phase = PARKED
    parked.attachments[0].failure = {"since": 1, "code": 107, "msg": "bridge is not there"}
    store.write_synced(str(host.state), parked)
    (host.state / "bad.json").write_text("{")
    agent = Agent(host.settings(port=0, look_seconds=0.1), host.plugin(), api.client())
    agent.start()
    try:
        eventually(
            lambda: {"NetworkParked", "RecordUnreadable"} <= {e["reason"] for e in emitted(api)}
        )
    finally:
        agent.stop()
    messages = {event["reason"]: event["note"] for event in emitted(api)}
    assert messages["NetworkParked"].startswith('pod ns/p (container c1): network "')
    assert "its DEL cannot run: bridge is not there; install" in messages["NetworkParked"]
    path = host.state / "bad.json"
    assert f"container bad: cannot read its record {path}: " in messages["RecordUnreadable"]


@pytest.mark.parametrize(
    "leave",
    [
        pytest.param(lambda path: path.unlink(), id="is removed"),
        pytest.param(lambda path: path.rename(f"{path}.cilium_bak"), id="is renamed by Cilium"),
        pytest.param(lambda path: path.write_text("{"), id="is broken"),
    ],
)
def test_the_label_of_a_nodes_only_network_turns_false_when_it(
    host: Host, leave: Callable[[Path], object]
) -> None:
    """Also where nothing else is left to publish; the metrics say so, too."""
    api = node_api()
    host.executable("bridge")
    path = host.network("canal")
    stepped = SteppedAgent(host, api)
    stepped.reconcile()
    assert node_labels(api) == {CANAL: "true"}
    assert stepped.shows('genie_agent_network_available{network="canal"} 1.0')
    leave(path)
    stepped.reconcile()
    assert node_labels(api) == {CANAL: "false"}
    assert stepped.shows('genie_agent_network_available{network="canal"} 0.0')
    assert stepped.shows('genie_agent_network_unavailable{network="canal"')


def test_nothing_is_published_before_the_first_reconciliation(host: Host) -> None:
    """What is not known yet is not absent."""
    api = node_api({CANAL: "true"})
    SteppedAgent(host, api).publish()
    assert node_labels(api) == {CANAL: "true"}


def test_labels_turn_false_while_the_runtime_loads_another_configuration(host: Host) -> None:
    """From the reconciler through the publication to the API server, and back."""
    api = node_api()
    host.executable("bridge")
    host.network("canal")
    stepped = SteppedAgent(host, api)
    stepped.reconcile()
    shadow = host.conf / "00-aaa.conf"
    shadow.write_text("{}")
    stepped.reconcile()
    assert node_labels(api)[CANAL] == "false"
    shadow.unlink()
    stepped.reconcile()
    assert node_labels(api)[CANAL] == "true"


def test_labels_turn_without_delay_when_the_runtime_uses_another_network_itself(
    host: Host,
) -> None:
    """Just after a start, too. Its own label stays, and all are back as soon as Genie is."""
    for name in ("canal", "weave"):
        host.network(name)
    host.executable("bridge")
    api = node_api()
    stepped = SteppedAgent(host, api, gone_seconds=60, start_seconds=300)
    stepped.reconcile()
    stepped.reconcile()
    assert node_labels(api) == {CANAL: "true", WEAVE: "true"}
    (host.conf / "10-canal.conflist").rename(host.conf / "00-canal.conflist")
    stepped.reconcile()
    assert node_labels(api) == {CANAL: "true", WEAVE: "false"}
    (host.conf / "00-canal.conflist").rename(host.conf / "10-canal.conflist")
    stepped.reconcile()
    assert node_labels(api) == {CANAL: "true", WEAVE: "true"}


def on_two_networks(host: Host) -> tuple[Api, SteppedAgent]:
    """Return an agent that has labelled its node with canal and weave, and its API server."""
    for name in ("canal", "weave"):
        host.network(name)
    host.executable("bridge")
    api = node_api()
    stepped = SteppedAgent(host, api, start_seconds=300)
    stepped.reconcile()
    return api, stepped


def test_a_network_that_is_not_available_loses_its_label_until_it_recovers(host: Host) -> None:
    """By its STATUS; metric, Event and the file for doctor say why."""
    api, stepped = on_two_networks(host)
    status_answers.write(host.state, time.time(), {"weave": StatusAnswer(50, "no daemon")})
    stepped.reconcile()
    assert node_labels(api) == {CANAL: "true", WEAVE: "false"}
    reason = "STATUS of the network returned code 50: no daemon"
    assert stepped.shows(f'genie_agent_network_unavailable{{network="weave",reason="{reason}"}} 1')
    assert (host.state / store.NETWORK_PROBLEMS).read_text() == f'network "weave": {reason}\n'
    status_answers.write(host.state, time.time(), {"weave": StatusAnswer(0)})
    stepped.reconcile()
    assert node_labels(api) == {CANAL: "true", WEAVE: "true"}
    assert stepped.shows('genie_agent_network_available{network="weave"} 1')
    assert not (host.state / store.NETWORK_PROBLEMS).exists()


def test_a_network_whose_adds_fail_loses_its_label(host: Host) -> None:
    """Those of several pods, read from the journal."""
    api, stepped = on_two_networks(host)
    for pod in ("u1", "u2", "u3"):
        write_journal(host.state, CNIError(999, "no daemon"), pod=pod, now=time.time())
    stepped.read()
    stepped.reconcile()
    assert node_labels(api) == {CANAL: "true", WEAVE: "false"}
    assert "failed for 3 pods" in (host.state / store.NETWORK_PROBLEMS).read_text()


def test_disabling_turns_the_labels_before_the_conflist_and_waits_for_no_delay(host: Host) -> None:
    """Of the networks that new pods do not get any more; the default's stays."""
    host.executable("bridge")
    host.network("canal")
    host.network("weave")
    conflist = host.conf / "00-genie.conflist"
    installing = node_api()
    SteppedAgent(host, installing).reconcile()
    assert node_labels(installing) == {CANAL: "true", WEAVE: "true"}
    before = conflist.read_bytes()
    api = node_api(node_labels(installing))
    seen: list[bytes] = []

    def read_conflist(method: str, _path: str) -> None:
        if method == "PATCH":
            seen.append(conflist.read_bytes())

    api.before = read_conflist
    stepped = SteppedAgent(host, api, mode="disable", start_seconds=300)
    stepped.reconcile()
    assert node_labels(api) == {CANAL: "true", WEAVE: "false"}
    assert seen == [before]
    assert b'"agentSocket": ""' in conflist.read_bytes()
    assert stepped.agent.readiness() == ""


def test_what_a_crash_left_half_written_is_swept_away_at_a_start(host: Host) -> None:
    """In the runtime's configuration directory and in the records', too."""
    for folder in (host.conf, host.state):
        (folder / ".genie-0123").write_text("half")
    agent = Agent(host.settings(port=0), host.plugin(), node_api().client())
    agent.start()
    agent.stop()
    assert not [*host.conf.glob(".genie-*"), *host.state.glob(".genie-*")]


def test_the_files_of_a_removed_plugin_are_removed(host: Host) -> None:
    """By the thread that takes the journal and remembers what was written onto pods."""
    host.executable("bridge")
    host.network("canal")
    SteppedAgent(host, node_api()).reconcile()
    (host.state / "journal").touch()
    api = node_api()
    settings = host.settings(mode="remove", deadline_seconds=0)
    look, publish, read = Agent(settings, host.plugin(), api.client()).loops
    for loop in (look, publish, look, look, publish, read):
        loop.run_once()
    assert list(host.state.iterdir()) == []
    assert not (host.bin / "genie").exists()
    assert node_labels(api) == {}


def test_the_problem_of_the_reaper_is_emitted_for_it(host: Host) -> None:
    """On the Node and as a metric; the reaper has neither a token nor a port."""
    api = node_api()
    reaper_problem.write(host.state, "nothing is freed while …")
    agent = Agent(host.settings(port=0, look_seconds=0.1), host.plugin(), api.client())
    port = int(agent.start().server_address[1])
    try:
        eventually(lambda: "NothingFreed" in {e["reason"] for e in emitted(api)})
        metric = 'genie_agent_reaper_problem{problem="nothing is freed while …"} 1.0'
        assert metric in fetch(port, "/metrics")[1]
        reaper_problem.write(host.state, "")
        eventually(lambda: "genie_agent_reaper_problem{" not in fetch(port, "/metrics")[1])
    finally:
        agent.stop()


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        pytest.param("journal", flags.CLOSE_WRITE, True, id="a call of the plugin that has ended"),
        pytest.param("journal", flags.CREATE, False, id="not the beginning of a journal"),
        pytest.param("journal", flags.DELETE, False, id="not the agent's removal of the journal"),
        pytest.param("c1.json", flags.DELETE, True, id="a record that the reaper hands over"),
        pytest.param("c1.json", flags.MOVED_TO, False, id="not a record before its call has ended"),
        pytest.param("c1.lock", flags.DELETE, False, id="not a lock"),
        pytest.param(".agent-status", flags.MOVED_TO, False, id="not the agent's own file"),
        pytest.param(".reaper-problem", flags.MOVED_TO, True, id="a problem of the reaper"),
        pytest.param(".reaper-problem", flags.DELETE, True, id="the end of the reaper's problem"),
    ],
)
def test_the_thread_of_the_records_is_woken_by(name: str, change: int, *, expected: bool) -> None:
    """Of the changes in the state directory, those that have news."""
    assert agent_module._is_for_records(name, change) is expected


def test_a_call_of_the_plugin_makes_one_pass_over_the_records(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files that the agent writes and removes in that pass make no other."""
    api = node_api()
    agent = Agent(host.settings(port=0, look_seconds=10), host.plugin(), api.client())
    passes: list[float] = []
    read = agent._records.read

    def counted() -> dict[str, CachedRecord]:
        passes.append(time.monotonic())
        return read()

    monkeypatch.setattr(agent._records, "read", counted)
    agent.start()
    try:
        # The start causes passes of its own: they are over after a second without one.
        eventually(lambda: passes and time.monotonic() - passes[-1] > 1.0)
        before = len(passes)
        store.write_synced(str(host.state), make_record())
        write_journal(host.state)
        eventually((host.state / ".agent-status").exists)
        time.sleep(0.5)
        assert len(passes) == before + 1
    finally:
        agent.stop()


def test_a_pass_that_leaves_pods_without_their_status_is_followed_by_another(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once: a pass ends after a while, because its thread has other work."""
    stepped = SteppedAgent(host, node_api())
    records_loop = stepped.agent.loops[2]
    stepped.read()
    assert not records_loop.wake.is_set()
    monkeypatch.setattr(NetworkStatusWriter, "publish", lambda *_: True)
    stepped.read()
    assert records_loop.wake.is_set()


def test_leaving_removes_the_labels(host: Host) -> None:
    """In the mode "remove"."""
    api = node_api({"network.cni-genie.io/canal": "true"})
    agent = Agent(
        host.settings(port=0, look_seconds=0.1, mode="remove"), host.plugin(), api.client()
    )
    agent.start()
    try:
        eventually(lambda: node_labels(api) == {})
        assert agent.readiness() == ""
    finally:
        agent.stop()


def test_a_start_that_fails_says_why_and_exits_1(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    """Settings first, then what the image lacks."""
    assert main([]) == 1
    assert "node-name" in capsys.readouterr().err
    assert main(["--node-name=n", f"--plugin-source={host.root}/none"]) == 1
    assert "one version of the plugin" in capsys.readouterr().err


def test_an_agent_whose_port_is_in_use_says_so_and_changes_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The kubelet starts it again and again: it must not write to the Node each time."""
    api = node_api()
    monkeypatch.setattr(Kube, "load", lambda *_: api.client())
    host.executable("bridge")
    host.network("canal")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main([*host.options(), f"--port={port}"]) == 1
    assert capsys.readouterr().err == (
        "the agent cannot start: settings --listen and --port (GENIE_LISTEN, GENIE_PORT): cannot "
        f"listen on 127.0.0.1, port {port}: Address already in use; another program on this node "
        "uses the port: configure another one there\n"
    )
    assert api.calls == []
    assert not (host.bin / "genie").exists()


@pytest.mark.usefixtures("signals")
def test_sigterm_ends_the_agent_and_takes_nothing_away(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 0; what was installed stays, and the socket goes."""
    monkeypatch.setattr(Kube, "load", lambda *_: node_api().client())
    host.executable("bridge")
    host.network("canal")
    installed = (host.conf / "00-genie.conflist", host.bin / "genie")

    def end() -> None:
        try:
            eventually(lambda: all(file.exists() for file in installed))
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    kubelet = threading.Thread(target=end)
    kubelet.start()
    assert main([*host.options(), "--port=0"]) == 0
    kubelet.join()
    assert all(file.exists() for file in installed)
    assert not (host.root / "agent.sock").exists()


def test_health_names_what_is_stuck(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the thread's name."""
    agent = Agent(host.settings(port=0), host.plugin(), node_api().client())
    assert agent.health() == ""
    monkeypatch.setattr(Loop, "is_progressing", False)
    assert agent.health() == "stuck threads: reconcile, publish, records"


def test_a_launcher_that_is_removed_is_noticed_before_the_next_reconciliation_is_due(
    host: Host,
) -> None:
    """So it is back at once, and not after some seconds."""
    host.executable("bridge")
    host.network("canal")
    agent = Agent(host.settings(port=0, look_seconds=60), host.plugin(), node_api().client())
    agent.start()
    try:
        eventually((host.conf / "00-genie.conflist").exists)
        time.sleep(0.5)  # what its own installation has set off is over
        (host.bin / "genie").unlink()
        eventually((host.bin / "genie").exists)
    finally:
        agent.stop()
