"""What time it is for a certificate: the API server's time, for the API server verifies.

Each answer of the API server carries its ``Date``. Between answers the boot clock counts on,
which goes on while a machine is suspended and never jumps. This machine's own wall clock is
therefore of no consequence: set it back a year, and every certificate stays right.
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
"""Seconds by which the API server's clock must leave the boot clock to be called a jump: its Date
is in whole seconds, and the clocks of several API servers are a little apart."""


class DatedKube(KubeClient, Protocol):
    """A client of the API server that remembers what time the server said it was."""

    server_date: tuple[str, float] | None


def boot_clock() -> float:
    """Seconds since this machine started, the time it was suspended included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ServerClock:
    """The API server's clock, as its last answer gave it and the boot clock carried it on."""

    def __init__(self, kube: DatedKube, boot: Callable[[], float] = boot_clock) -> None:
        self._kube = kube
        self._boot = boot
        self._origin: dt.datetime | None = None

    def now(self) -> dt.datetime:
        """Return the API server's time; this machine's own until the first answer has come."""
        heard = self._kube.server_date
        if heard is None:
            return dt.datetime.now(dt.UTC)
        date, at = heard
        return parsedate_to_datetime(date) + dt.timedelta(seconds=self._boot() - at)

    def report_jump(self) -> None:
        """Log by how much the API server's clock has jumped since this was called last, if any."""
        heard = self._kube.server_date
        if heard is None:
            return
        date, at = heard
        # What the API server's clock said when the boot clock began: it changes in jumps only.
        origin = parsedate_to_datetime(date) - dt.timedelta(seconds=at)
        jumped = (origin - self._origin).total_seconds() if self._origin else 0.0
        if self._origin is None or abs(jumped) >= JUMP:
            self._origin = origin
        if abs(jumped) >= JUMP:
            log.warning("the API server's clock jumped", seconds=round(jumped), to=date)

    def difference(self) -> float:
        """Return by how many seconds this machine's wall clock is ahead of the API server's."""
        return (dt.datetime.now(dt.UTC) - self.now()).total_seconds()
