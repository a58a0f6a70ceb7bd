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
from typing import TYPE_CHECKING

import structlog

from certs.authority import UnusableError, fingerprint
from certs.clock import DatedKube, ServerClock
from certs.cluster import Configurations, SecretStore
from certs.files import FilesKeeper
from certs.keeper import Keeper, SecretKeeper
from certs.metrics import Metrics
from certs.observed import API, KINDS, Observed
from certs.selfcheck import DialError, dial
from certs.serving import Leaf, LiveContext
from dispatcher.kube.cache import WatchCache
from dispatcher.kube.client import CONFLICT, NOT_FOUND, UNPROCESSABLE, KubeError

if TYPE_CHECKING:
    import datetime as dt
    import ssl
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from certs.settings import CertificateSettings

log = structlog.get_logger("certs")

LOST_RACE = frozenset({CONFLICT, NOT_FOUND, UNPROCESSABLE})
"""Answers to a conditional write that another replica overtook: the JSON patch's ``test`` fails
with 422, an update with 409, or 404 where the object is gone."""

PAUSE = 0.1
"""Seconds between rounds, at least: a change is often followed by another, and someone who takes
our bundle away in a loop must not make a loop of us."""

LONGEST_PAUSE = 15.0
"""Seconds before the next try after failures, at most."""

CHECK_AGAIN = 1.0
"""Seconds until the next self-check after one that failed: a server that starts is ready soon."""


