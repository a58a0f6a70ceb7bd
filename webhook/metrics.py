"""The webhook's metrics, with the names and base units of Prometheus' conventions."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

from dispatcher.kube import build_info

if TYPE_CHECKING:
    from collections.abc import Callable

BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds. Most decisions take less than a millisecond; the API server's timeout is 5 s."""


disable_created_metrics()  # type: ignore[no-untyped-call]  # no alert or panel uses these series


class WebhookMetrics:
    """All metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        build_info.register(self.registry, "webhook")
        decisions = Counter(
            "genie_webhook_decisions",
            "Reviews, by endpoint, outcome (allowed, patched, denied, error) and reason.",
            ("endpoint", "outcome", "reason"),
            registry=self.registry,
        )
        duration = Histogram(
            "genie_webhook_request_duration_seconds",
            "Seconds from the head of a request to its decision.",
            ("endpoint",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        # To find the series of some labels costs more than to count.
        self._decisions = cache(decisions.labels)
        self._duration = cache(duration.labels)
        self.in_flight = 0
        """Reviews that are being read or decided; only the thread of the event loop changes it."""
        self.gauge(
            "genie_webhook_in_flight_requests",
            "Reviews that are being read or decided.",
            lambda: self.in_flight,
        )
        self._label_patches = Counter(
            "genie_webhook_label_repairs",
            "Patches of the label cni-genie.io/defaulted, by result (done, stale, failed).",
            ("result",),
            registry=self.registry,
        )
        self._network_writes = Counter(
            "genie_webhook_network_writes",
            "Writes of objects networks.cni-genie.io, by result (done, stale, failed).",
            ("result",),
            registry=self.registry,
        )

    def count(self, endpoint: str, outcome: str, reason: str) -> None:
        """Count one response: a decision, or an error."""
        self._decisions(endpoint, outcome, reason).inc()

    def count_label_patch(self, result: str) -> None:
        """Count one patch of a namespace's label."""
        self._label_patches.labels(result).inc()

    def count_network_write(self, result: str) -> None:
        """Count one write of an object networks.cni-genie.io."""
        self._network_writes.labels(result).inc()

    def observe(self, endpoint: str, seconds: float) -> None:
        """Record how long one decision took."""
        self._duration(endpoint).observe(seconds)

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Add a gauge that calls *read* for its value at each scrape."""
        Gauge(name, help_text, registry=self.registry).set_function(read)
