"""The agent's metrics, in Prometheus' names and base units.

What a series counts by comes from the node (networks, error codes), never from a pod's
author, so their number is bounded.
"""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from dispatcher.plugin.record import ATTACHED, PARKED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dispatcher.agent.journal import Entry
    from dispatcher.agent.records import Stored

SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 90.0)
"""An ADD takes tens of milliseconds, and may not take longer than its deadline of 90 s."""

STATES = ("attached", "incomplete", "failed", "parked", "unreadable")
"""What a record may be; one that is several of these counts as the last of them."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series for each, for nobody


class Metrics:
    """All metrics of one agent, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._calls = Histogram(
            "genie_agent_call_duration_seconds",
            "Calls of the plugin by command and CNI error code (0: success).",
            ("command", "code"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._attachments = Histogram(
            "genie_agent_attachment_duration_seconds",
            "Attachments that calls made or freed, by command, network and CNI error code.",
            ("command", "network", "code"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._records = Gauge(
            "genie_agent_records",
            "Attachment records by state.",
            ("state",),
            registry=self.registry,
        )
        self._available = Gauge(
            "genie_agent_network_available",
            "Whether this node can attach the network.",
            ("network",),
            registry=self.registry,
        )
        self._unavailable = Gauge(
            "genie_agent_network_unavailable",
            "Why this node cannot attach the network; always 1.",
            ("network", "reason"),
            registry=self.registry,
        )
        self._problem = Gauge(
            "genie_agent_problem",
            "Why new pods are not attached as the settings say; always 1. Absent: they are.",
            ("problem",),
            registry=self.registry,
        )
        self.restored = Counter(
            "genie_agent_restored",
            "Files of ours that somebody removed or changed, and that were put right.",
            registry=self.registry,
        )

    def count(self, entries: Iterable[Entry]) -> None:
        """Count calls of the plugin."""
        for entry in entries:
            self._calls.labels(entry.command, str(entry.code)).observe(entry.seconds)
            for step in entry.steps:
                labels = (entry.command, step.network, str(step.code))
                self._attachments.labels(*labels).observe(step.seconds)

    def show_records(self, records: Iterable[Stored]) -> None:
        """Show how many records there are of each state."""
        tally = Tally(map(state, records))
        for each in STATES:
            self._records.labels(each).set(tally[each])

    def show_networks(self, networks: Mapping[str, str], problem: str) -> None:
        """Show what can be attached, and what is wrong (see :class:`View`)."""
        for gauge in (self._available, self._unavailable, self._problem):
            gauge.clear()
        for network, reason in networks.items():
            self._available.labels(network).set(not reason)
            if reason:
                self._unavailable.labels(network, reason).set(1)
        if problem:
            self._problem.labels(problem).set(1)


def state(stored: Stored) -> str:
    """Return the state of one record."""
    if stored.record is None:
        return "unreadable"
    attachments = stored.record.attachments
    if any(attachment.phase == PARKED for attachment in attachments):
        return "parked"
    if any(attachment.failure for attachment in attachments):
        return "failed"
    whole = all(attachment.phase == ATTACHED for attachment in attachments)
    return "attached" if whole else "incomplete"
