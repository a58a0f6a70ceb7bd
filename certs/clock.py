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

from dispatcher.kube.client import KubeClient

if TYPE_CHECKING:
    from collections.abc import Callable


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

    def now(self) -> dt.datetime:
        """Return the API server's time; this machine's own until the first answer has come."""
        heard = self._kube.server_date
        if heard is None:
            return dt.datetime.now(dt.UTC)
        date, at = heard
        return parsedate_to_datetime(date) + dt.timedelta(seconds=self._boot() - at)

    def difference(self) -> float:
        """Return by how many seconds this machine's wall clock is ahead of the API server's."""
        return (dt.datetime.now(dt.UTC) - self.now()).total_seconds()
