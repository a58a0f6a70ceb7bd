"""Emits Events about this node and its pods, which ``kubectl describe`` shows.

Rules: nothing waits for an Event. A thread sends them from a bounded queue. The same message about
the same object is sent once in ten minutes. About a pod, only a few different messages are sent for
one reason in that time, because some plugins put a new name into each.
"""

from __future__ import annotations

import queue
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from dispatcher.kube.client import KubeClient, KubeError

if TYPE_CHECKING:
    from collections.abc import Callable

COMPONENT = "genie-agent"

REPEAT_SECONDS = 600.0
"""How long the same message about the same object is not sent again."""

MAX_VARIANTS = 5
"""Different messages about one pod, for one reason, that are sent within that time."""

MAX_MESSAGE = 1024
"""The API server refuses a longer message."""

_QUEUE = 200

log = structlog.get_logger("events")


class Subject(NamedTuple):
    """What an Event is about; ``namespace`` is "" for a Node."""

    kind: str
    namespace: str
    name: str
    uid: str


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
        self._emitted: dict[tuple[Subject, str, str], float] = {}
        self._queue: queue.Queue[dict[str, Any]] = queue.Queue(_QUEUE)
        self._lock = threading.Lock()

    def emit(self, subject: Subject, reason: str, message: str, *, warning: bool = True) -> None:
        """Queue one Event, unless the same one was queued lately."""
        key, now = (subject, reason, message), self._clock()
        with self._lock:
            self._emitted = {k: at for k, at in self._emitted.items() if now - at < REPEAT_SECONDS}
            if key in self._emitted:
                return
            variants = sum(emitted[:2] == key[:2] for emitted in self._emitted)
            self._emitted[key] = now

        log.log(30 if warning else 20, message, reason=reason, about=subject.name)
        if subject.kind == "Pod" and variants >= MAX_VARIANTS:
            return
        event = self._event(subject, reason, message, "Warning" if warning else "Normal")
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            log.warning("Event dropped: the queue for the API server is full", reason=reason)

    def run(self) -> None:
        """Send queued Events for ever; drop those that cannot be sent."""
        while True:
            try:
                self.send(self._queue.get())
            except Exception:
                log.exception("Event dropped: unexpected error")

    def send(self, event: dict[str, Any]) -> None:
        """Send *event* to the API server; a failure is logged only."""
        namespace = event["metadata"]["namespace"]
        try:
            self._kube.create(f"/api/v1/namespaces/{namespace}/events", event)
        except KubeError as error:
            log.warning(
                "Event dropped: API request failed", reason=event["reason"], error=str(error)
            )

    def _event(
        self, subject: Subject, reason: str, message: str, event_type: str
    ) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        about = {"kind": subject.kind, "name": subject.name, "uid": subject.uid}
        if subject.namespace:
            about["namespace"] = subject.namespace
        namespace = subject.namespace or "default"
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{COMPONENT}-", "namespace": namespace},
            "involvedObject": {"apiVersion": "v1", **about},
            "type": event_type,
            "reason": reason,
            "message": message[:MAX_MESSAGE],
            "source": {"component": COMPONENT, "host": self._host},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._host,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