class CertificateManager:
    """The certificate of this replica: made, renewed, published and served.

    ``start``, then give :meth:`ssl_context` to the server; it presents a certificate as soon as
    there is one (:meth:`wait`). ``stop`` ends the threads, the context goes on presenting the last.
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
        self._metrics = Metrics()
        self._configurations = Configurations(kube, settings, monotonic)
        self._keeper: Keeper = (
            FilesKeeper(settings.directory, settings)
            if settings.directory
            else SecretKeeper(
                SecretStore(kube, settings),
                settings,
                repaired=lambda cause: self._metrics.secret_writes.labels(cause.name.lower()).inc(),
                monotonic=monotonic,
            )
        )
        self._live = LiveContext()
        self._seen = Observed()
        self._leaf: Leaf | None = None
        self._error = ""
        self._dialled = "the own listener was not dialled yet"
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._check = threading.Event()
        self._served = threading.Event()
        self._watches = self._watch(kube)
        self._threads = [
            threading.Thread(target=self._run, name="certificates", daemon=True),
            threading.Thread(target=self._run_checks, name="certificate self-check", daemon=True),
        ]

    def start(self) -> None:
        """Begin, in threads of our own."""
        for watch in self._watches:
            watch.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads; returns when the round that runs is over, or after 5 seconds."""
        self._stopping.set()
        self._wake.set()
        self._check.set()
        for watch in self._watches:
            watch.stop()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(5)

    def wait(self, timeout: float) -> bool:
        """Wait up to *timeout* seconds for the first certificate; tells whether it has come."""
        return self._served.wait(timeout)

    def ssl_context(self) -> ssl.SSLContext:
        """Return the context for the server: always the same, whatever pair it presents."""
        return self._live.context

    def ready(self) -> bool:
        """Tell whether the API server can call this replica, as far as can be seen from here."""
        return not self.reason()

    def reason(self) -> str:
        """Return why this replica is not ready; empty: it is.

        An entry whose bundle does not cover the leaf makes the replica unready only if no entry
        covers it: a configuration that someone else keeps breaking must not cost the others.
        """
        leaf = self._leaf
        if leaf is None:
            return self._error or self._keeper.standing.waits_for or "no certificate yet"
        if self._dialled:
            return self._dialled
        refusals = self._refusals(leaf)
        if refusals and len(refusals) == len(self._seen.entries):
            return "no caBundle covers the certificate: " + _join(refusals)
        return ""

    def register_metrics(self, registry: CollectorRegistry) -> None:
        """Register the metrics of this package with *registry*."""
        self._metrics.register(registry)

    def reconcile(self) -> None:
        """Run one round; raises :class:`KubeError` for the first thing that failed."""
        seen = self._configurations.read()
        now = self._clock.now()
        publication = self._keeper.step(seen, now, self._leaf)
        errors: list[KubeError] = []
        if publication:
            seen, written, errors = self._configurations.write(
                seen,
                publication.trusted,
                retired=publication.retired,
                is_own=publication.is_own,
                now=now,
            )
            self._metrics.bundle_writes.inc(len(written))
            for name in written:
                log.info("caBundle written", configuration=name)
        self._seen = seen
        self._serve(self._keeper.next_leaf(self._leaf, seen, now))
        self._report()
        if errors:
            raise errors[0]

    def _serve(self, chosen: tuple[Leaf, str] | None) -> None:
        if chosen is None:
            return
        leaf, why = chosen
        try:
            self._live.load(leaf)
        except UnusableError as error:
            self._error = str(error)
            log.error("new certificate not taken into use", error=str(error))  # noqa: TRY400 - no trace of keys
            return
        self._leaf = leaf
        self._served.set()
        self._check.set()
        self._metrics.leaves.inc()
        log.info(
            "certificate taken into use",
            why=why,
            leaf=fingerprint(leaf.certificate)[:16],
            ca=fingerprint(leaf.ca)[:16] if leaf.ca else None,
            expires=leaf.certificate.not_valid_after_utc.isoformat(),
        )

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                self.reconcile()
                failures, self._error = 0, ""
            except KubeError as error:
                failures += 1
                self._failed(error, failures)
            except Exception:
                failures += 1
                self._error = "an unexpected error; see the log"
                self._metrics.failures.inc()
                log.exception("certificates cannot be looked after")
            if failures:
                longest = min(LONGEST_PAUSE, PAUSE * 2 ** min(failures, 8))
                self._stopping.wait(random.uniform(longest / 2, longest))  # noqa: S311 - jitter
            else:
                self._wake.wait(self._settings.resync)
                self._stopping.wait(PAUSE)

    def _failed(self, error: KubeError, failures: int) -> None:
        if error.status not in LOST_RACE or failures > 3:  # noqa: PLR2004 - lost in a row by luck
            self._error = str(error)
            self._metrics.failures.inc()
            log.warning("certificates cannot be looked after", error=str(error))
        if error.status == 0:
            self._serve(self._keeper.offline_leaf(self._leaf, self._clock.now()))

    def _run_checks(self) -> None:
        while not self._stopping.is_set():
            self._check.clear()
            ok = self.check()
            self._check.wait(self._settings.self_check if ok else CHECK_AGAIN)

    def check(self) -> bool:
        """Dial the own listener, then the Service; tells whether the own listener is all right."""
        settings = self._settings
        self._dialled = self._dial(settings.listen_address, settings.listen_port, own=True)
        refusals = self._refusals(self._leaf) if self._leaf else {}
        self._metrics.self_check.set(not self._dialled and not refusals)
        through_service = self._dial(settings.dns_name, settings.service_port, own=False)
        self._metrics.service_dial.set(not through_service)
        return not self.reason()

    def _dial(self, address: str, port: int, *, own: bool) -> str:
        """Return what is wrong with the certificate that *address* presents; empty: nothing."""
        name = self._settings.dns_name
        try:
            presented = dial(address, port, name)
        except DialError as error:
            return str(error)
        leaf = self._leaf
        if own and leaf and presented != leaf.certificate:
            return f"the listener at {address}:{port} presents another certificate than ours"
        chain = leaf.chain if leaf and presented == leaf.certificate else (presented,)
        if own:
            return ""
        refusals = self._seen.refusals(chain, name, self._clock.now())
        return _join(refusals) if refusals else ""

    def _refusals(self, leaf: Leaf) -> dict[str, str]:
        now: dt.datetime = self._clock.now()
        return self._seen.refusals(leaf.chain, self._settings.dns_name, now)

    def _report(self) -> None:
        standing, leaf = self._keeper.standing, self._leaf
        metrics = self._metrics
        metrics.set_phase(standing.phase)
        metrics.set_expiry(metrics.ca_expiry, standing.ca)
        metrics.set_expiry(metrics.leaf_expiry, leaf.certificate if leaf else None)
        metrics.uncovered.set(len(self._refusals(leaf)) if leaf else len(self._seen.entries))
        metrics.clock_difference.set(self._clock.difference())

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


def _join(refusals: dict[str, str]) -> str:
    return "; ".join(f"{entry}: {why}" for entry, why in refusals.items())
