"""What the dial through the Service must not do to readiness. The dials are fakes: faults."""

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

from certs.authority import issue_ca
from certs.leaf import make_leaf
from certs.metrics import CertificateMetrics
from certs.selfcheck import DialError, SelfCheck, ServedState, connect, dial
from certs.server_clock import ServerClock
from certs.webhook_configs import ObservedConfigurations
from tests.unit.apiserver import Api
from tests.unit.certs.conftest import NAME, NOW, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cryptography import x509

LEAF = make_leaf(issue_ca(NAME, now=NOW, lifetime=600, backdating=0), NOW, SETTINGS, early=0)


class Dials:
    """Stands in for :func:`certs.selfcheck.dial`: each does as it is told."""

    def __init__(self) -> None:
        self.listener: Callable[[], None] = lambda: None
        self.service: Callable[[], None] = lambda: None
        self.dialled = threading.Event()

    def __call__(self, _address: str, port: int, _name: str) -> x509.Certificate:
        """Return what is presented."""
        if port == SETTINGS.service_port:
            self.dialled.set()
            self.service()
        else:
            self.listener()
        return LEAF.certificate


@pytest.fixture
def dials(monkeypatch: pytest.MonkeyPatch) -> Dials:
    """Give the fake dials."""
    made = Dials()
    monkeypatch.setattr("certs.selfcheck.dial", made)
    return made


METRICS = CertificateMetrics()


@pytest.fixture
def check() -> Iterator[SelfCheck]:
    """Give the self-check of a replica that serves, without any configuration."""
    clock = ServerClock(Api().client())
    made = SelfCheck(SETTINGS, clock, METRICS, lambda: ServedState(LEAF, ObservedConfigurations()))
    yield made
    made.stop()


def service_dial() -> float | None:
    registry = CollectorRegistry()
    registry.register(METRICS.service_dial)
    return registry.get_sample_value("genie_certificate_service_dial_ok")


def test_a_look_up_of_the_service_that_hangs_keeps_no_replica_from_being_ready(
    check: SelfCheck, dials: Dials
) -> None:
    """A look-up has no time-out: cluster DNS that does not answer takes many seconds."""
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
    raise DialError("the listener is not there yet")


def assert_in_time(event: threading.Event) -> None:
    assert event.wait(30)


def test_a_service_dial_that_fails_in_a_new_way_is_a_metric_only(
    check: SelfCheck, dials: Dials
) -> None:
    """It is logged, the gauge falls, and the replica stays ready."""
    assert check.check()
    check.check_service()
    assert service_dial() == 1

    def fail() -> None:
        raise ValueError("a label of the name is too long")

    dials.service = fail
    check.check_service()
    assert service_dial() == 0
    assert check.check()
    assert check.reason() == ""


def test_a_peer_that_resets_every_connection_is_a_reason_and_costs_no_socket(
    recwarn: pytest.WarningsRecorder,
) -> None:
    """At whatever instant of connecting and handshake the reset arrives."""
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


def test_a_name_without_addresses_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake resolver answers with nothing."""
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [])
    with pytest.raises(OSError, match="nowhere has no IP address"):
        connect(ssl.create_default_context(), "nowhere", 443, NAME)
