"""Emits Events about this node and its pods, which ``kubectl describe`` shows.

A message that is repeated is one Event with a series (:mod:`dispatcher.agent.event_series`), not
many Events.

Rules: nothing waits for an Event. A thread sends them from a bounded queue, and writes the
repetitions. For one pod and reason, only a few different messages are sent at a time, because some
plugins put a new name into each message. An Event that expired or was deleted while its message is
repeated is created again.
"""

from __future__ import annotations

import queue
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from dispatcher.agent.event_series import API_VERSION, EventSeries, Subject, new_event
from dispatcher.kube.client import MERGE_PATCH, KubeClient, KubeError
from dispatcher.kube.errors import NOT_FOUND

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_VARIANTS = 5
"""Different messages about one pod, for one reason, of which none is over."""

TICK_SECONDS = 5.0
"""How often the thread looks for repetitions to write, if no new Event wakes it."""

_QUEUE = 200

log = structlog.get_logger("events")


def node(name: str) -> Subject:
    """Return the Node *name* as in kubelet's own Events, where its UID is its name."""
    return Subject("Node", "", name, name)


class Events:
    """Sends Events through *kube*; *host* is the node that they come from, *clock* is monotonic."""

    def __init__(
        self, kube: KubeClient, host: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._kube = kube
        self._host = host
        self._clock = clock
        self._series: dict[tuple[Subject, str, str], EventSeries] = {}
        self._unsent: dict[tuple[Subject, str, str], EventSeries] = {}
        """Further variants about a pod: logged once like all others, but not sent."""
        self._queue: queue.Queue[dict[str, Any]] = queue.Queue(_QUEUE)
        self._lock = threading.Lock()

    def emit(self, subject: Subject, reason: str, message: str, *, warning: bool = True) -> None:
        """Queue one Event, or count a repetition of one."""
        key, now, observed = (subject, reason, message), self._clock(), datetime.now(UTC)
        with self._lock:
            self._forget(now)
            repeated = self._series.get(key) or self._unsent.get(key)
            if repeated:
                repeated.observe(now, observed)
                return

            variants = sum(known[:2] == key[:2] for known in self._series)
            is_sent = subject.kind != "Pod" or variants < MAX_VARIANTS
            event_type = "Warning" if warning else "Normal"
            event = new_event(
                subject, reason, message, event_type, host=self._host, observed=observed
            )
            series = self._series if is_sent else self._unsent
            series[key] = EventSeries(event, now, observed)

        log.log(30 if warning else 20, message, reason=reason, about=subject.name)
        if is_sent:
            self._enqueue(event)

    def run(self) -> None:
        """Send queued Events and their repetitions for ever; drop those that cannot be sent."""
        while True:
            try:
                self.send_repetitions()
                self.send(self._queue.get(timeout=TICK_SECONDS))
            except queue.Empty:
                continue
            except Exception:
                log.exception("Event dropped: unexpected error")

    def send(self, event: dict[str, Any]) -> None:
        """Create *event* at the API server; a failure is logged only."""
        try:
            self._kube.create(_collection(event), event)
        except KubeError as error:
            _log_dropped(event, error)

    def send_repetitions(self) -> None:
        """Write the repetitions that are due; a failure is logged only."""
        now = self._clock()
        with self._lock:
            due = [(s.event, s.take(now)) for s in self._series.values() if s.is_due(now)]
            self._forget(now)
        for event, series in due:
            self._write_series(event, series)

    def _write_series(self, event: dict[str, Any], series: dict[str, Any]) -> None:
        path = f"{_collection(event)}/{event['metadata']['name']}"
        try:
            self._kube.patch(path, series, MERGE_PATCH)
        except KubeError as error:
            if error.status == NOT_FOUND:
                self.send({**event, **series})
            else:
                _log_dropped(event, error)

    def _enqueue(self, event: dict[str, Any]) -> None:
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            reason = event["reason"]
            log.warning("Event dropped: the queue for the API server is full", reason=reason)

    def _forget(self, now: float) -> None:
        self._series = {k: each for k, each in self._series.items() if not each.is_over(now)}
        self._unsent = {k: each for k, each in self._unsent.items() if not each.is_over(now)}


def _collection(event: dict[str, Any]) -> str:
    return f"/apis/{API_VERSION}/namespaces/{event['metadata']['namespace']}/events"


def _log_dropped(event: dict[str, Any], error: KubeError) -> None:
    log.warning("Event dropped: API request failed", reason=event["reason"], error=str(error))
