"""What several tests of certificates build: a manager, a leaf, configurations, a TLS listener."""

from __future__ import annotations

import contextlib
import datetime as dt
import socketserver
import threading
import time
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Self

from prometheus_client import CollectorRegistry

from certs import CertificateManager, CertificateSettings
from certs.authority import issue_ca
from certs.ca_secret import REQUEST
from certs.leaf import Leaf, make_leaf
from certs.webhook_configs import API, KINDS, ObservedConfigurations, WebhookConfiguration
from tests.unit.apiserver import configuration

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    from cryptography import x509

    from certs.authority import KeyPair
    from tests.unit.apiserver import Api

NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
SETTINGS = CertificateSettings()
NAME = SETTINGS.dns_name

MUTATING = f"{API}{KINDS[0]}/cni-genie"
SECRETS = "/api/v1/namespaces/genie-system/secrets"
SECRET = f"{SECRETS}/genie-webhook-ca"


def make_manager(api: Api, **settings: Any) -> CertificateManager:
    """Return a manager whose clocks are *api*'s."""
    return CertificateManager(
        api.client(),
        CertificateSettings(**settings),
        monotonic=lambda: api.seconds,
        boot=lambda: api.seconds,
    )


def make_own_leaf(early: float = 0) -> Leaf:
    """Return a leaf of a CA of its own."""
    ca = issue_ca(NAME, now=NOW, lifetime=600, backdating=0)
    return make_leaf(ca, NOW, SETTINGS, early=early)


def served_certificate(manager: CertificateManager) -> x509.Certificate | None:
    """Return the certificate that *manager* serves."""
    return manager.leaf.certificate if manager.leaf else None


def metric(manager: CertificateManager, name: str, **labels: str) -> float:
    """Return the value of the metric ``genie_certificate_NAME``."""
    registry = CollectorRegistry()
    manager.register_metrics(registry)
    value = registry.get_sample_value(f"genie_certificate_{name}", labels)
    assert value is not None
    return value


def ca_bundle(api: Api, path: str = MUTATING) -> str | None:
    """Return the caBundle of the first entry of a configuration, in base64."""
    encoded: str | None = api.objects[path]["webhooks"][0]["clientConfig"].get("caBundle")
    return encoded


def request_rotation(api: Api, value: str) -> None:
    """Request a rotation, as ``python -m certs rotate`` does."""
    api.objects[SECRET]["metadata"]["annotations"] = {REQUEST: value}


def configurations(
    *bundles: tuple[KeyPair, ...], steady_for: float = 3600
) -> ObservedConfigurations:
    """Return one configuration, of two entries, for each bundle."""
    parsed = []
    for number, cas in enumerate(bundles):
        encoded = b64encode(b"".join(ca.certificate_pem for ca in cas)).decode()
        item = configuration(f"c{number}", "a", "b", bundle=encoded)
        item["metadata"] |= {"uid": str(number), "generation": 1, "resourceVersion": "1"}
        parsed.append(WebhookConfiguration.parse(KINDS[0], item, steady_for))
    return ObservedConfigurations(tuple(parsed), lost_for=steady_for)


def write_files(folder: Path, leaf: Leaf, ca: bytes = b"") -> None:
    """Write what a mounted Secret holds into *folder*."""
    (folder / "tls.crt").write_bytes(leaf.chain_pem)
    (folder / "tls.key").write_bytes(leaf.key_pem)
    if ca:
        (folder / "ca.crt").write_bytes(ca)


def eventually(condition: Callable[[], bool]) -> None:
    """Return when *condition* holds; fail after 20 seconds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class EchoHandler(socketserver.BaseRequestHandler):
    """One connection: TLS, then every line back."""

    def handle(self) -> None:
        """Serve until the peer closes the connection."""
        assert isinstance(self.server, Listener)
        with (
            contextlib.suppress(OSError),
            self.server.context.wrap_socket(self.request, server_side=True) as connection,
        ):
            while data := connection.recv(100):
                connection.sendall(data)


class Listener(socketserver.ThreadingTCPServer):
    """A TLS listener in threads of its own."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), EchoHandler)
        self.context = context
        self.port: int = self.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,)).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
