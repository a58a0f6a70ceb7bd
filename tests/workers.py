"""Run something beside the code of a ``with`` block, until the block ends."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future


class Workers:
    """Threads that run during a ``with`` block.

    Each gets an event that is set at the end of the block, and must return soon after that. The
    end of the block waits for them, and raises what the first of them raised.
    """

    def __init__(self, *runs: Callable[[threading.Event], object]) -> None:
        self._runs = runs
        self._stopping = threading.Event()
        self._executor = ThreadPoolExecutor(len(runs))
        self._results: list[Future[object]] = []

    def __enter__(self) -> Self:
        self._results = [self._executor.submit(run, self._stopping) for run in self._runs]
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._executor.shutdown()
        for each in self._results:
            each.result()
