"""The loop of the reconcilers: woken, repeated, and not ended by an error."""

from __future__ import annotations

import threading
import time

from structlog.testing import capture_logs

from webhook.reconcile_loop import ReconcileLoop

NEVER = (60.0, 60.0)
OFTEN = (0.005, 0.01)


def test_it_reconciles_after_a_wake_and_not_before() -> None:
    """A wake before the start counts as well."""
    rounds = threading.Semaphore(0)
    loop = ReconcileLoop("test", rounds.release, interval=NEVER, delay=(0.0, 0.001))
    loop.start()
    assert not rounds.acquire(timeout=0.1)
    loop.wake()
    assert rounds.acquire(timeout=5)
    loop.stop()
    loop.join(5)


def test_it_reconciles_without_a_wake() -> None:
    """A lost event costs one interval."""
    rounds = threading.Semaphore(0)
    loop = ReconcileLoop("test", rounds.release, interval=OFTEN)
    loop.start()
    assert all(rounds.acquire(timeout=5) for _ in range(3))
    loop.stop()
    loop.join(5)


def test_an_unexpected_error_does_not_end_it() -> None:
    """It is logged, and the next round comes."""
    rounds = threading.Semaphore(0)

    def reconcile() -> None:
        rounds.release()
        raise RuntimeError("dictionary changed size")

    loop = ReconcileLoop("test", reconcile, interval=OFTEN)
    with capture_logs() as logged:
        loop.start()
        assert all(rounds.acquire(timeout=5) for _ in range(3))
        loop.stop()
        loop.join(5)
    assert len(logged) >= 3
    for line in logged:
        assert (line["log_level"], line["event"]) == ("error", "reconciliation failed")
        assert (line["loop"], line["exc_info"]) == ("test", True)


def test_it_does_not_reconcile_once_it_is_stopped() -> None:
    """Stop ends a pause, and the delay after a wake."""
    rounds: list[float] = []
    loop = ReconcileLoop("test", lambda: rounds.append(time.monotonic()), interval=NEVER)
    loop.stop()
    loop.start()
    loop.join(5)
    assert rounds == []
    assert loop.pause(60)


def test_a_loop_that_was_never_started_can_be_joined() -> None:
    """A service may fail before its loops start."""
    ReconcileLoop("test", lambda: None, interval=NEVER).join(5)
