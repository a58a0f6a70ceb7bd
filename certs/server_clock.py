"""The API server's time, by which certificates are issued and checked.

The API server verifies certificates, so its clock counts. Each of its answers carries a ``Date``;
between answers the boot clock counts on, which never jumps and does not stop while a machine is
suspended. A wrong wall clock of this machine changes nothing.
"""

from __future__ import annotations

import datetime as dt
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol

import structlog

from dispatcher.kube.client import KubeClient

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger("certs")

JUMP = 10.0
"""Seconds between the API server's clock and the boot clock that count as a jump. Fewer are normal:
``Date`` is in whole seconds, and the clocks of several API servers differ a little."""


class DatedKube(KubeClient, Protocol):
    """An API client that remembers the ``Date`` of the last answer, and its boot time."""

    server_date: tuple[str, float] | None


def boot_clock() -> float:
    """Return the seconds since this machine started, including those when it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ServerClock:
    """The API server's clock: the time of its last answer, advanced by the boot clock."""

    def __init__(self, kube: DatedKube, boot: Callable[[], float] = boot_clock) -> None:
        self._kube = kube
        self._boot = boot
        self._origin: dt.datetime | None = None

    def now(self) -> dt.datetime:
        """Return the API server's time; this machine's own until the first answer has come."""
        if self._kube.server_date is None:
            return dt.datetime.now(dt.UTC)
        date, answered_at = self._kube.server_date
        return parsedate_to_datetime(date) + dt.timedelta(seconds=self._boot() - answered_at)

    def report_jump(self) -> None:
        """Log by how much the API server's clock has jumped since the last call, if it has."""
        if self._kube.server_date is None:
            return

        # The API server's time when the boot clock was at zero: it changes in jumps only.
        date, answered_at = self._kube.server_date
        origin = parsedate_to_datetime(date) - dt.timedelta(seconds=answered_at)

        jump = (origin - self._origin).total_seconds() if self._origin else 0.0
        if self._origin is None or abs(jump) >= JUMP:
            self._origin = origin
        if abs(jump) >= JUMP:
            log.warning("the API server's clock jumped", seconds=round(jump), to=date)

    def difference(self) -> float:
        """Return by how many seconds this machine's wall clock is ahead of the API server's."""
        return (dt.datetime.now(dt.UTC) - self.now()).total_seconds()
