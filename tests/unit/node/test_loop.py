from __future__ import annotations

import itertools
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

from dispatcher.kube.errors import KubeError
from dispatcher.node import loop as loops
from dispatcher.node.loop import Loop

if TYPE_CHECKING:
    import pytest

    from tests.unit.host import Clock


def test_a_loop_that_fails_backs_off_and_recovers() -> None:
    """Up to half a minute; the first success resets the delay."""
    failing = [KubeError(0, "NoAnswer", "away"), ValueError("bug")] * 4

    def step() -> None:
        if failing:
            raise failing.pop()

    loop = Loop("test", step, 2.0)
    assert [loop.run_once() for _ in range(9)] == [2, 4, 8, 16, 30, 30, 30, 30, 2]


def test_a_loop_that_is_woken_all_the_time_keeps_its_interval() -> None:
    """Its first step after a quiet time begins at once."""
    starts: list[float] = []
    loop = Loop("test", lambda: starts.append(time.monotonic()), 60, min_interval=0.2)
    loop.start()
    time.sleep(0.3)
    woken_at = time.monotonic()
    while time.monotonic() - woken_at < 0.5:
        loop.wake.set()
        time.sleep(0.01)
    loop.stop()
    assert starts[1] - woken_at < 0.2
    assert all(later - earlier > 0.19 for earlier, later in itertools.pairwise(starts))
    assert len(starts) >= 3


def test_a_loop_without_progress_is_not_alive(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """The kubelet restarts the container then. A long step reports its progress."""
    monkeypatch.setattr(loops, "time", SimpleNamespace(monotonic=clock))
    loop = Loop("test", lambda: None, 2.0)

    def alive_after(seconds: float) -> bool:
        clock.now += seconds
        return loop.is_progressing

    assert alive_after(loops.STUCK_AFTER - 1)
    loop.beat()
    assert alive_after(loops.STUCK_AFTER - 1)
    assert not alive_after(1)
    loop.run_once()
    assert alive_after(0)
