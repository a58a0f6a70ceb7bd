"""Managers whose threads run: retries, self-checks and readiness."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from certs import CertificateManager, CertificateSettings
from certs.tls_context import ReloadableContext
from certs.webhook_configs import API, KINDS
from dispatcher.kube.errors import KubeError
from tests.unit.apiserver import Api, configuration, fail
from tests.unit.certs.builders import (
    MUTATING,
    Listener,
    ca_bundle,
    eventually,
    make_own_leaf,
    metric,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def running(api: Api) -> Iterator[tuple[CertificateManager, Api]]:
    """Give a manager whose threads run, with its listener."""
    with Listener(ReloadableContext().context) as listener:
        unused_port = listener.port
    manager = CertificateManager(
        api.client(),
        CertificateSettings(
            resync=0.1, self_check=0.1, listen_port=unused_port, listen_address="127.0.0.1"
        ),
        boot=lambda: api.seconds,
    )
    manager.start()
    assert manager.wait_for_leaf(10)
    yield manager, api
    manager.stop()


def test_a_permanent_error_does_not_delay_other_repairs(
    running: tuple[CertificateManager, Api],
) -> None:
    """A change ends the wait after many failures."""
    manager, api = running
    api.before = fail(KubeError(403, "Forbidden", "refused"), "PATCH", path=f"{API}{KINDS[1]}")
    api.store(f"{API}{KINDS[1]}/zz", configuration("zz", "z"))
    eventually(lambda: metric(manager, "failures_total") > 0)
    manager._backoff.failures = 100  # from here on it waits 7 to 15 seconds
    eventually(lambda: manager._backoff.failures > 100)
    api.store(MUTATING, configuration("cni-genie", "a", "b"))
    woken = time.monotonic()
    manager._wake.set()
    eventually(lambda: ca_bundle(api) is not None)
    assert time.monotonic() - woken < 5


def test_readiness_follows_listener_and_bundles(
    running: tuple[CertificateManager, Api],
) -> None:
    """Ready once the listener answers and a bundle covers the leaf, even if another does not."""
    manager, api = running
    eventually(lambda: "no TLS handshake" in manager.reason())
    with Listener(manager.ssl_context()) as listener:
        manager._check._settings = manager._check._settings.model_copy(
            update={"listen_port": listener.port}
        )
        eventually(manager.ready)
        assert metric(manager, "uncovered_entries") == 0, "the gauge never lags behind readiness"
        eventually(lambda: metric(manager, "self_check_ok") == 1)
        assert metric(manager, "service_dial_ok") == 0

        api.before = fail(KubeError(403, "Forbidden", "not allowed"), "PATCH")
        api.store(f"{API}{KINDS[1]}/new", configuration("new", "n"))
        eventually(lambda: metric(manager, "self_check_ok") == 0)
        assert manager.ready()
        api.store(MUTATING, configuration("cni-genie", "a", "b"))
        eventually(lambda: "no caBundle covers the certificate" in manager.reason())


def test_another_certificate_at_the_listener_is_detected(
    running: tuple[CertificateManager, Api],
) -> None:
    """Another program listens on the replica's port."""
    manager, _ = running
    foreign = ReloadableContext()
    foreign.load(make_own_leaf())
    with Listener(foreign.context) as listener:
        manager._check._settings = manager._check._settings.model_copy(
            update={"listen_port": listener.port}
        )
        eventually(lambda: "presents a certificate that is not" in manager.reason())


def test_a_self_check_that_fails_in_a_new_way_goes_on(
    running: tuple[CertificateManager, Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readiness gives the error until a later check ends in another way."""
    manager, _ = running

    def unreadable(*_: object) -> None:
        raise ValueError("the certificate cannot be read")

    with monkeypatch.context() as broken:
        broken.setattr("certs.selfcheck.dial", unreadable)
        eventually(lambda: "the self-check failed: the certificate cannot" in manager.reason())
    eventually(lambda: "no TLS handshake" in manager.reason())
