"""The webhook's own metrics, in Prometheus' names and base units."""

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

if TYPE_CHECKING:
    from collections.abc import Callable

BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds. Most answers take well under a millisecond; 5 s is the API server's time-out."""


disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series for each, which no alert or panel reads


class WebhookMetrics:
    """All metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        decisions = Counter(
            "genie_webhook_decisions",
            "Reviews by endpoint, outcome (allowed, patched, denied, error) and reason.",
            ("endpoint", "outcome", "reason"),
            registry=self.registry,
        )
        duration = Histogram(
            "genie_webhook_request_duration_seconds",
            "From the head of a request to its decision.",
            ("endpoint",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        # Finding the series of some labels costs more than counting does.
        self._decisions = cache(decisions.labels)
        self._duration = cache(duration.labels)
        self.in_flight = 0
        """Reviews that are being read or judged; changed by the one thread that serves."""
        self.gauge(
            "genie_webhook_in_flight_requests",
            "Reviews that are being read or judged.",
            lambda: self.in_flight,
        )
        self._label_repairs = Counter(
            "genie_webhook_label_repairs",
            "Namespaces whose label was put right by the repair loop, by result.",
            ("result",),
            registry=self.registry,
        )

    def count(self, endpoint: str, outcome: str, reason: str) -> None:
        """Count one decision, or one answer that was none."""
        self._decisions(endpoint, outcome, reason).inc()

    def count_repair(self, result: str) -> None:
        """Count one patch of the repair loop."""
        self._label_repairs.labels(result).inc()

    def observe(self, endpoint: str, seconds: float) -> None:
        """Record how long one decision took."""
        self._duration(endpoint).observe(seconds)

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a gauge whose value is read when it is asked for."""
        Gauge(name, text, registry=self.registry).set_function(read)
