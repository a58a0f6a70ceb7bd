"""The manager: one thread that keeps this replica's certificate right, and one that checks it.

A round reads the webhook configurations and the Secret, takes the steps that are due, writes the
bundles that differ, and changes the served leaf if it must be changed. A round runs when a watch
reports a change, and every ``resync`` seconds whatever the watches say: they only wake it. What
fails is logged, counted and tried again; the leaf in use stays.

The order within a round matters. Configurations are read before the Secret, so that what is
written into them is never older than what was read from them. The Secret is written before the
bundles, and the bundles before the leaf, so that a crash in between leaves trust without a leaf,
never a leaf without trust.
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

RACES_IN_A_ROW = 3
"""So many rounds can be lost by bad luck; more are an error with a name."""

PAUSE, PAUSE_AFTER_FAILURE = 0.1, 0.5
"""Seconds between rounds, at least: a change is often followed by another. After a failure longer,
but still so short that what can be repaired is repaired within a second of the change."""

FIRST_DELAY, LONGEST_DELAY = 0.2, 15.0
"""Seconds before the next round after failures, where nothing changes: after one, and at most."""


class CertificateManager:
    """The certificate of this replica: made, renewed, published and served.

    ``start``, then give :meth:`ssl_context` to the server; it presents a certificate as soon as
    there is one (:meth:`wait_for_leaf`). ``stop`` ends the threads; the context goes on presenting
    the last certificate.
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
        self._metrics = CertificateMetrics()
        self._configurations = ConfigurationStore(kube, settings, monotonic)
        self._source: CertificateSource = (
            FileSource(settings.directory, settings, self._clock.now)
            if settings.directory
            else SecretSource(
                SecretStore(kube, settings),
                settings,
                now=self._clock.now,
                wrote=lambda cause: self._metrics.secret_writes.labels(cause.name.lower()).inc(),
                monotonic=monotonic,
            )
        )
        self._live = ReloadableContext(settings.client_ca)
        self._serving = ServedState()
        self._check = SelfCheck(settings, self._clock, self._metrics, lambda: self._serving)
        self._write_backoff = WriteBackoff(monotonic, self._metrics.contested_writes.inc)
        self._error = ""
        self._backoff = Backoff(FIRST_DELAY, LONGEST_DELAY, random.uniform)
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._served = threading.Event()
        self._watches = self._watch(kube)
        self._thread = threading.Thread(target=self._run, name="certificates", daemon=True)

    def start(self) -> None:
        """Begin, in threads of our own."""
        for watch in self._watches:
            watch.start()
        self._thread.start()
        self._check.start()

    def stop(self) -> None:
        """End the threads; returns when the round that runs is over, or after 5 seconds."""
        self._stopping.set()
        self._wake.set()
        self._check.stop()
        for watch in self._watches:
            watch.stop()
        self._thread.join(5)

    def wait_for_leaf(self, timeout: float) -> bool:
        """Wait up to *timeout* seconds for the first certificate; tells whether it has come."""
        return self._served.wait(timeout)

    def ssl_context(self) -> ssl.SSLContext:
        """Return the context for the server: always the same, whatever pair it presents."""
        return self._live.context

    def ready(self) -> bool:
        """Tell whether the API server can call this replica, as far as can be seen from here."""
        return not self.reason()

    def reason(self) -> str:
        """Return why this replica is not ready; empty: it is."""
        if self._serving.leaf is None:
            return self._error or self._source.state.waits_for or "no certificate yet"
        return self._check.reason()

    def register_metrics(self, registry: CollectorRegistry) -> None:
        """Register the metrics of this package with *registry*."""
        self._metrics.register(registry)

    @property
    def leaf(self) -> Leaf | None:
        """The certificate in use."""
        return self._serving.leaf

    def reconcile(self) -> bool:
        """Observe, step, publish, serve; tells whether all went well. Never raises."""
        self._backoff.fail()  # until the round has gone well
        try:
            errors = self._reconcile_or_hold()
        except Exception:
            self._error = "an unexpected error; see the log"
            self._metrics.failures.inc()
            log.exception("certificates cannot be looked after")
            return False
        for failure in errors:
            self._failed(failure)
        if not errors:
            self._backoff.reset()
            self._error = ""
        return not errors

    def _reconcile_or_hold(self) -> list[KubeError]:
        """Do the work of a round; whatever ends it, see that the leaf in use does not expire."""
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
        """Do the work of a round; returns what could not be written, raises what ended it."""
        observed = self._configurations.read()
        self._clock.report_jump()
        publication = self._source.reconcile(observed, self.leaf)
        failure = self._source.state.failure
        errors = [failure] if failure else []
        if publication:
            observed, unwritten = self._publish(observed, publication)
            errors += unwritten
        if observed.entries != self._serving.observed.entries:
            self._check.trigger()
        self._serving = ServedState(self.leaf, observed)
        self._serve(self._source.next_leaf(self.leaf, observed))
        self._report()
        return errors

    def _publish(
        self, observed: ObservedConfigurations, publication: BundlePublication
    ) -> tuple[ObservedConfigurations, list[KubeError]]:
        """Write the bundles that differ; returns what is known then, and what failed."""
        free = tuple(
            one for one in observed.configurations if self._write_backoff.may_write(one.name)
        )
        after, written, errors = self._configurations.write(
            replace(observed, configurations=free),
            publication.trusted,
            retired=publication.retired,
            is_own=publication.is_own,
            now=self._clock.now(),
        )
        self._metrics.bundle_writes.inc(len(written))
        for name in written:
            self._write_backoff.record_write(name)
            log.info("caBundle written", configuration=name)
        latest = {one.name: one for one in after.configurations}
        known = tuple(latest.get(one.name, one) for one in observed.configurations)
        return replace(observed, configurations=known), errors

    def _serve(self, chosen: tuple[Leaf, str] | None) -> None:
        if chosen is None:
            return
        leaf, why = chosen
        self._live.load(leaf)
        self._serving = ServedState(leaf, self._serving.observed)
        self._served.set()
        self._check.trigger()
        self._metrics.leaves.inc()
        log.info(
            "certificate taken into use",
            why=why,
            leaf=fingerprint(leaf.certificate)[:16],
            ca=fingerprint(leaf.ca)[:16] if leaf.ca else None,
            expires=leaf.certificate.not_valid_after_utc.isoformat(),
        )

    def _failed(self, error: KubeError) -> None:
        if error.status not in LOST_RACE or self._backoff.failures > RACES_IN_A_ROW:
            self._error = str(error)
            self._metrics.failures.inc()
            log.warning("certificates cannot be looked after", error=str(error))

    def _run(self) -> None:
        while True:
            self._wake.clear()
            if self._stopping.is_set():  # asked after the clearing, or a stop could be missed
                return
            good = self.reconcile()
            self._wake.wait(self._patience())
            self._stopping.wait(PAUSE if good else PAUSE_AFTER_FAILURE)

    def _patience(self) -> float:
        """Return how many seconds may pass to the next round if nothing changes."""
        if self._backoff.failures:
            return self._backoff.delay()
        return min(
            self._settings.resync,
            self._source.state.again_in,
            self._write_backoff.seconds_to_next_write(),
        )

    def _report(self) -> None:
        state, leaf, observed = self._source.state, self.leaf, self._serving.observed
        metrics, now = self._metrics, self._clock.now()
        metrics.set_phase(state.phase)
        metrics.set_expiry(metrics.ca_expiry, state.ca)
        metrics.set_expiry(metrics.leaf_expiry, leaf.certificate if leaf else None)
        metrics.clock_difference.set(self._clock.difference())
        refused = (
            observed.verification_errors(leaf.chain, self._settings.dns_name, now)
            if leaf
            else observed.entries
        )
        metrics.uncovered.set(len(refused))

    def _watch(self, kube: DatedKube) -> list[WatchCache[str]]:
        settings = self._settings
        watched = {API + kind: {"labelSelector": settings.label} for kind in KINDS}
        if settings.directory is None:
            secret = {"fieldSelector": f"metadata.name={settings.secret}"}
            watched[f"/api/v1/namespaces/{settings.namespace}/secrets"] = secret
        return [
            WatchCache(
                kube,
                path,
                query=query,
                keep=lambda found: str(found["metadata"]["resourceVersion"]),
                on_change=lambda _key, _version: self._wake.set(),
            )
            for path, query in watched.items()
        ]
