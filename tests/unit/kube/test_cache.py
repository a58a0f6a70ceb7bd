"""The watch cache against a scripted API server."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from structlog.testing import capture_logs

from dispatcher.kube import reflector
from dispatcher.kube.cache import WatchCache
from tests.unit.apiserver import HttpAnswer, serve
from tests.unit.reflectors import retry_at_once

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from tests.unit.kube.logins import LogIn

PATH = "/api/v1/namespaces"


def thing(name: str, version: int, **annotations: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version), "annotations": annotations}}


def page(*items: dict[str, Any], version: int = 1, following: str = "") -> HttpAnswer:
    return HttpAnswer(
        {"metadata": {"resourceVersion": str(version), "continue": following}, "items": items}
    )


@dataclass
class Days:
    """A server whose lists and watches follow a script; the last watch stays open."""

    lists: list[HttpAnswer]
    watches: list[HttpAnswer]
    held: Event
    seen: list[dict[str, list[str]]] = field(default_factory=list)

    def __call__(self, _: str, path: str, __: bytes) -> HttpAnswer:
        """HttpAnswer one request with the next thing in the script."""
        query = parse_qs(urlsplit(path).query)
        self.seen.append(query)
        script = self.watches if "watch" in query else self.lists
        if script:
            return script.pop(0)
        return HttpAnswer(lines=[], hold=self.held) if "watch" in query else HttpAnswer(status=500)


def keep(found: dict[str, Any]) -> str:
    return str(found["metadata"]["annotations"].get("cni", ""))


def until(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.005)


def run(
    log_in: LogIn, days: Days, expected: dict[str, str]
) -> tuple[list[tuple[str, str | None]], WatchCache[str]]:
    """Run a cache through *days* until it holds *expected*; returns the changes it told."""
    changes: list[tuple[str, str | None]] = []
    with serve(days) as script:
        cache = WatchCache(
            log_in(script.url), PATH, keep=keep,
            on_change=lambda key, value: changes.append((key, value)),
        )  # fmt: skip
        assert cache.age is None
        assert not cache.synced
        cache.start()
        assert cache.wait(5)
        until(lambda: not days.lists and not days.watches and dict(cache.items) == expected)
        cache.stop()
        days.held.set()
        cache._thread.join(20)  # it reports the last change, and begins to watch, before it ends
    return changes, cache


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less than replicas in trouble do."""
    retry_at_once(monkeypatch)


@pytest.fixture
def held() -> Event:
    from threading import Event  # noqa: PLC0415 - shadows the type-only import above

    return Event()


def test_pages_are_joined_and_changes_followed(log_in: LogIn, held: Event) -> None:
    """A list of several pages, then additions, changes and deletions, end as one mapping."""
    events = [
        {"type": "ADDED", "object": thing("c", 4, cni="x")},
        {"type": "MODIFIED", "object": thing("a", 5, cni="weave")},
        {"type": "MODIFIED", "object": thing("a", 6, cni="weave", other="1")},
        {"type": "BOOKMARK", "object": thing("", 7)},
        {"type": "DELETED", "object": thing("b", 8)},
    ]
    days = Days(
        [page(thing("a", 1), following="next"), page(thing("b", 2), version=3)],
        [HttpAnswer(lines=events)], held,
    )  # fmt: skip
    changes, cache = run(log_in, days, {"a": "weave", "c": "x"})
    assert changes == [("a", ""), ("b", ""), ("c", "x"), ("a", "weave"), ("b", None)]
    assert days.seen[1]["continue"] == ["next"]
    assert days.seen[2]["resourceVersion"] == ["3"]
    assert cache.age is not None
    assert cache.age < 60


def test_a_watch_that_ends_is_resumed_where_it_was(log_in: LogIn, held: Event) -> None:
    """No new list is made when the server closes a watch, as it does every few minutes."""
    first = HttpAnswer(lines=[{"type": "ADDED", "object": thing("b", 9)}])
    second = HttpAnswer(lines=[{"type": "ADDED", "object": thing("c", 10)}])
    days = Days([page(thing("a", 1))], [first, second], held)
    run(log_in, days, {"a": "", "b": "", "c": ""})
    assert days.seen[2]["resourceVersion"] == ["9"]


CUT = HttpAnswer(is_cut=True)


def test_a_server_that_could_not_be_reached_is_asked_for_a_new_list(
    log_in: LogIn, held: Event
) -> None:
    """Its etcd may have been restored from a backup, with our version for another object."""
    first = HttpAnswer(lines=[{"type": "ADDED", "object": thing("b", 9)}])
    days = Days([page(thing("a", 1)), CUT, page(thing("a", 2), version=9)], [first, CUT], held)
    changes, _ = run(log_in, days, {"a": ""})
    assert changes == [("a", ""), ("b", ""), ("b", None)]


def test_a_watch_that_breaks_is_resumed(log_in: LogIn, held: Event) -> None:
    """One of several API servers restarts: a list for each client would come at one time."""
    broken = HttpAnswer(lines=[{"type": "ADDED", "object": thing("b", 9)}], is_cut=True)
    last = HttpAnswer(lines=[{"type": "ADDED", "object": thing("c", 10)}])
    days = Days([page(thing("a", 1))], [broken, last], held)
    run(log_in, days, {"a": "", "b": "", "c": ""})
    assert days.seen[2]["resourceVersion"] == ["9"]


