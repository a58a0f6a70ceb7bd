"""The running service: wires the parts together, starts and stops them.

Start: the probe server listens first. Then certificates and caches are fetched, at the same time.
Then the webhook listens. The replica is ready after all of that.

Stop: on SIGTERM the replica becomes unready and serves for another ``drain_seconds``, with every
connection closed after its response. By then every API server calls the other replicas.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from dispatcher.kube.lease import Lease
from webhook.app import create_app
from webhook.body_reader import BodyReader
from webhook.definition_finder import DefinitionFinder
from webhook.handlers import Handlers
from webhook.informer_caches import NOT_SYNCED, InformerCaches
from webhook.label_reconciler import LabelReconciler
from webhook.metrics import WebhookMetrics
from webhook.network_reconciler import NetworkReconciler
from webhook.probes import create_probes
from webhook.server import HttpServer, probe_server, webhook_server

if TYPE_CHECKING:
    import ssl

    from prometheus_client import CollectorRegistry

    from dispatcher.kube.cache import WatchCache
    from dispatcher.kube.client import KubeClient
    from webhook.app import Application
    from webhook.settings import WebhookSettings
    from webhook.snapshot import Namespace

NETWORKS_LEASE = "genie-webhook-networks"
"""Name of the Lease whose holder writes the objects networks.cni-genie.io."""

log = structlog.get_logger("webhook")


class Certificates(Protocol):
    """What the service needs of the certificates; :class:`certs.CertificateManager` has it."""

    def start(self) -> None:
        """Begin to reconcile the certificates; may block until the first one is there."""

    def stop(self) -> None:
        """Stop to reconcile them."""

    def ssl_context(self) -> ssl.SSLContext:
        """Return the TLS context, whose certificate chain is replaced in place."""
        ...

    def ready(self) -> bool:
        """Tell whether API servers trust the certificate that this replica serves."""
        ...

    def reason(self) -> str:
        """Return why :meth:`ready` is False."""
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
            kube, lambda: self._caches.namespaces_cache.items, self._metrics.count_label_patch
        )
        self._networks = NetworkReconciler(
            kube,
            self._caches.nodes_cache,
            Lease(kube, settings.namespace, NETWORKS_LEASE, _identity()),
            namespace=settings.namespace,
            listed=settings.networks,
            count=self._metrics.count_network_write,
        )
        mode = settings.attachment_definitions_mode
        self._finder = None if mode == "off" else DefinitionFinder(kube, settings)
        self._handlers = Handlers(
            kube, self._caches, settings, self._finder, lambda: self._networks.default_network
        )
        certificates.register_metrics(self._metrics.registry)
        self._add_gauges()
        self.probes = probe_server(create_probes(self.not_ready, self._metrics.registry), settings)
        self.webhook: HttpServer | None = None

    def _add_gauges(self) -> None:
        caches, add = self._caches, self._metrics.gauge
        for name, cache in (("namespace", caches.namespaces_cache), ("node", caches.nodes_cache)):
            add(
                f"genie_webhook_{name}_cache_age_seconds",
                f"Seconds since the API server last updated the cache of {name}s; NaN: never.",
                partial(_age, cache),
            )
            add(
                f"genie_webhook_{name}_cache_objects",
                f"Number of {name}s in the cache.",
                partial(_count, cache),
            )
        add(
            "genie_webhook_known_networks",
            "Networks that pods may name.",
            lambda: len(caches.networks.known),
        )
        add(
            "genie_webhook_dropped_networks",
            "Networks that pods may not name, because nodes have labels for too many.",
            lambda: caches.networks.dropped_count,
        )
        add(
            "genie_webhook_network_writer",
            "1 if this replica holds the Lease to write the objects networks.cni-genie.io, else 0.",
            lambda: self._networks.is_writer,
        )

    @property
    def registry(self) -> CollectorRegistry:
        """All metrics of this replica."""
        return self._metrics.registry

    def _on_namespace(self, name: str, namespace: Namespace | None) -> None:
        self._labels.on_change(name, namespace)

    def not_ready(self) -> str:
        """Return why this replica should not get reviews; empty if it should."""
        if self._draining:
            return "draining"
        if not self._caches.synced:
            return NOT_SYNCED
        if self.webhook is None or not self.webhook.is_listening:
            return "the webhook is not listening yet"
        return "" if self._certificates.ready() else self._certificates.reason()

    def stop(self) -> None:
        """Begin to drain, as SIGTERM does."""
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
        if self._finder is not None:
            self._finder.cache.start()
        self._labels.start()
        self._networks.start()
        try:
            await asyncio.to_thread(self._certificates.start)
            await self._serve(probes)
        finally:
            self._labels.stop()
            await asyncio.to_thread(self._networks.stop)
            self._caches.stop()
            if self._finder is not None:
                self._finder.cache.stop()
            self._certificates.stop()
            self.probes.stop()
            await probes

    def _create_app(self) -> Application:
        body_reader = BodyReader(
            max_bytes=self._settings.max_body_bytes,
            max_buffered_bytes=self._settings.max_buffered_bytes,
            max_arriving=self._settings.max_arriving,
            seconds=self._settings.body_seconds,
        )
        endpoints = {
            "/pods": self._handlers.pods,
            "/bindings": self._handlers.bindings,
            "/namespaces": self._handlers.namespaces,
            "/workloads": self._handlers.workloads,
            "/definitions": self._handlers.definitions,
        }
        return create_app(endpoints, body_reader, self._metrics, lambda: self._draining)

    async def _serve(self, probes: asyncio.Task[None]) -> None:
        context = self._certificates.ssl_context()
        self.webhook = webhook_server(self._create_app(), self._settings, context)
        serving = asyncio.create_task(self.webhook.serve())
        log.info("serving", port=self._settings.port, probes=self._settings.probe_port)

        stopped = asyncio.create_task(self._stopping.wait())
        # Stop if the probe server cannot listen: kubelet would kill the container anyway.
        await asyncio.wait({serving, stopped, probes}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done() and not probes.done():
            self._draining = True
            log.info("draining", seconds=self._settings.drain_seconds)
            await asyncio.wait({serving}, timeout=self._settings.drain_seconds)

        self.webhook.stop()
        stopped.cancel()
        await serving


def _identity() -> str:
    """Return a name that no other replica has, and no earlier process of this pod had."""
    return f"{socket.gethostname()}_{uuid.uuid4()}"


def _age(cache: WatchCache[Any]) -> float:
    age = cache.age
    return float("nan") if age is None else age


def _count(cache: WatchCache[Any]) -> float:
    return len(cache.items)
