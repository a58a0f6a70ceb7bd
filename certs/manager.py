"""The manager: the thread that reconciles this replica's certificate, the bundles and the Secret.

A reconciliation reads the webhook configurations and the Secret, takes the steps that are due,
writes the bundles that differ, and replaces the served leaf if necessary. It runs when a watch
reports a change, and every ``resync`` seconds in any case. Errors are logged, counted and retried;
the served leaf stays.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from certs.authority import fingerprint
from certs.file_source import FileSource
from certs.kube_store import ConfigurationStore, SecretStore
from certs.metrics import CertificateMetrics
from certs.selfcheck import SelfCheck, ServedState
from certs.server_clock import DatedKube, ServerClock
from certs.source import BundlePublication, CertificateSource, SecretSource
from certs.tls_context import ReloadableContext
from certs.webhook_configs import API, KINDS, ObservedConfigurations
from certs.write_backoff import WriteBackoff
from dispatcher.kube.backoff import Backoff
from dispatcher.kube.cache import WatchCache
from dispatcher.kube.errors import LOST_RACE, KubeError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from certs.leaf import Leaf
    from certs.settings import CertificateSettings

log = structlog.get_logger("certs")

LOST_RACES_IN_A_ROW = 3
"""Reconciliations that may lose a race to another replica before that counts as an error."""

PAUSE, PAUSE_AFTER_FAILURE = 0.1, 0.5
"""Seconds between reconciliations, at least, because one change often follows another. Longer after
a failure, but short enough to repair everything else within a second of a change."""

FIRST_DELAY, LONGEST_DELAY = 0.2, 15.0
"""Seconds until the retry after one failure, and at most, if no watch reports a change."""


class CertificateManager:
    """Issues, renews, publishes and serves the certificate of this replica.

    Call :meth:`start` and give :meth:`ssl_context` to the server; the context presents a
    certificate as soon as there is one (:meth:`wait_for_leaf`). :meth:`stop` ends the threads; the
    context continues to present the last certificate.
    """

    def __init__(
        self,
        kube: DatedKube,
        settings: CertificateSettings,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        boot: Callable[[], float] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = ServerClock(kube, boot) if boot else ServerClock(kube)
        self._metrics = CertificateMetrics(self._count_uncovered)
        self._configurations = ConfigurationStore(kube, settings, monotonic)
        self._source: CertificateSource = (
            FileSource(settings.directory, settings, self._clock.now)
            if settings.directory
            else SecretSource(
                SecretStore(kube, settings),
                settings,
                now=self._clock.now,
                on_write=lambda reason: self._metrics.secret_writes.labels(
                    reason.name.lower()
                ).inc(),
                monotonic=monotonic,
            )
        )

        self._context = ReloadableContext(settings.client_ca)
        self._served = ServedState()
        self._check = SelfCheck(settings, self._clock, self._metrics, lambda: self._served)
        self._write_backoff = WriteBackoff(monotonic, self._metrics.overwritten_writes.inc)
        self._backoff = Backoff(FIRST_DELAY, LONGEST_DELAY, random.uniform)
        self._error = ""

        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._has_leaf = threading.Event()
        self._watches = self._make_watches(kube)
        self._thread = threading.Thread(target=self._run, name="certificates", daemon=True)

    def start(self) -> None:
        """Start the threads."""
        for watch in self._watches:
            watch.start()
        self._thread.start()
        self._check.start()

    def stop(self) -> None:
        """End the threads; wait up to 5 seconds for a reconciliation that is running."""
        self._stopping.set()
        self._wake.set()
        self._check.stop()
        for watch in self._watches:
            watch.stop()
        self._thread.join(5)

    def wait_for_leaf(self, timeout: float) -> bool:
        """Wait up to *timeout* seconds for the first certificate; return whether there is one."""
        return self._has_leaf.wait(timeout)

    def ssl_context(self) -> ssl.SSLContext:
        """Return the context for the server, which stays the same for every certificate."""
        return self._context.context

    def ready(self) -> bool:
        """Tell whether the API server can call this replica, as far as this replica can see."""
        return not self.reason()

    def reason(self) -> str:
        """Return why this replica is not ready; empty: it is."""
        if self._served.leaf is None:
            return self._error or self._source.state.waits_for or "no certificate yet"
        return self._check.reason()

    def register_metrics(self, registry: CollectorRegistry) -> None:
        """Register the metrics of this package with *registry*."""
        self._metrics.register(registry)

    @property
    def leaf(self) -> Leaf | None:
        """The served certificate."""
        return self._served.leaf

    def reconcile(self) -> bool:
        """Reconcile Secret, bundles and leaf; return whether all went well. Never raises."""
        # Counted before the attempt, so that a defect that raises counts too.
        self._backoff.fail()
        try:
            errors = self._reconcile_or_hold()
        except Exception:
            self._error = "an unexpected error; see the log"
            self._metrics.failures.inc()
            log.exception("certificate reconciliation failed")
            return False

        for error in errors:
            self._report_error(error)
        if not errors:
            self._backoff.reset()
            self._error = ""
        return not errors

    def _reconcile_or_hold(self) -> list[KubeError]:
        """Reconcile. If that is cut short, still replace a leaf that would expire.

        An API error or a defect cuts it short. Returns the API errors; a defect's exception passes.
        """
        # A flag and "finally" instead of a second "except": the leaf is replaced for every kind of
        # exception, and one that is not a KubeError goes on to the caller, which logs it.
        complete = False
        try:
            errors = self._reconcile()
            complete = True
        except KubeError as error:
            errors = [error]
        finally:
            if not complete:
                self._serve(self._source.offline_leaf(self.leaf))
        return errors

    def _reconcile(self) -> list[KubeError]:
        """Reconcile; return the errors that did not end it, raise the one that did."""
        # Configurations are read before the Secret: what is written into them is then never older
        # than what was read from them.
        observed = self._configurations.observe()
        self._clock.report_jump()

        # The Secret is written before the bundles, and the bundles before the leaf is replaced: a
        # crash in between leaves trust without a leaf, never a leaf without trust.
        publication = self._source.reconcile(observed, self.leaf)
        failure = self._source.state.failure
        errors = [failure] if failure else []
        if publication:
            observed, write_errors = self._publish(observed, publication)
            errors += write_errors

        if observed.entries != self._served.observed.entries:
            self._check.trigger()
        self._served = ServedState(self.leaf, observed)
        self._serve(self._source.next_leaf(self.leaf, observed))
        self._update_metrics()
        return errors

    def _publish(
        self, observed: ObservedConfigurations, publication: BundlePublication
    ) -> tuple[ObservedConfigurations, list[KubeError]]:
        """Write the bundles that differ; return the configurations afterwards, and the errors."""
        writable = tuple(
            configuration
            for configuration in observed.configurations
            if self._write_backoff.may_write(configuration.name)
        )
        after, written, errors = self._configurations.write(
            replace(observed, configurations=writable),
            publication.trusted,
            retired=publication.retired,
            is_own=publication.is_own,
            now=self._clock.now(),
        )

        self._metrics.bundle_writes.inc(len(written))
        for name in written:
            self._write_backoff.record_write(name)
            log.info("caBundle written", configuration=name)

        latest = {each.name: each for each in after.configurations}
        configurations = tuple(latest.get(each.name, each) for each in observed.configurations)
        return replace(observed, configurations=configurations), errors

    def _serve(self, choice: tuple[Leaf, str] | None) -> None:
        """Serve the leaf in *choice* from now on; None: the served leaf stays."""
        if choice is None:
            return

        leaf, reason = choice
        self._context.load(leaf)
        self._served = ServedState(leaf, self._served.observed)
        self._has_leaf.set()
        self._check.trigger()
        self._metrics.leaves.inc()
        log.info(
            "serving a new certificate",
            why=reason,
            leaf=fingerprint(leaf.certificate)[:16],
            ca=fingerprint(leaf.ca)[:16] if leaf.ca else None,
            expires=leaf.certificate.not_valid_after_utc.isoformat(),
        )

    def _report_error(self, error: KubeError) -> None:
        """Log and count *error*, unless another replica was merely faster."""
        if error.status not in LOST_RACE or self._backoff.failures > LOST_RACES_IN_A_ROW:
            self._error = str(error)
            self._metrics.failures.inc()
            log.warning("certificate reconciliation failed", error=str(error))

    def _run(self) -> None:
        while True:
            self._wake.clear()
            if self._stopping.is_set():  # checked after the clear(), or a stop could be missed
                return

            succeeded = self.reconcile()
            self._wake.wait(self._seconds_to_next())
            self._stopping.wait(PAUSE if succeeded else PAUSE_AFTER_FAILURE)

    def _seconds_to_next(self) -> float:
        """Return after how many seconds to reconcile if no watch reports a change."""
        if self._backoff.failures:
            return self._backoff.delay()
        return min(
            self._settings.resync,
            self._source.state.recheck_in,
            self._write_backoff.seconds_to_next_write(),
        )

    def _update_metrics(self) -> None:
        state, leaf, metrics = self._source.state, self.leaf, self._metrics
        metrics.set_phase(state.phase)
        metrics.set_expiry(metrics.ca_expiry, state.ca)
        metrics.set_expiry(metrics.leaf_expiry, leaf.certificate if leaf else None)
        metrics.clock_difference.set(self._clock.difference())

    def _count_uncovered(self) -> int:
        """Return how many webhook entries do not cover the served leaf; without one, all."""
        leaf, observed = self._served.leaf, self._served.observed
        if leaf is None:
            return len(observed.entries)
        dns_name, now = self._settings.dns_name, self._clock.now()
        return len(observed.verification_errors(leaf.chain, dns_name, now))

    def _make_watches(self, kube: DatedKube) -> list[WatchCache[str]]:
        """Return watches of everything that a reconciliation reads; they only wake the thread."""
        settings = self._settings
        queries = {API + kind: {"labelSelector": settings.label} for kind in KINDS}
        if settings.directory is None:
            secret = {"fieldSelector": f"metadata.name={settings.secret}"}
            queries[f"/api/v1/namespaces/{settings.namespace}/secrets"] = secret

        return [
            WatchCache(
                kube,
                path,
                query=query,
                keep=lambda item: str(item["metadata"]["resourceVersion"]),
                on_change=lambda _key, _version: self._wake.set(),
            )
            for path, query in queries.items()
        ]
