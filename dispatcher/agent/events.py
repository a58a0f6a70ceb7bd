"""Events: what ``kubectl describe`` shows of this node, and of pods, from the agent.

Rules: an Event is never worth a delay, so they are sent from a thread of their own, from a
queue that is bounded; what is said about an object is not said again within ten minutes, and of a
pod, for one reason, no more than a few different sentences: some plugins put a new name into each.
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
"""How long the same sentence about the same object is kept back."""

DIFFERENT = 5
"""So many sentences about one pod, for one reason, are sent within that time."""

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
    """Return the Node *name* as kubelet's own Events speak of it (its UID is its name)."""
    return Subject("Node", "", name, name)


class Events:
    """Sends Events through *kube*; *host* is the node that they come from."""

    def __init__(
        self, kube: KubeClient, host: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._kube = kube
        self._host = host
        self._clock = clock
        self._said: dict[tuple[Subject, str, str], float] = {}
        self._queue: queue.Queue[dict[str, Any]] = queue.Queue(_QUEUE)
        self._lock = threading.Lock()

    def emit(self, subject: Subject, reason: str, message: str, *, warning: bool = True) -> None:
        """Queue one Event, unless the same was said lately."""
        key, now = (subject, reason, message), self._clock()
        with self._lock:
            self._said = {k: at for k, at in self._said.items() if now - at < REPEAT_SECONDS}
            if key in self._said:
                return
            alike = sum(said[:2] == key[:2] for said in self._said)
            self._said[key] = now
        log.log(30 if warning else 20, message, reason=reason, about=subject.name)
        if subject.kind == "Pod" and alike >= DIFFERENT:
            return
        try:
            self._queue.put_nowait(
                self._event(subject, reason, message, "Warning" if warning else "Normal")
            )
        except queue.Full:
            log.warning("an Event was dropped: too many wait for the API server", reason=reason)

    def run(self) -> None:
        """Send what is queued, for ever; an Event that cannot be sent is dropped."""
        while True:
            try:
                self.send(self._queue.get())
            except Exception:
                log.exception("an Event was dropped")  # the next may do

    def send(self, event: dict[str, Any]) -> None:
        """Send one."""
        namespace = event["metadata"]["namespace"]
        try:
            self._kube.create(f"/api/v1/namespaces/{namespace}/events", event)
        except KubeError as error:
            log.warning("an Event could not be sent", reason=event["reason"], error=str(error))

    def _event(self, subject: Subject, reason: str, message: str, kind: str) -> dict[str, Any]:
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
            "type": kind,
            "reason": reason,
            "message": message[:MAX_MESSAGE],
            "source": {"component": COMPONENT, "host": self._host},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._host,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
