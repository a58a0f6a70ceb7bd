"""The metrics of this package; the service that uses it registers them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

from certs.transitions import Phase, RotationReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography import x509
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics import MetricWrapperBase


class CertificateMetrics:
    """Gauges and counters about certificates; times are Unix seconds.

    *count_uncovered* is called at each scrape, so that its gauge does not lag behind the readiness.
    """

    def __init__(self, count_uncovered: Callable[[], int]) -> None:
        self.leaf_expiry = _gauge(
            "leaf_expiry_timestamp_seconds", "Time at which the served leaf expires."
        )
        self.ca_expiry = _gauge(
            "ca_expiry_timestamp_seconds", "Time at which the CA that signs leaves expires."
        )
        self.phase = _gauge("rotation_phase", "1 for the current phase of the rotation.", "phase")
        self.self_check = _gauge(
            "self_check_ok",
            "1 if every caBundle covers the certificate that the replica's listener presents.",
        )
        self.service_dial = _gauge(
            "service_dial_ok",
            "1 if a TLS dial through the Service returns a certificate that every caBundle covers.",
        )
        self.uncovered = _gauge(
            "uncovered_entries", "Webhook entries whose caBundle does not cover the served leaf."
        )
        self.uncovered.set_function(count_uncovered)
        self.clock_difference = _gauge(
            "clock_difference_seconds", "This machine's wall clock minus the API server's."
        )
        self.secret_writes = _counter(
            "secret_writes", "Writes of the Secret with the CA, by cause.", "cause"
        )
        self.bundle_writes = _counter(
            "bundle_writes", "Webhook configurations whose caBundle was written."
        )
        self.overwritten_writes = _counter(
            "contested_writes", "Repeated writes of a caBundle that another program overwrites."
        )
        self.leaves = _counter("leaves", "Leaves that this replica began to serve.")
        self.failures = _counter("failures", "Errors of certificate reconciliations.")
        for reason in RotationReason:
            self.secret_writes.labels(reason.name.lower())
        self.set_phase(None)

    def register(self, registry: CollectorRegistry) -> None:
        """Add all metrics to *registry*."""
        metric: MetricWrapperBase
        for metric in vars(self).values():
            registry.register(metric)

    def set_phase(self, current: Phase | None) -> None:
        """Set the gauge of the phase."""
        for phase in Phase:
            self.phase.labels(phase.value).set(phase is current)

    @staticmethod
    def set_expiry(gauge: Gauge, certificate: x509.Certificate | None) -> None:
        """Set *gauge* to the expiry of *certificate*, NaN if that is None."""
        gauge.set(certificate.not_valid_after_utc.timestamp() if certificate else math.nan)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"genie_certificate_{name}", text, labels, registry=None)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"genie_certificate_{name}", text, labels, registry=None)
