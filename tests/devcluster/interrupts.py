"""Treat SIGTERM, and SIGHUP of a closed terminal, as Ctrl-C; defer all three during clean-up."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(_number: int, _frame: object) -> None:
    for number in _SIGNALS:  # the clean-up that follows must not be interrupted
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


@contextlib.contextmanager
def as_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt at the first of the signals; ignore the following ones.

    A signal that was ignored when the process started (nohup, background jobs) stays ignored.
    Nested use has no effect.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in previous.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        yield
    finally:
        if _interrupt not in previous.values():
            for number, handler in previous.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Block the signals, also for programs that are run, until the end of the block."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