def test_a_watch_that_breaks_is_retried_soon_whatever_failed_before(
    log_in: LogIn, held: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is away for a restore of etcd must be noticed before it is back."""
    bounds: list[float] = []

    def shortest(lower: float, upper: float) -> float:
        bounds.append(upper)
        return lower

    monkeypatch.setattr(random, "uniform", shortest)
    unavailable = [HttpAnswer(status=503)] * 3
    broken = HttpAnswer(lines=[{"type": "ADDED", "object": thing("b", 9)}], is_cut=True)
    last = HttpAnswer(lines=[{"type": "ADDED", "object": thing("c", 10)}])
    days = Days([*unavailable, page(thing("a", 1))], [broken, last], held)
    run(log_in, days, {"a": "", "b": "", "c": ""})
    longest = reflector.LONGEST_DELAY
    assert bounds[:4] == [reflector.FIRST_DELAY, longest, longest, reflector.FIRST_DELAY]


def test_gone_leads_to_a_new_list_and_tells_what_vanished(log_in: LogIn, held: Event) -> None:
    """After 410 the collection is listed again, and what is missing counts as deleted."""
    gone = HttpAnswer(lines=[{"type": "ERROR", "object": {"code": 410, "reason": "Expired"}}])
    days = Days([page(thing("a", 1), thing("b", 1)), page(thing("b", 20, cni="x"))], [gone], held)
    changes, _ = run(log_in, days, {"b": "x"})
    assert changes[2:] == [("a", None), ("b", "x")]


def test_a_server_in_trouble_is_asked_again(log_in: LogIn, held: Event) -> None:
    """An error on the first list is survived, and a failing listener stops nothing."""
    days = Days([HttpAnswer(status=503), page(thing("ns", 1))], [], held)
    run(log_in, days, {"ns": ""})


@pytest.mark.parametrize("status", [403, 404])
def test_a_kind_that_may_come_later_is_reported_once(
    log_in: LogIn, held: Event, status: int
) -> None:
    """A custom resource may be missing for ever: a line for each retry would fill the log."""
    refused = HttpAnswer({"message": "no such resource"}, status=status)
    days = Days([refused, refused, refused, page(thing("ns", 1))], [], held)
    with capture_logs() as logs:
        _, cache = run(log_in, days, {"ns": ""})
        until(lambda: cache.error is None)
    assert [each["event"] for each in logs] == ["informer cache cannot list or watch"]


def test_a_mapping_that_may_be_stale_says_so(log_in: LogIn, held: Event) -> None:
    """Until list and watch succeed again; the last good mapping stays."""
    gone = HttpAnswer(lines=[{"type": "ERROR", "object": {"code": 404, "reason": "NotFound"}}])
    days = Days([page(thing("ns", 1))], [gone], held)
    _, cache = run(log_in, days, {"ns": ""})
    until(lambda: cache.error is not None)
    assert dict(cache.items) == {"ns": ""}


@pytest.mark.parametrize(
    "line",
    [
        pytest.param({"type": "ADDED", "object": {"metadata": {}}}, id="without-a-version"),
        pytest.param({"type": "ADDED"}, id="without-an-object"),
        pytest.param(b"{half\n", id="no-JSON"),
        pytest.param({"type": "ADDED", "object": thing("b", 2) | {"metadata": None}}, id="null"),
    ],
)
def test_an_event_that_makes_no_sense_leads_to_a_new_list(
    line: Any, log_in: LogIn, held: Event
) -> None:
    """The thread goes on: a cache that nobody fills any more would grow old in silence."""
    lists = [page(thing("a", 1)), page(thing("a", 1), thing("b", 2))]
    run(log_in, Days(lists, [HttpAnswer(lines=[line])], held), {"a": "", "b": ""})


def test_a_broken_watch_keeps_the_last_good_mapping(log_in: LogIn, held: Event) -> None:
    """While the server is away, readers keep what was last known."""
    with serve(Days([page(thing("a", 1))], [], held)) as script:
        cache = WatchCache(log_in(script.url), PATH, keep=keep)
        cache.start()
        assert cache.wait(5)
        held.set()
    assert dict(cache.items) == {"a": ""}
    assert cache.synced
    cache.stop()


def test_a_listener_that_fails_stops_nothing(log_in: LogIn, held: Event) -> None:
    """An exception in on_change is logged; the cache goes on to the next change."""
    told: list[str] = []

    def fail_on_a(key: str, _: str | None) -> None:
        told.append(key)
        if key == "a":
            message = "injected"
            raise RuntimeError(message)

    with serve(Days([page(thing("a", 1), thing("b", 1))], [], held)) as script:
        cache = WatchCache(log_in(script.url), PATH, keep=keep, on_change=fail_on_a)
        cache.start()
        assert cache.wait(5)
        cache.stop()
        held.set()
    assert told == ["a", "b"]


def test_namespaced_objects_are_keyed_with_their_namespace(log_in: LogIn, held: Event) -> None:
    """Two objects of one name in different namespaces are different."""
    pod = {"metadata": {"name": "n", "namespace": "ns", "annotations": {}, "resourceVersion": "1"}}
    run(log_in, Days([page(pod)], [], held), {"ns/n": ""})
