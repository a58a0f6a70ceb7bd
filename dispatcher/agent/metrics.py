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

from dispatcher.agent.journal_reader import RetryTracker
from dispatcher.state.record import PARKED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dispatcher.agent.journal_reader import JournalEntry
    from dispatcher.node.record_cache import CachedRecord

SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 90.0)
"""An ADD takes tens of milliseconds, and may not take longer than its deadline of 90 s."""

STATES = ("attached", "incomplete", "failed", "parked", "unreadable")
"""What a record may be; one that is several of these counts as the last of them."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series for each, for nobody


class AgentMetrics:
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
        self._retries = Counter(
            "genie_agent_retries",
            "Calls of the plugin that came again after one had failed: ADDs of the same pod, "
            "DELs of the same container.",
            ("command",),
            registry=self.registry,
        )
        self._again = RetryTracker()
        for command in ("ADD", "DEL"):
            self._retries.labels(command)
        self._parked = Gauge(
            "genie_agent_parked_attachments",
            "Attachments that wait to be freed until their plugin can be run again.",
            ("network",),
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
        self._reaper_problem = Gauge(
            "genie_agent_reaper_problem",
            "Why nothing that was left behind is freed; always 1. Absent: it is.",
            ("problem",),
            registry=self.registry,
        )
        self._reaper_said = ""
        self._shown: tuple[dict[str, str], str] = ({}, "")
        self.restored = Counter(
            "genie_agent_restored",
            "Files of ours that somebody removed or changed, and that were put right.",
            registry=self.registry,
        )

    def count(self, entries: Iterable[JournalEntry]) -> None:
        """Count calls of the plugin."""
        for entry in entries:
            self._calls.labels(entry.command, str(entry.code)).observe(entry.seconds)
            if self._again.track(entry):
                self._retries.labels(entry.command).inc()
            for step in entry.steps:
                labels = (entry.command, step.network, str(step.code))
                self._attachments.labels(*labels).observe(step.seconds)

    def show_records(self, records: Iterable[CachedRecord]) -> None:
        """Show how many records there are of each state, and what is parked."""
        tally: Tally[str] = Tally()
        parked: Tally[str] = Tally()
        for stored in records:
            tally[state(stored)] += 1
            for attachment in stored.record.attachments if stored.record else ():
                parked[attachment.network] += attachment.phase == PARKED
        for each in STATES:
            self._records.labels(each).set(tally[each])
        self._parked.clear()
        for network, count in (+parked).items():
            self._parked.labels(network).set(count)

    def show_reaper(self, problem: str) -> None:
        """Show what keeps the reaper from its work."""
        if problem == self._reaper_said:
            return
        self._reaper_said = problem
        self._reaper_problem.clear()
        if problem:
            self._reaper_problem.labels(problem).set(1)

    def show_networks(self, networks: Mapping[str, str], problem: str) -> None:
        """Show *networks* as in :class:`NodeState`, and the *problem* of the node, if any."""
        if (shown := (dict(networks), problem)) == self._shown:
            return  # a series that is set anew is not there for a moment
        self._shown = shown
        for gauge in (self._available, self._unavailable, self._problem):
            gauge.clear()
        for network, reason in networks.items():
            self._available.labels(network).set(not reason)
            if reason:
                self._unavailable.labels(network, reason).set(1)
        if problem:
            self._problem.labels(problem).set(1)


def state(stored: CachedRecord) -> str:
    """Return the state of one record."""
    if stored.record is None:
        return "unreadable"
    attachments = stored.record.attachments
    if any(attachment.phase == PARKED for attachment in attachments):
        return "parked"
    if any(attachment.failure for attachment in attachments):
        return "failed"
    return "attached" if stored.record.is_complete else "incomplete"
