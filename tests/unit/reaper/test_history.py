from __future__ import annotations

import itertools

from dispatcher.reaper.history import Absences, DelRetries


def test_a_container_is_gone_after_two_absences_in_a_row() -> None:
    """A pass that lists it starts the count again, and so does a runtime that does not answer."""
    absences = Absences()
    gone = []
    for listed in ({"b"}, {"b"}, {"a", "b"}, {"b"}, {"b"}):
        absences.count(["a", "b"], listed)
        gone.append(absences.absent_twice)
    assert gone == [[], ["a"], [], [], ["a"]]
    absences.clear()
    assert absences.absent_twice == []


def test_a_container_without_a_record_is_forgotten() -> None:
    """It was released."""
    absences = Absences()
    for _ in range(2):
        absences.count(["a", "b"], set())
    absences.count(["b"], set())
    assert absences.absent_twice == ["b"]


def test_the_backoff_of_a_failed_del_grows_to_a_day() -> None:
    """From ten minutes, counted from the start of each DEL."""
    retries = DelRetries()
    assert retries.is_due("a", now=0)
    now = 0
    starts = [now]
    for _ in range(10):
        retries.record_failure("a", started_at=now)
        while not retries.is_due("a", now):
            now += 600
        starts.append(now)
    delays = [late - early for early, late in itertools.pairwise(starts)]
    assert delays == [600, 1200, 2400, 4800, 9600, 19200, 38400, 76800, 86400, 86400]


def test_a_clock_that_was_ahead_does_not_delay_a_retry() -> None:
    """After it was set back, the DEL is due."""
    retries = DelRetries()
    retries.record_failure("a", started_at=1_000_000)
    assert [retries.is_due("a", now) for now in (1_000_000, 1_000_599, 0)] == [False, False, True]


def test_failures_are_forgotten_with_the_record() -> None:
    """Those of other containers stay."""
    retries = DelRetries()
    for container_id in ("a", "b"):
        retries.record_failure(container_id, started_at=0)
    retries.forget_except({"b": "a record"})
    assert (retries.is_due("a", now=1), retries.is_due("b", now=1)) == (True, False)
