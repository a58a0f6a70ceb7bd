"""Repeat a reconciliation in a thread of its own: when woken, and after an interval in any case."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger("reconcile")

Bounds = tuple[float, float]
"""Shortest and longest of some times in seconds. Each is random, so that replicas do not act all at
once."""


class ReconcileLoop:
    """Call *reconcile* every *interval* seconds, and *delay* seconds after :meth:`wake`.

    An error of *reconcile* is logged, and the loop continues.
    """

    def __init__(
        self,
        name: str,
        reconcile: Callable[[], None],
        *,
        interval: Bounds,
        delay: Bounds = (0.0, 0.0),
    ) -> None:
        self._name = name
        self._reconcile = reconcile
        self._interval = interval
        self._delay = delay
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end soon."""
        self._stopping.set()
        self._woken.set()

    def join(self, timeout: float) -> None:
        """Wait up to *timeout* seconds for the thread to end, if it was started."""
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def wake(self) -> None:
        """Reconcile soon."""
        self._woken.set()

    def pause(self, seconds: float) -> bool:
        """Wait *seconds*; return whether the loop is stopping, which ends the wait."""
        return self._stopping.wait(seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._woken.wait(random.uniform(*self._interval)):  # noqa: S311 - jitter
                self._stopping.wait(random.uniform(*self._delay))  # noqa: S311 - jitter
            self._woken.clear()

            if self._stopping.is_set():
                return
            try:
                self._reconcile()
            except Exception:
                log.exception("reconciliation failed", loop=self._name)
