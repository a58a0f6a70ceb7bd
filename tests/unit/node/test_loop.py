from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from dispatcher.kube.errors import KubeError
from dispatcher.node import loop as loops
from dispatcher.node.loop import Loop

if TYPE_CHECKING:
    from tests.unit.host import Clock


def test_a_loop_that_fails_backs_off_and_recovers() -> None:
    """Up to half a minute; the first success resets the delay."""
    failing = [KubeError(0, "NoAnswer", "away"), ValueError("bug")] * 4

    def step() -> None:
        if failing:
            raise failing.pop()

    loop = Loop("test", step, 2.0)
    assert [loop.run_once() for _ in range(9)] == [2, 4, 8, 16, 30, 30, 30, 30, 2]


def test_a_loop_that_is_woken_all_the_time_keeps_its_interval(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """Its first step after a quiet time begins at once. Waiting takes the time of a fake clock."""
    monkeypatch.setattr(loops, "time", SimpleNamespace(monotonic=clock))
    wakes = iter([30.0])  # seconds until the first wake, and none until any later one
    starts: list[float] = []

    def step() -> None:
        starts.append(clock.now)
        clock.now += 0.05
        if len(starts) == 4:
            loop.stop()

    def wait_for_wake(seconds: float) -> bool:
        clock.now += min(seconds, next(wakes, 0.0))
        return True

    def pause(seconds: float) -> bool:
        clock.now += seconds
        return False

    loop = Loop("test", step, 60, min_interval=0.2)
    monkeypatch.setattr(loop.wake, "wait", wait_for_wake)
    monkeypatch.setattr(loop._stopping, "wait", pause)
    loop._run()
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert pauses == pytest.approx([30.05, 0.2, 0.2])


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
