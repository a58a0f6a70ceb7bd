"""Self-checks with dials that fail; the dials are fakes, to inject faults."""

from __future__ import annotations

import gc
import socket
import ssl
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from certs.authority import issue_ca
from certs.leaf import make_leaf
from certs.metrics import CertificateMetrics
from certs.selfcheck import DialError, SelfCheck, ServedState, connect, dial
from certs.server_clock import ServerClock
from certs.webhook_configs import ObservedConfigurations
from tests.unit.apiserver import Api
from tests.unit.certs.builders import NAME, NOW, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cryptography import x509

LEAF = make_leaf(issue_ca(NAME, now=NOW, lifetime=600, backdating=0), NOW, SETTINGS, early=0)


class Dials:
    """A stand-in for :func:`certs.selfcheck.dial` whose results a test chooses."""

    def __init__(self) -> None:
        self.listener: Callable[[], None] = lambda: None
        self.service: Callable[[], None] = lambda: None
        self.dialled = threading.Event()

    def __call__(self, _address: str, port: int, _name: str) -> x509.Certificate:
        """Return the certificate of the listener or of the Service."""
        if port == SETTINGS.service_port:
            self.dialled.set()
            self.service()
        else:
            self.listener()
        return LEAF.certificate


@pytest.fixture
def dials(monkeypatch: pytest.MonkeyPatch) -> Dials:
    """Give the fake dials."""
    fake = Dials()
    monkeypatch.setattr("certs.selfcheck.dial", fake)
    return fake


METRICS = CertificateMetrics(lambda: 0)


@pytest.fixture
def check() -> Iterator[SelfCheck]:
    """Give the self-check of a replica that serves, without any configuration."""
    clock = ServerClock(Api().client())
    self_check = SelfCheck(
        SETTINGS, clock, METRICS, lambda: ServedState(LEAF, ObservedConfigurations())
    )
    yield self_check
    self_check.stop()


def service_dial() -> float | None:
    registry = CollectorRegistry()
    registry.register(METRICS.service_dial)
    return registry.get_sample_value("genie_certificate_service_dial_ok")


def test_a_name_look_up_that_hangs_does_not_delay_readiness(check: SelfCheck, dials: Dials) -> None:
    """A look-up has no time-out: if cluster DNS does not answer, it takes many seconds."""
    answered = threading.Event()
    dials.service = lambda: assert_in_time(answered)
    dials.listener = refuse
    check.start()
    assert dials.dialled.wait(20)
    dials.listener = lambda: None
    check.trigger()
    deadline = time.monotonic() + 10
    while check.reason():
        assert time.monotonic() < deadline, check.reason()
        time.sleep(0.01)
    answered.set()


def refuse() -> None:
    raise DialError("the listener has not started yet")


def assert_in_time(event: threading.Event) -> None:
    assert event.wait(30)


def test_an_unexpected_error_of_the_service_dial_sets_a_metric_only(
    check: SelfCheck, dials: Dials
) -> None:
    """It is logged, the gauge becomes 0, and the replica stays ready."""
    assert check.check()
    check.check_service()
    assert service_dial() == 1

    def fail() -> None:
        raise ValueError("a label of the name is too long")

    dials.service = fail
    with capture_logs() as logged:
        check.check_service()
    assert [line["event"] for line in logged] == ["dial through the Service failed"]
    assert service_dial() == 0
    assert check.check()
    assert check.reason() == ""


def test_a_peer_that_resets_every_connection_is_reported_and_leaks_no_socket(
    recwarn: pytest.WarningsRecorder,
) -> None:
    """At whatever point of the connection or of the handshake the reset arrives."""
    gc.collect()
    recwarn.clear()  # of what other tests have left
    reset_on_close = struct.pack("ii", 1, 0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def reset_all() -> None:
            for _ in range(20):
                peer, _ = listener.accept()
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset_on_close)
                peer.close()

        resetting = threading.Thread(target=reset_all)
        resetting.start()
        for _ in range(20):
            with pytest.raises(DialError, match=f"no TLS handshake with 127.0.0.1:{port}: "):
                dial("127.0.0.1", port, NAME)
        resetting.join()
    gc.collect()
    assert not recwarn.list


def test_a_name_without_addresses_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake resolver returns none."""
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [])
    with pytest.raises(OSError, match="nowhere has no IP address"):
        connect(ssl.create_default_context(), "nowhere", 443, NAME)
