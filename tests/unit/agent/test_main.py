from __future__ import annotations

import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import generate_latest

from dispatcher.agent import http_endpoints, inotify
from dispatcher.agent.__main__ import main
from dispatcher.agent.agent import Agent
from dispatcher.agent.events import Events, Subject, node
from dispatcher.cni_errors import CNIError
from dispatcher.kube.client import Kube, KubeError
from dispatcher.node import reaper_problem
from dispatcher.node.loop import Loop
from dispatcher.state import store
from dispatcher.state.record import PARKED
from tests.unit.agent.test_journal_reader import write
from tests.unit.builders import make_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.host import Clock, Host


class Api(Kube):
    """A node's object in memory, and what was created and patched."""

    def __init__(self) -> None:
        self.labels: dict[str, str] = {}
        self.created: list[dict[str, Any]] = []
        self.patched: list[str] = []
        self.away = False

    def get(self, *_: Any, **__: Any) -> dict[str, Any]:
        """Return the node."""
        return {"metadata": {"labels": dict(self.labels)}}

    def patch(self, path: str, body: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """Change the node's labels, or note a pod."""
        self.patched.append(path)
        if path.startswith("/api/v1/nodes/"):
            wanted = self.labels | body["metadata"].get("labels", {})
            self.labels = {key: value for key, value in wanted.items() if value is not None}
        return self.get()

    def create(self, path: str, body: Any, **_: Any) -> dict[str, Any]:
        """Note an Event."""
        if self.away:
            raise KubeError(0, "NoAnswer", "away")
        assert path.endswith("/events")
        self.created.append(body)
        return {}


def eventually(holds: Any) -> None:
    """Wait for what another thread brings about."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in 10 s"
        time.sleep(0.02)


def fetch(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_the_agent_installs_publishes_reads_and_answers(host: Host) -> None:
    """All parts together, on files of a temporary folder."""
    api = Api()
    settings = host.settings(port=0, look_seconds=0.1)
    agent = Agent(settings, host.plugin(), api)
    server = agent.start()
    try:
        port = int(server.server_address[1])
        eventually(lambda: "no configuration" in fetch(port, "/readyz")[1])
        assert fetch(port, "/readyz")[0] == 503
        host.executable("bridge")
        host.network("canal")
        eventually(lambda: fetch(port, "/readyz") == (200, "ok\n"))
        eventually(lambda: api.labels == {"network.cni-genie.io/canal": "true"})
        store.write_synced(str(host.state), make_record())
        eventually(lambda: "/api/v1/namespaces/ns/pods/p/status" in api.patched)
        write(host.state, CNIError(103, "bridge: no address left"))
        eventually(lambda: [e for e in api.created if e["reason"] == "NetworkNotAttached"])
        event = next(e for e in api.created if e["reason"] == "NetworkNotAttached")
        assert event["involvedObject"]["uid"] == "u1"
        assert event["message"] == "bridge: no address left"
        assert fetch(port, "/healthz") == (200, "ok\n")
        assert 'genie_agent_records{state="attached"} 1.0' in fetch(port, "/metrics")[1]
        assert fetch(port, "/other")[0] == 404
        assert host.settings().socket.is_socket()
        assert host.state.stat().st_mode & 0o777 == 0o700
    finally:
        agent.stop()


def test_what_a_person_must_look_after_is_said_on_the_node(host: Host) -> None:
    """Parked attachments, and records that cannot be read."""
    api = Api()
    parked = make_record()
    parked.attachments[0].phase = PARKED
    parked.attachments[0].failure = {"since": 1, "code": 107, "msg": "bridge is not there"}
    store.write_synced(str(host.state), parked)
    (host.state / "bad.json").write_text("{")
    agent = Agent(host.settings(port=0, look_seconds=0.1), host.plugin(), api)
    agent.start()
    try:
        eventually(
            lambda: {"NetworkParked", "RecordUnreadable"} <= {e["reason"] for e in api.created}
        )
    finally:
        agent.stop()
    said = {event["reason"]: event["message"] for event in api.created}
    assert "bridge is not there" in said["NetworkParked"]
    assert "container bad" in said["RecordUnreadable"]


CANAL = "network.cni-genie.io/canal"
WEAVE = "network.cni-genie.io/weave"


class Turns:
    """An agent whose loops turn when the test says so, and see no delay."""

    def __init__(self, host: Host, api: Api, **settings: Any) -> None:
        at_once = {"gone_seconds": 0, "start_seconds": 0}
        given = host.settings(**{**at_once, **settings})
        self.agent = Agent(given, host.plugin(), api)
        self._look, self._publish, _ = self.agent.loops

    def look(self) -> None:
        """Look at the node, and publish what was seen; look again, as the agent does."""
        for loop in (self._look, self._publish, self._look):
            loop.run_once()

    def publish(self) -> None:
        """Publish without a look before."""
        self._publish.run_once()

    def shows(self, series: str) -> bool:
        """Tell whether the metrics have a line that begins so."""
        lines = generate_latest(self.agent.metrics.registry).decode().splitlines()
        return any(line.startswith(series) for line in lines)


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
    api = Api()
    host.executable("bridge")
    path = host.network("canal")
    turns = Turns(host, api)
    turns.look()
    assert api.labels == {CANAL: "true"}
    assert turns.shows('genie_agent_network_available{network="canal"} 1.0')
    leave(path)
    turns.look()
    assert api.labels == {CANAL: "false"}
    assert turns.shows('genie_agent_network_available{network="canal"} 0.0')
    assert turns.shows('genie_agent_network_unavailable{network="canal"')


def test_nothing_is_published_before_the_first_look(host: Host) -> None:
    """What is not known yet is not absent."""
    api = Api()
    api.labels = {CANAL: "true"}
    Turns(host, api).publish()
    assert api.labels == {CANAL: "true"}


def test_labels_turn_false_while_the_runtime_loads_another_configuration(host: Host) -> None:
    """From the look through the publication to the API server, and back."""
    api = Api()
    host.executable("bridge")
    host.network("canal")
    turns = Turns(host, api)
    turns.look()
    shadow = host.conf / "00-aaa.conf"
    shadow.write_text("{}")
    turns.look()
    assert api.labels[CANAL] == "false"
    shadow.unlink()
    turns.look()
    assert api.labels[CANAL] == "true"


class Watched(Api):
    """Notes what a file held when the labels were patched."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file
        self.seen: list[bytes] = []

    def patch(self, path: str, body: Any, *more: Any, **named: Any) -> dict[str, Any]:
        """Note, and change the labels."""
        self.seen.append(self._file.read_bytes())
        return super().patch(path, body, *more, **named)


def test_labels_turn_without_delay_when_the_runtime_uses_another_network_itself(
    host: Host,
) -> None:
    """Just after a start, too. Its own label stays, and all are back as soon as Genie is."""
    for name in ("canal", "weave"):
        host.network(name)
    host.executable("bridge")
    api = Api()
    turns = Turns(host, api, gone_seconds=60, start_seconds=300)
    turns.look()
    turns.look()
    assert api.labels == {CANAL: "true", WEAVE: "true"}
    (host.conf / "10-canal.conflist").rename(host.conf / "00-canal.conflist")
    turns.look()
    assert api.labels == {CANAL: "true", WEAVE: "false"}
    (host.conf / "00-canal.conflist").rename(host.conf / "10-canal.conflist")
    turns.look()
    assert api.labels == {CANAL: "true", WEAVE: "true"}


def test_disabling_turns_the_labels_before_the_conflist_and_waits_for_no_delay(host: Host) -> None:
    """Of the networks that new pods do not get any more; the default's stays."""
    host.executable("bridge")
    host.network("canal")
    host.network("weave")
    conflist = host.conf / "00-genie.conflist"
    installing = Api()
    Turns(host, installing).look()
    assert installing.labels == {CANAL: "true", WEAVE: "true"}
    before = conflist.read_bytes()
    api = Watched(conflist)
    api.labels = installing.labels
    turns = Turns(host, api, mode="disable", start_seconds=300)
    turns.look()
    assert api.labels == {CANAL: "true", WEAVE: "false"}
    assert api.seen == [before]
    assert b'"agentSocket": ""' in conflist.read_bytes()
    assert turns.agent.readiness() == ""


def test_what_a_crash_left_half_written_is_swept_away_at_a_start(host: Host) -> None:
    """In the runtime's configuration directory and in the records', too."""
    for folder in (host.conf, host.state):
        (folder / ".genie-0123").write_text("half")
    agent = Agent(host.settings(port=0), host.plugin(), Api())
    agent.start()
    agent.stop()
    assert not [*host.conf.glob(".genie-*"), *host.state.glob(".genie-*")]


def test_when_the_plugin_has_left_what_it_kept_goes(host: Host) -> None:
    """By the thread that takes the journal and remembers what was written onto pods."""
    host.executable("bridge")
    host.network("canal")
    Turns(host, Api()).look()
    (host.state / "journal").touch()
    api = Api()
    settings = host.settings(mode="remove").model_copy(update={"deadline_seconds": 0})
    look, publish, read = Agent(settings, host.plugin(), api).loops
    for loop in (look, publish, look, look, publish, read):
        loop.run_once()
    assert list(host.state.iterdir()) == []
    assert not (host.bin / "genie").exists()
    assert api.labels == {}


def test_what_keeps_the_reaper_from_its_work_is_said_for_it(host: Host) -> None:
    """On the Node and as a metric; the reaper has neither a token nor a port."""
    api = Api()
    reaper_problem.write(host.state, "nothing is freed while …")
    agent = Agent(host.settings(port=0, look_seconds=0.1), host.plugin(), api)
    port = int(agent.start().server_address[1])
    try:
        eventually(lambda: "NothingFreed" in {e["reason"] for e in api.created})
        metric = 'genie_agent_reaper_problem{problem="nothing is freed while …"} 1.0'
        assert metric in fetch(port, "/metrics")[1]
        reaper_problem.write(host.state, "")
        eventually(lambda: "genie_agent_reaper_problem{" not in fetch(port, "/metrics")[1])
    finally:
        agent.stop()


def test_leaving_removes_the_labels(host: Host) -> None:
    """In the mode "remove"."""
    api = Api()
    api.labels = {"network.cni-genie.io/canal": "true"}
    agent = Agent(host.settings(port=0, look_seconds=0.1, mode="remove"), host.plugin(), api)
    agent.start()
    try:
        eventually(lambda: api.labels == {})
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


@pytest.mark.usefixtures("sigterm_soon")
def test_sigterm_ends_the_agent_and_takes_nothing_away(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 0; what was installed stays, and the socket goes."""
    monkeypatch.setattr(Kube, "load", lambda *_: Api())
    host.executable("bridge")
    host.network("canal")
    assert main([*host.options(), "--port=0"]) == 0
    assert (host.conf / "00-genie.conflist").exists()
    assert (host.bin / "genie").exists()
    assert not (host.root / "agent.sock").exists()


def test_the_metrics_are_served_on_a_nodes_ipv6_address_too(host: Host) -> None:
    """The component agent-metrics sets the node's own address."""
    agent = Agent(host.settings(port=0, listen="::1"), host.plugin(), Api())
    port = int(agent.start().server_address[1])
    try:
        with urllib.request.urlopen(f"http://[::1]:{port}/metrics", timeout=5) as answer:
            assert b"genie_agent_problem" in answer.read()
    finally:
        agent.stop()


@pytest.mark.parametrize(
    ("sent", "seconds", "read"),
    [
        pytest.param(
            [b"GET / HT", b"TP/1.0\r\n\r\n"], 30.0, b"GET / HTTP/1.0\r\n\r\n", id="in parts"
        ),
        pytest.param([b"GET"] + [b"x"] * 20, 0.3, b"", id="drop by drop, longer than all may take"),
        pytest.param(
            [b"x" * http_endpoints.MAX_REQUEST * 2],
            30.0,
            b"x" * http_endpoints.MAX_REQUEST,
            id="without end",
        ),
        pytest.param([b"GET /", b""], 30.0, b"GET /", id="and then nothing more"),
    ],
)
def test_a_request_is_read_under_limits(
    sent: list[bytes], seconds: float, read: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who opens connections and feeds them slowly takes neither the agent's memory nor its time."""
    monkeypatch.setattr(http_endpoints, "REQUEST_SECONDS", seconds)
    ours, theirs = socket.socketpair()

    def send() -> None:
        for part in sent:
            if part:
                theirs.sendall(part)
            else:
                theirs.shutdown(socket.SHUT_WR)
            time.sleep(0.05)

    with ours, theirs:
        sender = threading.Thread(target=send)
        sender.start()
        assert http_endpoints._request(ours) == read
        sender.join()


def test_an_event_is_bounded_addressed_and_not_repeated(clock: Clock) -> None:
    """Node Events go to the namespace default; a sentence comes again after ten minutes."""
    api = Api()
    events = Events(api, "n1", clock)
    threading.Thread(target=events.run, daemon=True).start()
    pod = Subject("Pod", "ns", "p", "u1")
    for _ in range(3):
        events.emit(node("n1"), "Reason", "x" * 5000)
        events.emit(pod, "Reason", "same", warning=False)
    eventually(lambda: len(api.created) == 2)
    clock.now += 601
    events.emit(pod, "Reason", "same")
    eventually(lambda: len(api.created) == 3)
    first, second, third = api.created
    assert (first["metadata"]["namespace"], len(first["message"])) == ("default", 1024)
    assert first["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Node",
        "name": "n1",
        "uid": "n1",
    }
    assert (second["metadata"]["namespace"], second["type"]) == ("ns", "Normal")
    assert third["type"] == "Warning"


def test_a_pod_whose_failure_has_new_words_each_time_gets_a_few_events(clock: Clock) -> None:
    """Else one broken network could fill etcd; ten minutes later there are some more."""
    api = Api()
    events = Events(api, "n1", clock)
    threading.Thread(target=events.run, daemon=True).start()
    for number in range(20):
        events.emit(Subject("Pod", "ns", "p", "u1"), "Reason", f"veth{number}")
        events.emit(node("n1"), "Reason", f"network {number}")
    events.emit(Subject("Pod", "ns", "p", "u1"), "Another", "why")
    eventually(lambda: len(api.created) == 5 + 20 + 1)
    clock.now += 601
    events.emit(Subject("Pod", "ns", "p", "u1"), "Reason", "veth20")
    eventually(lambda: len(api.created) == 5 + 20 + 2)


def test_events_beyond_the_queue_and_without_an_api_server_are_dropped(clock: Clock) -> None:
    """Nothing waits for them."""
    api = Api()
    api.away = True
    events = Events(api, "n1", clock)
    for number in range(300):
        events.emit(node("n1"), "Reason", str(number))
    events.send({"metadata": {"namespace": "default"}, "reason": "Reason"})
    assert api.created == []


def test_an_event_that_breaks_its_sender_takes_no_other_along(clock: Clock) -> None:
    """The thread that sends goes on, whatever the error is."""

    class Broken(Api):
        def create(self, path: str, body: Any, **more: Any) -> dict[str, Any]:
            assert body["message"] != "first"
            return super().create(path, body, **more)

    api = Broken()
    events = Events(api, "n1", clock)
    threading.Thread(target=events.run, daemon=True).start()
    for message in ("first", "second"):
        events.emit(node("n1"), "Reason", message)
    eventually(lambda: [each["message"] for each in api.created] == ["second"])


def test_health_names_what_is_stuck(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the thread's name."""
    agent = Agent(host.settings(port=0), host.plugin(), Api())
    assert agent.health() == ""
    monkeypatch.setattr(Loop, "is_alive", False)
    assert agent.health() == "stuck threads: reconcile, publish, records"


def test_changes_are_noticed_and_reading_is_not_one(tmp_path: Path) -> None:
    """Also in a directory that was removed and made again; one that is not there is no error."""
    wake = threading.Event()
    folder = tmp_path / "net.d"
    folder.mkdir()
    observer = inotify.start({str(tmp_path): wake, str(tmp_path / "never"): wake}, {})
    try:
        folder.rmdir()
        folder.mkdir()
        assert wake.wait(5)
        time.sleep(0.3)
        wake.clear()
        (folder / "10-canal.conflist").write_text("{}")
        assert wake.wait(5)
        time.sleep(1)
        wake.clear()
        (folder / "10-canal.conflist").read_text()
        list(folder.iterdir())
        assert not wake.wait(0.5)
    finally:
        observer.stop()
        observer.join()


def test_of_the_directory_of_plugins_only_what_is_in_it_is_noticed(tmp_path: Path) -> None:
    """Not what is being written under a temporary name, and nothing in the folders below."""
    wake = threading.Event()
    (tmp_path / ".genie" / "v1").mkdir(parents=True)
    (tmp_path / "genie").touch()
    observer = inotify.start({}, {str(tmp_path): wake})
    try:
        (tmp_path / ".genie" / "v1" / "code").touch()
        (tmp_path / ".genie-0123").write_text("half")
        (tmp_path / ".genie-0123").unlink()
        assert not wake.wait(0.5)
        (tmp_path / ".genie-4567").touch()
        (tmp_path / ".genie-4567").rename(tmp_path / "genie")
        assert wake.wait(5)
        time.sleep(0.3)
        wake.clear()
        shutil.rmtree(tmp_path / ".genie")
        assert wake.wait(5)
    finally:
        observer.stop()
        observer.join()


def test_a_launcher_that_is_removed_is_noticed_before_the_next_look_is_due(host: Host) -> None:
    """So it is back at once, and not after some seconds."""
    host.executable("bridge")
    host.network("canal")
    agent = Agent(host.settings(port=0, look_seconds=60), host.plugin(), Api())
    agent.start()
    try:
        eventually((host.conf / "00-genie.conflist").exists)
        time.sleep(0.5)  # what its own installation has set off is over
        (host.bin / "genie").unlink()
        eventually((host.bin / "genie").exists)
    finally:
        agent.stop()
