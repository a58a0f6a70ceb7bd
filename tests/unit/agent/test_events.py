"""Events of the agent."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.agent.event_series import MAX_DELAY, Subject
from dispatcher.agent.events import TICK_SECONDS, Events, node
from dispatcher.kube.errors import FORBIDDEN, KubeError
from tests.unit.agent.builders import emitted, eventually
from tests.unit.apiserver import Api, fail
from tests.unit.host import Clock

if TYPE_CHECKING:
    import pytest

POD = Subject("Pod", "ns", "p", "u1")


def started(api: Api, clock: Clock) -> Events:
    """Return Events whose thread runs."""
    events = Events(api.client(), "n1", clock)
    threading.Thread(target=events.run, daemon=True).start()
    return events


def counts(api: Api) -> list[int]:
    """Return how often each Event says that it was observed."""
    return [each.get("series", {"count": 1})["count"] for each in emitted(api)]


def test_an_event_is_bounded_addressed_and_not_repeated(clock: Clock) -> None:
    """Node Events go to the namespace default; a sentence comes again after ten minutes."""
    api = Api()
    events = started(api, clock)
    for _ in range(3):
        events.emit(node("n1"), "Reason", "x" * 5000)
        events.emit(POD, "Reason", "same", warning=False)
    eventually(lambda: len(emitted(api)) == 2)
    clock.now += 601
    events.emit(POD, "Reason", "same")
    eventually(lambda: len(emitted(api)) == 3)
    first, second, third = emitted(api)
    assert (first["metadata"]["namespace"], len(first["note"])) == ("default", 1024)
    assert first["regarding"] == {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "n1"}
    assert (second["metadata"]["namespace"], second["type"]) == ("ns", "Normal")
    assert third["type"] == "Warning"


def test_an_event_says_who_reports_it_and_what_was_done(clock: Clock) -> None:
    """The API of Events requires this; a long node name is cut to what it accepts."""
    api = Api()
    host = "n" * 200
    events = Events(api.client(), host, clock)
    threading.Thread(target=events.run, daemon=True).start()
    events.emit(POD, "NetworkNotAttached", "why")
    eventually(lambda: len(emitted(api)) == 1)
    [event] = emitted(api)
    assert event["apiVersion"] == "events.k8s.io/v1"
    assert event["reportingController"] == "genie-agent"
    assert event["reportingInstance"] == host[:128]
    assert event["action"] == "Attach"
    assert event["eventTime"].endswith("Z")
    assert {"source", "firstTimestamp", "count"}.isdisjoint(event)


def test_a_message_is_cut_at_a_whole_character(clock: Clock) -> None:
    """The API server counts bytes."""
    api = Api()
    started(api, clock).emit(POD, "Reason", "x" + "é" * 600)
    eventually(lambda: len(emitted(api)) == 1)
    assert emitted(api)[0]["note"] == "x" + "é" * 511


def test_a_repeated_message_is_one_event_with_a_count(clock: Clock) -> None:
    """The count is written after ten seconds, then after twice as long each time."""
    api = Api()
    events = Events(api.client(), "n1", clock)
    events.emit(POD, "Reason", "why")
    events.send(events._queue.get_nowait())
    written: list[int] = []
    for _ in range(400):
        clock.now += 1
        events.emit(POD, "Reason", "why")
        events.send_repetitions()
        if counts(api) != written[-1:]:
            written += counts(api)
    assert written == [1, 11, 31, 71, 151, 311]
    assert len(emitted(api)) == 1


def test_the_last_repetitions_are_written_when_a_message_ends(clock: Clock) -> None:
    """Without another message that would cause it."""
    api = Api()
    events = Events(api.client(), "n1", clock)
    for _ in range(3):
        events.emit(POD, "Reason", "why")
    events.send(events._queue.get_nowait())
    events.send_repetitions()
    assert counts(api) == [1]
    clock.now += 700
    events.send_repetitions()
    assert counts(api) == [3]
    events.emit(POD, "Reason", "why")
    events.send(events._queue.get_nowait())
    assert counts(api) == [3, 1]


@given(st.lists(st.floats(min_value=0, max_value=1500), max_size=40))
def test_no_repetition_is_lost_and_writes_are_rare(pauses: list[float]) -> None:
    """Whatever the pauses: the counts add up, and one message costs few writes."""
    clock, api = Clock(), Api()
    events = Events(api.client(), "n1", clock)

    def send() -> None:
        while not events._queue.empty():
            events.send(events._queue.get_nowait())
        events.send_repetitions()

    for pause in pauses:
        for _ in range(int(pause // TICK_SECONDS)):
            clock.now += TICK_SECONDS
            send()
        events.emit(POD, "Reason", "why")
    clock.now += MAX_DELAY
    send()
    assert sum(counts(api)) == len(pauses)
    seconds = sum(pauses) + MAX_DELAY
    assert len(api.applied) <= 8 * len(counts(api)) + seconds / MAX_DELAY


def test_an_event_that_is_missing_while_it_repeats_is_created_again(clock: Clock) -> None:
    """It expired, was deleted, or could not be created at first."""
    api = Api()
    events = Events(api.client(), "n1", clock)
    events.emit(POD, "Reason", "why")
    events.emit(POD, "Reason", "why")
    clock.now += 10
    events.send_repetitions()
    assert counts(api) == [2]


def test_a_count_that_cannot_be_written_is_dropped(clock: Clock) -> None:
    """And the next one is written."""
    api = Api()
    events = Events(api.client(), "n1", clock)
    events.emit(POD, "Reason", "why")
    events.send(events._queue.get_nowait())
    api.before = fail(KubeError(FORBIDDEN, "Forbidden", "no"))
    events.emit(POD, "Reason", "why")
    clock.now += 10
    events.send_repetitions()
    assert counts(api) == [1]
    api.before = lambda _method, _path: None
    events.emit(POD, "Reason", "why")
    clock.now += 20
    events.send_repetitions()
    assert counts(api) == [3]


def test_the_thread_writes_repetitions_without_a_new_event(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wakes every few seconds."""
    monkeypatch.setattr("dispatcher.agent.events.TICK_SECONDS", 0.01)
    api = Api()
    events = started(api, clock)
    events.emit(POD, "Reason", "why")
    eventually(lambda: counts(api) == [1])
    events.emit(POD, "Reason", "why")
    clock.now += 10
    eventually(lambda: counts(api) == [2])


def test_a_pod_whose_failure_has_new_words_each_time_gets_a_few_events(clock: Clock) -> None:
    """Else one broken network could fill etcd; ten minutes later there are some more."""
    api = Api()
    events = started(api, clock)
    for number in range(20):
        events.emit(POD, "Reason", f"veth{number}")
        events.emit(POD, "Reason", f"veth{number}")
        events.emit(node("n1"), "Reason", f"network {number}")
    events.emit(POD, "Another", "why")
    eventually(lambda: len(emitted(api)) == 5 + 20 + 1)
    clock.now += 601
    events.emit(POD, "Reason", "veth20")
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
        body: dict[str, Any] = api.calls[-1].body
        assert body["note"] != "first"

    api.before = break_first
    events = started(api, clock)
    for message in ("first", "second"):
        events.emit(node("n1"), "Reason", message)
    eventually(lambda: [each["note"] for each in emitted(api)] == ["second"])
