"""Repeat one step in a thread of its own."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog

from dispatcher.kube.backoff import Backoff
from dispatcher.kube.errors import KubeError

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_BACKOFF = 30.0

STUCK_AFTER = 120.0
"""Seconds that a step may take, unless its loop says otherwise."""

log = structlog.get_logger("loop")


class Loop:
    """Call *step* every *seconds*, and *settle* seconds after :attr:`wake` is set.

    A step for which the loop is woken begins at least *min_interval* seconds after the one before.
    A step that fails is logged and repeated, with a backoff of up to half a minute. A loop that
    does not :meth:`beat` for *stuck_after* seconds counts as stuck. Each loop has a thread of its
    own, so a loop that waits for the API server does not delay one that works on files.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], None],
        seconds: float,
        *,
        settle: float = 0.0,
        min_interval: float = 0.0,
        stuck_after: float = STUCK_AFTER,
    ) -> None:
        self.name = name
        self.wake = threading.Event()
        self._step = step
        self._seconds = seconds
        self._settle = settle
        self._min_interval = min_interval
        self._stuck_after = stuck_after
        self._stopping = threading.Event()
        self._beat_at = time.monotonic()
        self._backoff = Backoff(max(seconds, 1.0), LONGEST_BACKOFF)

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name=self.name, daemon=True).start()

    def stop(self) -> None:
        """End the thread after the current step."""
        self._stopping.set()
        self.wake.set()

    @property
    def is_progressing(self) -> bool:
        """Whether the loop has made progress within its *stuck_after* seconds."""
        return time.monotonic() - self._beat_at < self._stuck_after

    def beat(self) -> None:
        """Report progress: a step with many parts may take longer than one part may."""
        self._beat_at = time.monotonic()

    def run_once(self) -> float:
        """Run one step; return the seconds to wait before the next."""
        try:
            self._step()
        except KubeError as error:
            self._backoff.fail()
            log.warning("API request failed", loop=self.name, error=str(error))
        except Exception:
            self._backoff.fail()
            log.exception("step failed", loop=self.name)
        else:
            self._backoff.reset()

        self.beat()
        return self._backoff.delay() or self._seconds

    def _run(self) -> None:
        while not self._stopping.is_set():
            next_start = time.monotonic() + self._min_interval
            delay = self.run_once()
            if self.wake.wait(delay):
                self._stopping.wait(max(self._settle, next_start - time.monotonic()))
            self.wake.clear()
