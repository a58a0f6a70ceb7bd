"""The threads of the agent: each repeats one step, and tells whether it still does.

Rules: a step that fails is logged and repeated, with pauses that grow to half a minute; one
thread's trouble (the API server is away) never holds up another's (files on the node).
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog

from dispatcher.kube.backoff import Backoff
from dispatcher.kube.errors import KubeError

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_PAUSE = 30.0

SILENCE = 120.0
"""How long a step may take, unless its loop says otherwise."""

log = structlog.get_logger("agent")


class Loop:
    """Calls *step* every *seconds*, and *settle* seconds after :attr:`wake` is set.

    One that does not :meth:`beat` for *silence* seconds is taken for stuck.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], None],
        seconds: float,
        settle: float = 0.0,
        silence: float = SILENCE,
    ) -> None:
        self.name = name
        self.wake = threading.Event()
        self._step = step
        self._seconds = seconds
        self._settle = settle
        self._silence = silence
        self._stopping = threading.Event()
        self._beat_at = time.monotonic()
        self._backoff = Backoff(max(seconds, 1.0), LONGEST_PAUSE)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        threading.Thread(target=self._run, name=self.name, daemon=True).start()

    def stop(self) -> None:
        """End after the present step."""
        self._stopping.set()
        self.wake.set()

    @property
    def is_alive(self) -> bool:
        """Whether a step was finished, or went on, lately."""
        return time.monotonic() - self._beat_at < self._silence

    def beat(self) -> None:
        """Say that a step goes on; one that is made of many may take long."""
        self._beat_at = time.monotonic()

    def run_once(self) -> float:
        """Do one step; returns how long to wait for the next, in seconds."""
        try:
            self._step()
        except KubeError as error:
            self._backoff.fail()
            log.warning(
                "the API server did not do what was asked", loop=self.name, error=str(error)
            )
        except Exception:
            self._backoff.fail()
            log.exception("a step failed", loop=self.name)
        else:
            self._backoff.reset()
        self.beat()
        return self._backoff.delay() or self._seconds

    def _run(self) -> None:
        while not self._stopping.is_set():
            pause = self.run_once()
            if self.wake.wait(pause) and self._settle:
                self._stopping.wait(self._settle)
            self.wake.clear()
