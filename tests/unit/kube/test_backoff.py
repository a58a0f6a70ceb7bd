"""The delay between retries."""

from __future__ import annotations

from dispatcher.kube.backoff import Backoff


def delays(backoff: Backoff, failures: int) -> list[float]:
    """Return the delay after each of so many failures."""
    result = []
    for _ in range(failures):
        backoff.fail()
        result.append(backoff.delay())
    return result


def test_the_delay_doubles_with_each_failure_up_to_the_longest() -> None:
    assert delays(Backoff(1.0, 5.0), 5) == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_a_first_delay_above_the_longest_is_cut() -> None:
    assert delays(Backoff(40.0, 30.0), 2) == [30.0, 30.0]


def test_there_is_no_delay_without_a_failure_and_after_a_reset() -> None:
    backoff = Backoff(1.0, 5.0)
    assert backoff.delay() == 0.0

    delays(backoff, 3)
    backoff.reset()
    assert backoff.delay() == 0.0
    assert delays(backoff, 1) == [1.0]


def test_jitter_chooses_between_half_of_the_delay_and_the_delay() -> None:
    bounds: list[tuple[float, float]] = []

    def jitter(low: float, high: float) -> float:
        bounds.append((low, high))
        return 0.75 * high

    assert delays(Backoff(2.0, 3.0, jitter), 2) == [1.5, 2.25]
    assert bounds == [(1.0, 2.0), (1.5, 3.0)]


def test_a_million_failures_do_not_overflow() -> None:
    assert Backoff(0.1, 15.0, failures=1_000_000).delay() == 15.0
