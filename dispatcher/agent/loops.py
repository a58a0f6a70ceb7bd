"""The threads of the agent: each repeats one step, and tells whether it still does.

Rules: a step that fails is logged and repeated, with pauses that grow to half a minute; one
thread's trouble (the API server is away) never holds up another's (files on the node).
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog

from dispatcher.kube.errors import KubeError

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_PAUSE = 30.0

SILENCE = 120.0
"""A thread that has not finished a step for so many seconds is taken for stuck."""

log = structlog.get_logger("agent")


class Loop:
    """Calls *step* every *seconds*, and *settle* seconds after :attr:`wake` is set."""

    def __init__(
        self, name: str, step: Callable[[], None], seconds: float, settle: float = 0.0
    ) -> None:
        self.name = name
        self.wake = threading.Event()
        self._step = step
        self._seconds = seconds
        self._settle = settle
        self._stopping = threading.Event()
        self._turned_at = time.monotonic()
        self._failures = 0

    def start(self) -> None:
        """Begin, in a thread of its own."""
        threading.Thread(target=self._run, name=self.name, daemon=True).start()

    def stop(self) -> None:
        """End after the present step."""
        self._stopping.set()
        self.wake.set()

    @property
    def alive(self) -> bool:
        """Whether a step was finished lately."""
        return time.monotonic() - self._turned_at < SILENCE

    def turn(self) -> float:
        """Do one step; returns how long to wait for the next, in seconds."""
        try:
            self._step()
        except KubeError as error:
            self._failures += 1
            log.warning(
                "the API server did not do what was asked", loop=self.name, error=str(error)
            )
        except Exception:
            self._failures += 1
            log.exception("a step failed", loop=self.name)
        else:
            self._failures = 0
        self._turned_at = time.monotonic()
        if not self._failures:
            return self._seconds
        return min(LONGEST_PAUSE, max(self._seconds, 1.0) * 2.0 ** min(self._failures - 1, 6))

    def _run(self) -> None:
        while not self._stopping.is_set():
            pause = self.turn()
            if self.wake.wait(pause) and self._settle:
                self._stopping.wait(self._settle)
            self.wake.clear()
