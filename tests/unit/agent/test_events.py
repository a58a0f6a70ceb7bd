"""Events of the agent."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from dispatcher.agent.events import Events, Subject, node
from dispatcher.kube.errors import KubeError
from tests.unit.agent.builders import emitted, eventually
from tests.unit.apiserver import Api, fail

if TYPE_CHECKING:
    from tests.unit.host import Clock


def test_an_event_is_bounded_addressed_and_not_repeated(clock: Clock) -> None:
    """Node Events go to the namespace default; a sentence comes again after ten minutes."""
    api = Api()
    events = Events(api.client(), "n1", clock)
    threading.Thread(target=events.run, daemon=True).start()
    pod = Subject("Pod", "ns", "p", "u1")
    for _ in range(3):
        events.emit(node("n1"), "Reason", "x" * 5000)
        events.emit(pod, "Reason", "same", warning=False)
    eventually(lambda: len(emitted(api)) == 2)
    clock.now += 601
    events.emit(pod, "Reason", "same")
    eventually(lambda: len(emitted(api)) == 3)
    first, second, third = emitted(api)
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
    events = Events(api.client(), "n1", clock)
    threading.Thread(target=events.run, daemon=True).start()
    for number in range(20):
        events.emit(Subject("Pod", "ns", "p", "u1"), "Reason", f"veth{number}")
        events.emit(node("n1"), "Reason", f"network {number}")
    events.emit(Subject("Pod", "ns", "p", "u1"), "Another", "why")
    eventually(lambda: len(emitted(api)) == 5 + 20 + 1)
    clock.now += 601
    events.emit(Subject("Pod", "ns", "p", "u1"), "Reason", "veth20")
    eventually(lambda: len(emitted(api)) == 5 + 20 + 2)


def test_events_beyond_the_queue_and_without_an_api_server_are_dropped(clock: Clock) -> None:
    """Nothing waits for them."""
    api = Api()
    api.before = fail(KubeError(0, "NoAnswer", "away"))
    events = Events(api.client(), "n1", clock)
    for number in range(300):
        events.emit(node("n1"), "Reason", str(number))
    events.send({"metadata": {"namespace": "default"}, "reason": "Reason"})
    assert emitted(api) == []


def test_an_event_that_breaks_its_sender_takes_no_other_along(clock: Clock) -> None:
    """The thread that sends goes on, whatever the error is."""
    api = Api()

    def break_first(_method: str, _path: str) -> None:
        assert api.calls[-1].body["message"] != "first"

    api.before = break_first
    events = Events(api.client(), "n1", clock)
    threading.Thread(target=events.run, daemon=True).start()
    for message in ("first", "second"):
        events.emit(node("n1"), "Reason", message)
    eventually(lambda: [each["message"] for each in emitted(api)] == ["second"])
