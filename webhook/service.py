"""The running service: its parts wired together, its start and its end.

Start: probes answer first; then certificates and caches are fetched, side by side; then the
webhook listens. Readiness waits for all of it. End: on SIGTERM the replica says "not ready",
goes on serving with every connection closed after its answer, and leaves after
``drain_seconds``: by then every API server has learnt to call the others.
"""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from webhook.app import create_app
from webhook.body_reader import BodyReader
from webhook.handlers import Handlers
from webhook.informer_caches import InformerCaches
from webhook.label_reconciler import LabelReconciler
from webhook.metrics import WebhookMetrics
from webhook.probes import create_probes
from webhook.server import WebhookServer, probe_server, webhook_server

if TYPE_CHECKING:
    import ssl

    from prometheus_client import CollectorRegistry

    from dispatcher.kube.cache import WatchCache
    from dispatcher.kube.client import KubeClient
    from webhook.settings import WebhookSettings
    from webhook.snapshot import Namespace

log = structlog.get_logger("webhook")


class Certificates(Protocol):
    """What is asked of the certificates; :class:`certs.CertificateManager` has it."""

    def start(self) -> None:
        """Begin to keep the certificates; may wait for the first."""

    def stop(self) -> None:
        """Stop that."""

    def ssl_context(self) -> ssl.SSLContext:
        """Return the one context, whose chain is exchanged in place."""
        ...

    def ready(self) -> bool:
        """Tell whether the API servers trust what this replica serves."""
        ...

    def reason(self) -> str:
        """Return why not."""
        ...

    def register_metrics(self, registry: CollectorRegistry) -> None:
        """Add the metrics of the certificates to *registry*."""


class Service:
    """One replica of the webhook."""

    def __init__(
        self, settings: WebhookSettings, kube: KubeClient, certificates: Certificates
    ) -> None:
        self._settings = settings
        self._certificates = certificates
        self._draining = False
        self._stopping = asyncio.Event()
        self._metrics = WebhookMetrics()
        self._caches = InformerCaches(kube, settings.networks, self._on_namespace)
        self._labels = LabelReconciler(
            kube, lambda: self._caches.namespaces_cache.items, self._metrics.count_repair
        )
        self._handlers = Handlers(kube, self._caches, settings)
        certificates.register_metrics(self._metrics.registry)
        self._add_gauges()
        self.probes = probe_server(create_probes(self.not_ready, self._metrics.registry), settings)
        self.webhook: WebhookServer | None = None

    def _add_gauges(self) -> None:
        caches, add = self._caches, self._metrics.gauge
        for name, cache in (("namespace", caches.namespaces_cache), ("node", caches.nodes_cache)):
            add(
                f"genie_webhook_{name}_cache_age_seconds",
                f"Since the API server was last heard of about {name}s; NaN: never.",
                partial(_age, cache),
            )
            add(
                f"genie_webhook_{name}_cache_objects",
                f"How many {name}s the cache holds.",
                partial(_count, cache),
            )
        add(
            "genie_webhook_known_networks",
            "Networks that pods may name.",
            lambda: len(caches.networks.known),
        )
        add(
            "genie_webhook_dropped_networks",
            "Networks left out because nodes name too many: pods may not name them.",
            lambda: caches.networks.dropped,
        )

    @property
    def registry(self) -> CollectorRegistry:
        """All metrics of this replica."""
        return self._metrics.registry

    def _on_namespace(self, name: str, facts: Namespace | None) -> None:
        self._labels.on_change(name, facts)

    def not_ready(self) -> str:
        """Return why no reviews should be sent here; empty: they should."""
        if self._draining:
            return "draining"
        if not self._caches.synced:
            return "namespaces and nodes have not been read yet"
        if self.webhook is None or not self.webhook.started:
            return "the webhook does not listen yet"
        return "" if self._certificates.ready() else self._certificates.reason()

    def stop(self) -> None:
        """Begin the end (what SIGTERM does)."""
        self._stopping.set()

    async def run(self) -> None:
        """Serve until :meth:`stop` is called, then drain.

        Raises :class:`~webhook.server.ListenError` for either port.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        probes = asyncio.create_task(self.probes.serve())
        self._caches.start()
        self._labels.start()
        try:
            await asyncio.to_thread(self._certificates.start)
            await self._serve(probes)
        finally:
            self._labels.stop()
            self._caches.stop()
            self._certificates.stop()
            self.probes.should_exit = True
            await probes

    async def _serve(self, probes: asyncio.Task[None]) -> None:
        body_reader = BodyReader(
            largest=self._settings.max_body_bytes,
            together=self._settings.max_buffered_bytes,
            arriving=self._settings.max_arriving,
            seconds=self._settings.body_seconds,
        )
        endpoints = {
            "/pods": self._handlers.pods,
            "/bindings": self._handlers.bindings,
            "/namespaces": self._handlers.namespaces,
            "/workloads": self._handlers.workloads,
        }
        app = create_app(endpoints, body_reader, self._metrics, lambda: self._draining)
        context = self._certificates.ssl_context()
        self.webhook = webhook_server(app, self._settings, context)
        serving = asyncio.create_task(self.webhook.serve())
        log.info("serving", port=self._settings.port, probes=self._settings.probe_port)
        stopped = asyncio.create_task(self._stopping.wait())
        # Probes that cannot listen end the replica: kubelet would kill it again and again.
        await asyncio.wait({serving, stopped, probes}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done() and not probes.done():
            self._draining = True
            log.info("draining", seconds=self._settings.drain_seconds)
            await asyncio.wait({serving}, timeout=self._settings.drain_seconds)
        self.webhook.should_exit = True
        stopped.cancel()
        await serving


def _age(cache: WatchCache[Any]) -> float:
    age = cache.age
    return float("nan") if age is None else age


def _count(cache: WatchCache[Any]) -> float:
    return len(cache.items)
