"""Start a program of the node: settings, logs and signals, the same for agent and reaper."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING

from dispatcher.kube import logs
from dispatcher.kube.errors import InvalidSettingsError
from dispatcher.node.settings_loader import load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dispatcher.node.settings import NodeSettings


class StartError(Exception):
    """The program cannot start; the message is one line for a person."""


def run(
    name: str,
    arguments: Sequence[str],
    serve: Callable[[NodeSettings, threading.Event], int],
) -> int:
    """Run *serve* with the settings; return the exit code.

    *name* is the program's name in messages, *arguments* is its command line. SIGTERM and SIGINT
    set the event that *serve* gets. *serve* may raise :class:`StartError`.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())

    try:
        settings = load(f"python -m dispatcher.{name}", arguments)
        logs.configure(settings.log_level)
        return serve(settings, stopping)
    except (InvalidSettingsError, StartError) as error:
        print(f"the {name} cannot start: {error}", file=sys.stderr)  # noqa: T201 - before the log
        return 1
