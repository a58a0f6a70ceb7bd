"""Check whether the API server would accept the certificate that this replica presents.

A TLS dial to the replica's own listener, with the server name that the API server uses, returns the
certificate that is really presented, and proves that the listener has its key. The certificate is
then verified against each observed bundle, at the API server's time: this machine's clock and trust
store do not matter.

A dial through the Service shows whether that path works. It may reach another replica, and sets a
metric only.
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

RETRY = 1.0
"""Seconds between self-checks that fail: a server that is starting is ready soon."""

log = structlog.get_logger("certs")


class DialError(Exception):
    """The listener cannot be reached, or did not complete a handshake."""


@dataclass(frozen=True, slots=True)
class ServedState:
    """The leaf that this replica presents, and the bundles that must cover it."""

    leaf: Leaf | None = None
    observed: ObservedConfigurations = field(default_factory=ObservedConfigurations)


class SelfCheck:
    """Dials the replica's own listener and the Service, each in a thread.

    Two threads, because the Service is dialled by its name and a name look-up has no time-out.
    """

    def __init__(
        self,
        settings: CertificateSettings,
        clock: ServerClock,
        metrics: CertificateMetrics,
        served: Callable[[], ServedState],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._served = served
        self._listener_error = "the replica's own listener was not dialled yet"
        self._stopping = False
        self._wake, self._wake_service = threading.Event(), threading.Event()

    def start(self) -> None:
        """Start the threads."""
        for target, name in ((self._run, "certificate check"), (self._run_service, "service dial")):
            threading.Thread(target=target, name=name, daemon=True).start()

    def stop(self) -> None:
        """Make the threads end; does not wait for them."""
        self._stopping = True
        self.trigger()

    def trigger(self) -> None:
        """Check now, because something has changed."""
        self._wake.set()
        self._wake_service.set()

    def reason(self) -> str:
        """Return why the API server cannot call this replica; empty: it can.

        Bundles that do not cover the leaf count only if none does: another program that breaks one
        configuration again and again must not take the webhook away from the others.
        """
        served = self._served()
        if self._listener_error or served.leaf is None:
            return self._listener_error or "no certificate yet"

        errors = self._verification_errors(served, served.leaf.chain)
        if errors and len(errors) == len(served.observed.entries):
            return f"no caBundle covers the certificate: {_join(errors)}"
        return ""

    def check(self) -> bool:
        """Dial our listener, store the result for :meth:`reason`, and set the metric.

        The metric is 0 if any bundle fails. Returns whether :meth:`reason` is empty.
        """
        previous, self._listener_error = self._listener_error, self._dial_listener()
        if self._listener_error and self._listener_error != previous:
            log.warning("self-check failed", reason=self._listener_error)

        served = self._served()
        errors = self._verification_errors(served, served.leaf.chain) if served.leaf else {}
        self._metrics.self_check.set(not self._listener_error and not errors)
        return not self.reason()

    def check_service(self) -> None:
        """Dial the Service and set the metric; nothing else depends on it."""
        try:
            ok = not self._dial_service()
        except Exception:
            log.exception("dial through the Service failed")
            ok = False
        self._metrics.service_dial.set(ok)

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                ok = self.check()
            except Exception as error:
                log.exception("self-check failed")
                self._listener_error, ok = f"the self-check failed: {error}", False
            self._wake.wait(self._settings.self_check if ok else RETRY)

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

        leaf = self._served().leaf
        if leaf and presented != leaf.certificate:
            return f"port {settings.listen_port} presents a certificate that is not this replica's"
        return ""

    def _dial_service(self) -> str:
        settings, served = self._settings, self._served()
        try:
            presented = dial(settings.dns_name, settings.service_port, settings.dns_name)
        except DialError as error:
            return str(error)

        # A dial returns the leaf alone; the intermediate certificates of our own leaf are known.
        is_own = served.leaf is not None and presented == served.leaf.certificate
        chain = served.leaf.chain if served.leaf and is_own else (presented,)
        return _join(self._verification_errors(served, chain))

    def _verification_errors(
        self, served: ServedState, chain: tuple[x509.Certificate, ...]
    ) -> dict[str, str]:
        dns_name, now = self._settings.dns_name, self._clock.now()
        return served.observed.verification_errors(chain, dns_name, now)


def dial(address: str, port: int, dns_name: str) -> x509.Certificate:
    """Return the certificate that the listener at *address* presents for the server *dns_name*.

    Raises :class:`DialError`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Accept any certificate here: it is verified afterwards, against the bundles.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    try:
        with connect(context, address, port, dns_name) as tls:
            presented = tls.getpeercert(binary_form=True)
    except OSError as error:
        raise DialError(f"no TLS handshake with {address}:{port}: {error}") from None
    if presented is None:
        raise DialError(f"{address}:{port} presented no certificate")
    return x509.load_der_x509_certificate(presented)


def connect(context: ssl.SSLContext, address: str, port: int, dns_name: str) -> ssl.SSLSocket:
    """Return a connection to the first of *address*' IP addresses that completes a handshake.

    Raises :class:`OSError`: the error of the last IP address.
    """
    failure = OSError(f"{address} has no IP address")
    infos = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
    for family, socket_type, protocol, _, endpoint in infos:
        # The socket is wrapped before it connects: if a peer resets a connection before it is
        # wrapped, Python 3.11 neither returns the socket nor closes it.
        plain = socket.socket(family, socket_type, protocol)
        tls = context.wrap_socket(plain, server_hostname=dns_name)
        try:
            tls.settimeout(TIMEOUT)
            tls.connect(endpoint)
        except OSError as error:
            tls.close()
            failure = error
        else:
            return tls
    raise failure


def _join(errors: dict[str, str]) -> str:
    return "; ".join(f"{entry}: {error}" for entry, error in errors.items())
