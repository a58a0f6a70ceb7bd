"""Self-check: would the API server accept what this replica presents.

A TLS dial to the replica's own listener, with the server name that the API server uses, shows
the certificate that is really presented, and that the listener has its key. It is then verified
against each bundle as observed, at the API server's time: this machine's clock and trust store
have no say. The dial through the Service shows whether the way there works; it may reach another
replica, and is a metric only. It has a thread of its own: a look-up of the name has no time-out.
"""

from __future__ import annotations

import socket
import ssl
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from cryptography import x509

from certs.webhook_configs import ObservedConfigurations

if TYPE_CHECKING:
    from collections.abc import Callable

    from certs.leaf import Leaf
    from certs.metrics import CertificateMetrics
    from certs.server_clock import ServerClock
    from certs.settings import CertificateSettings

TIMEOUT = 3.0
"""Seconds for connecting, and for the handshake: an API server gives a whole call 5 to 10."""

CHECK_AGAIN = 1.0
"""Seconds until the next self-check after one that failed: a server that starts is ready soon."""

log = structlog.get_logger("certs")


class DialError(Exception):
    """The listener could not be reached, or did not complete a handshake."""


@dataclass(frozen=True, slots=True)
class ServedState:
    """What a replica presents, and the bundles by which it is judged."""

    leaf: Leaf | None = None
    observed: ObservedConfigurations = field(default_factory=ObservedConfigurations)


class SelfCheck:
    """Dials the own listener in one thread and the Service in another, and says what is wrong."""

    def __init__(
        self,
        settings: CertificateSettings,
        clock: ServerClock,
        metrics: CertificateMetrics,
        serving: Callable[[], ServedState],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._serving = serving
        self._listener = "the own listener was not dialled yet"
        self._stopping = False
        self._wake, self._wake_service = threading.Event(), threading.Event()

    def start(self) -> None:
        """Begin."""
        for target, name in ((self._run, "certificate check"), (self._run_service, "service dial")):
            threading.Thread(target=target, name=name, daemon=True).start()

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stopping = True
        self.trigger()

    def trigger(self) -> None:
        """Check now: something has changed."""
        self._wake.set()
        self._wake_service.set()

    def reason(self) -> str:
        """Return why the API server cannot call this replica; empty: it can.

        An entry whose bundle does not cover the leaf counts only if no entry covers it: a
        configuration that someone else keeps breaking must not cost the others their webhook.
        """
        serving = self._serving()
        if self._listener or serving.leaf is None:
            return self._listener or "no certificate yet"
        verification_errors = self._verification_errors(serving, serving.leaf.chain)
        if verification_errors and len(verification_errors) == len(serving.observed.entries):
            return f"no caBundle covers the certificate: {_join(verification_errors)}"
        return ""

    def check(self) -> bool:
        """Dial the own listener; tells whether all is right."""
        before, self._listener = self._listener, self._dial_listener()
        if self._listener and self._listener != before:
            log.warning("self-check failed", reason=self._listener)
        serving = self._serving()
        verification_errors = (
            self._verification_errors(serving, serving.leaf.chain) if serving.leaf else {}
        )
        self._metrics.self_check.set(not self._listener and not verification_errors)
        return not self.reason()

    def check_service(self) -> None:
        """Dial the Service, for the metric; nothing else depends on it."""
        try:
            ok = not self._dial_service()
        except Exception:
            log.exception("the dial through the Service failed")
            ok = False
        self._metrics.service_dial.set(ok)

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                ok = self.check()
            except Exception as error:
                log.exception("self-check failed")
                self._listener, ok = f"the self-check failed: {error}", False
            self._wake.wait(self._settings.self_check if ok else CHECK_AGAIN)

    def _run_service(self) -> None:
        while not self._stopping:
            self._wake_service.clear()
            self.check_service()
            self._wake_service.wait(self._settings.self_check)

    def _dial_listener(self) -> str:
        settings = self._settings
        try:
            presented = dial(settings.listen_address, settings.listen_port, settings.dns_name)
        except DialError as error:
            return str(error)
        leaf = self._serving().leaf
        if leaf and presented != leaf.certificate:
            return f"port {settings.listen_port} presents another certificate than ours"
        return ""

    def _dial_service(self) -> str:
        settings, serving = self._settings, self._serving()
        try:
            presented = dial(settings.dns_name, settings.service_port, settings.dns_name)
        except DialError as error:
            return str(error)
        own = serving.leaf is not None and presented == serving.leaf.certificate
        chain = serving.leaf.chain if serving.leaf and own else (presented,)
        return _join(self._verification_errors(serving, chain))

    def _verification_errors(
        self, serving: ServedState, chain: tuple[x509.Certificate, ...]
    ) -> dict[str, str]:
        return serving.observed.verification_errors(
            chain, self._settings.dns_name, self._clock.now()
        )


def dial(address: str, port: int, name: str) -> x509.Certificate:
    """Return the certificate that the listener at *address* presents for *name*.

    Raises :class:`DialError`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # What is presented is wanted whoever signed it: it is verified afterwards, against bundles.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with connected(context, address, port, name) as tls:
            presented = tls.getpeercert(binary_form=True)
    except OSError as error:
        raise DialError(f"no TLS handshake with {address}:{port}: {error}") from None
    if presented is None:
        raise DialError(f"{address}:{port} presented no certificate")
    return x509.load_der_x509_certificate(presented)


def connected(context: ssl.SSLContext, address: str, port: int, name: str) -> ssl.SSLSocket:
    """Return a connection to the first of *address*' addresses that completes a handshake.

    The socket is wrapped before it connects: where a peer resets a connection before it is
    wrapped, Python 3.11 neither returns the socket nor closes it. Raises :class:`OSError`, the
    last address' own.
    """
    failed = OSError(f"{address} has no address")
    for family, kind, proto, _, where in socket.getaddrinfo(address, port, type=socket.SOCK_STREAM):
        tls = context.wrap_socket(socket.socket(family, kind, proto), server_hostname=name)
        try:
            tls.settimeout(TIMEOUT)
            tls.connect(where)
        except OSError as error:
            tls.close()
            failed = error
        else:
            return tls
    raise failed


def _join(verification_errors: dict[str, str]) -> str:
    return "; ".join(f"{entry}: {why}" for entry, why in verification_errors.items())
