"""The agent's metrics, in Prometheus' names and base units.

The values of labels come from the node (networks, error codes), never from the author of a pod, so
the number of series is bounded. NetworkAttachmentDefinitions may be a tenant's, any number of them:
all of one namespace are one network here, ``namespace/*``.
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
from dispatcher.kube import build_info
from dispatcher.node.accepted_settings import generation
from dispatcher.node.record_cache import STATES
from dispatcher.state.record import PARKED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dispatcher.agent.journal_reader import JournalEntry
    from dispatcher.node.record_cache import CachedRecord
    from dispatcher.node.settings import LiveSettings

SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 90.0)
"""An ADD takes tens of milliseconds, and its deadline is 90 s."""

disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series each, which nobody needs


class AgentMetrics:
    """All metrics of one agent, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        build_info.register(self.registry, "agent")
        self.calls = CallMetrics(self.registry)
        self.records = RecordMetrics(self.registry)
        self.node = NodeMetrics(self.registry)
        self.settings = SettingsMetrics(self.registry)


class CallMetrics:
    """Metrics of the plugin's calls, from its journal."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._calls = Histogram(
            "genie_agent_call_duration_seconds",
            "Duration of the plugin's calls by command and CNI error code (0: success).",
            ("command", "code"),
            buckets=SECONDS,
            registry=registry,
        )
        self._attachments = Histogram(
            "genie_agent_attachment_duration_seconds",
            "Duration of attaching or releasing one network, by command, network and CNI error "
            "code (0: success).",
            ("command", "network", "code"),
            buckets=SECONDS,
            registry=registry,
        )
        self._retries = Counter(
            "genie_agent_retries",
            "Calls of the plugin that repeat a failed one: ADD of the same pod, DEL of the same "
            "container.",
            ("command",),
            registry=registry,
        )
        for command in ("ADD", "DEL"):
            self._retries.labels(command)
        self._tracker = RetryTracker()

    def count(self, entries: Iterable[JournalEntry]) -> None:
        """Count calls of the plugin."""
        for entry in entries:
            self._calls.labels(entry.command, str(entry.code)).observe(entry.seconds)
            if self._tracker.track(entry):
                self._retries.labels(entry.command).inc()
            for command, step in entry.operations():
                labels = (command, _network(step.network), str(step.code))
                self._attachments.labels(*labels).observe(step.seconds)


class RecordMetrics:
    """Metrics of the records of the node's containers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._records = Gauge(
            "genie_agent_records", "Attachment records by state.", ("state",), registry=registry
        )
        self._parked = Gauge(
            "genie_agent_parked_attachments",
            "Attachments whose plugin cannot be executed, waiting to be released.",
            ("network",),
            registry=registry,
        )

    def show(self, records: Iterable[CachedRecord]) -> None:
        """Set the number of records in each state, and of parked attachments."""
        states: Tally[str] = Tally()
        parked: Tally[str] = Tally()
        for cached in records:
            states[cached.state] += 1
            if cached.state == "parked" and cached.record:
                attachments = cached.record.attachments
                parked.update(
                    _network(each.network) for each in attachments if each.phase == PARKED
                )

        for state in STATES:
            self._records.labels(state).set(states[state])
        self._parked.clear()
        for network, count in parked.items():
            self._parked.labels(network).set(count)


def _network(name: str) -> str:
    namespace, slash, _ = name.partition("/")  # networks of the node have no slash
    return f"{namespace}/*" if slash else name


class NodeMetrics:
    """Metrics of the node: its networks, its problem and that of the reaper."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._available = Gauge(
            "genie_agent_network_available",
            "Whether this node can attach the network (1) or not (0).",
            ("network",),
            registry=registry,
        )
        self._unavailable = Gauge(
            "genie_agent_network_unavailable",
            "Reason why this node cannot attach the network; always 1.",
            ("network", "reason"),
            registry=registry,
        )
        self._problem = Gauge(
            "genie_agent_problem",
            "Reason why new pods are not attached as the settings say; always 1, absent if there "
            "is no problem.",
            ("problem",),
            registry=registry,
        )
        self._reaper_problem = Gauge(
            "genie_agent_reaper_problem",
            "Reason why the reaper cannot release attachments; always 1, absent if there is no "
            "problem.",
            ("problem",),
            registry=registry,
        )
        self.restored = Counter(
            "genie_agent_restored",
            "Files of Genie that another program removed or changed, and that the agent restored.",
            registry=registry,
        )
        self._shown: tuple[dict[str, str], str] = ({}, "")
        self._shown_reaper_problem = ""

    def show_networks(self, networks: Mapping[str, str], problem: str) -> None:
        """Set the series of *networks* (as in :class:`NodeState`) and of the node's *problem*."""
        # A series that is removed and set again is missing for a moment.
        if (shown := (dict(networks), problem)) == self._shown:
            return

        self._shown = shown
        for gauge in (self._available, self._unavailable, self._problem):
            gauge.clear()
        for network, reason in networks.items():
            self._available.labels(network).set(not reason)
            if reason:
                self._unavailable.labels(network, reason).set(1)
        if problem:
            self._problem.labels(problem).set(1)

    def show_reaper_problem(self, problem: str) -> None:
        """Set the series of the reaper's *problem* ("": none)."""
        if problem == self._shown_reaper_problem:
            return

        self._shown_reaper_problem = problem
        self._reaper_problem.clear()
        if problem:
            self._reaper_problem.labels(problem).set(1)


class SettingsMetrics:
    """Metrics of the settings that may change while the agent runs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._in_force = Gauge(
            "genie_agent_settings",
            "Settings in force on this node; always 1, absent if there are none yet. The "
            "generation is the same on all nodes with the same values.",
            ("generation", "default_network", "mode"),
            registry=registry,
        )
        self._refused = Gauge(
            "genie_agent_settings_refused",
            "Reason why the settings of the ConfigMap genie are refused; always 1, absent if they "
            "are valid.",
            ("problem",),
            registry=registry,
        )
        self._shown: tuple[LiveSettings | None, str] = (None, "")

    def show(self, live: LiveSettings | None, refused: str) -> None:
        """Set the series of the settings *live*, and of why changed ones are *refused*."""
        if (shown := (live, refused)) == self._shown:
            return

        self._shown = shown
        self._in_force.clear()
        self._refused.clear()
        if live is not None:
            labels = (generation(live), live.default_network, str(live.mode))
            self._in_force.labels(*labels).set(1)
        if refused:
            self._refused.labels(refused).set(1)
