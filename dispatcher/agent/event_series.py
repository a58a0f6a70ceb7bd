"""One Event, and the series that it becomes when its message is repeated.

The objects are those of ``events.k8s.io/v1``: an Event is created when a message comes up first.
Each repetition is counted here, and the count is written to the Event's ``series`` after
``FIRST_DELAY`` seconds, then after twice as long each time, up to ``MAX_DELAY``. A message that was
not repeated for ``MAX_DELAY`` is over: the next one is a new Event.

No function here has an effect outside its object: :mod:`dispatcher.agent.events` sends the bodies.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

API_VERSION = "events.k8s.io/v1"

CONTROLLER = "genie-agent"
"""Who reports: ``kubectl describe`` prints it, and ``--field-selector source=`` selects by it."""

ACTIONS = {"Node": "Reconcile", "Pod": "Attach"}
"""What the agent was doing to an object of each kind; the API requires an action."""

FIRST_DELAY = 10.0
"""Seconds after which the first repetitions are written."""

MAX_DELAY = 600.0
"""Longest time in seconds between two writes, and after which a message is over."""

MAX_NOTE = 1024
"""Bytes of a message that the API server accepts."""

MAX_INSTANCE = 128
"""Characters of the reporting instance that the API server accepts; a node's name may have 253."""


class Subject(NamedTuple):
    """What an Event is about; ``namespace`` is "" for a Node."""

    kind: str
    namespace: str
    name: str
    uid: str


class EventSeries:
    """One message about one object. Times named ``now`` are monotonic, in seconds."""

    def __init__(self, event: dict[str, Any], now: float, observed: datetime) -> None:
        self.event = event
        """The object that is created for the first message."""
        self.count = 1
        self._observed = observed
        self._observed_at = now
        self._written = 1
        self._delay = FIRST_DELAY
        self._due = now + FIRST_DELAY

    def observe(self, now: float, observed: datetime) -> None:
        """Count one repetition, at the time *observed*."""
        self.count += 1
        self._observed, self._observed_at = observed, now

    def is_due(self, now: float) -> bool:
        """Return whether repetitions are to be written."""
        return self.count > self._written and now >= self._due

    def is_over(self, now: float) -> bool:
        """Return whether the message was not repeated for so long that the next is a new Event."""
        return now - self._observed_at >= MAX_DELAY

    def take(self, now: float) -> dict[str, Any]:
        """Return the fields of the Event that tell its repetitions; the next ones wait longer."""
        self._written = self.count
        self._delay = min(2 * self._delay, MAX_DELAY)
        self._due = now + self._delay
        return {"series": {"count": self.count, "lastObservedTime": _micro_time(self._observed)}}


def new_event(
    subject: Subject, reason: str, message: str, event_type: str, *, host: str, observed: datetime
) -> dict[str, Any]:
    """Return an Event about *subject*, reported by the agent on the node *host*."""
    regarding = {"apiVersion": "v1", "kind": subject.kind, "name": subject.name, "uid": subject.uid}
    if subject.namespace:
        regarding["namespace"] = subject.namespace
    return {
        "apiVersion": API_VERSION,
        "kind": "Event",
        # The name is chosen here, because a repetition is a patch of the object by its name.
        "metadata": {
            "name": f"{CONTROLLER}.{uuid.uuid4().hex}",
            "namespace": subject.namespace or "default",
        },
        "regarding": regarding,
        "type": event_type,
        "reason": reason,
        "action": ACTIONS[subject.kind],
        "note": message.encode()[:MAX_NOTE].decode(errors="ignore"),
        "eventTime": _micro_time(observed),
        "reportingController": CONTROLLER,
        "reportingInstance": host[:MAX_INSTANCE],
    }


def _micro_time(time: datetime) -> str:
    """Return *time*, which is in UTC, as a ``MicroTime`` of the API."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
