"""The metrics of this package, each registered where the service that uses it says."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

from certs.rotation import Phase, RotationReason

if TYPE_CHECKING:
    from cryptography import x509
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics import MetricWrapperBase


class CertificateMetrics:
    """Gauges and counters about certificates; times are Unix seconds."""

    def __init__(self) -> None:
        self.leaf_expiry = _gauge("leaf_expiry_timestamp_seconds", "When the served leaf expires.")
        self.ca_expiry = _gauge("ca_expiry_timestamp_seconds", "When the signing CA expires.")
        self.phase = _gauge("rotation_phase", "1 for the phase of the rotation.", "phase")
        self.self_check = _gauge(
            "self_check_ok",
            "1 while every bundle covers the certificate that the own listener presents.",
        )
        self.service_dial = _gauge(
            "service_dial_ok", "1 while a TLS dial through the Service meets a covered certificate."
        )
        self.uncovered = _gauge(
            "uncovered_entries", "Webhook entries whose caBundle does not cover the served leaf."
        )
        self.clock_difference = _gauge(
            "clock_difference_seconds", "This machine's wall clock minus the API server's."
        )
        self.secret_writes = _counter(
            "secret_writes", "Writes of the Secret, by what made them necessary.", "cause"
        )
        self.bundle_writes = _counter("bundle_writes", "Webhook configurations given a bundle.")
        self.contested_writes = _counter(
            "contested_writes", "Bundles written again because somebody else had replaced them."
        )
        self.leaves = _counter("leaves", "Leaves taken into use.")
        self.failures = _counter("failures", "Rounds that ended in an error.")
        for cause in RotationReason:
            self.secret_writes.labels(cause.name.lower())
        self.set_phase(None)

    def register(self, registry: CollectorRegistry) -> None:
        """Add everything to *registry*."""
        metric: MetricWrapperBase
        for metric in vars(self).values():
            registry.register(metric)

    def set_phase(self, current: Phase | None) -> None:
        """Set the gauge of the phase."""
        for phase in Phase:
            self.phase.labels(phase.value).set(phase is current)

    @staticmethod
    def set_expiry(gauge: Gauge, certificate: x509.Certificate | None) -> None:
        """Set *gauge* to the end of the life of *certificate*; None: there is none."""
        gauge.set(certificate.not_valid_after_utc.timestamp() if certificate else math.nan)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"genie_certificate_{name}", text, labels, registry=None)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"genie_certificate_{name}", text, labels, registry=None)
