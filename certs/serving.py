"""Serving: the leaf of this replica, when to make another, and the live TLS context.

A server gets one :class:`ssl.SSLContext` for its whole life. Each handshake asks it, by way of
the server name callback, for the context that holds the pair of that moment: a new pair is loaded
into a context of its own first, so that a bad one changes nothing, and takes over by one
assignment, so that no handshake meets half of each and no open connection notices.

:func:`why_new_leaf` holds the rule for replicas: a leaf that the observed bundles cover is given
up only for one that they have covered for a while.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from certs.authority import UnusableError, fingerprint, is_valid, issue_leaf

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from cryptography import x509

    from certs.authority import Pair
    from certs.rotation import Decision
    from certs.settings import CertificateSettings
    from certs.webhook_configs import Observed


@dataclass(frozen=True, slots=True)
class Leaf:
    """A serving certificate with its key; *ca* and *renew_at* where we made it ourselves."""

    certificate: x509.Certificate
    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    ca: x509.Certificate | None = None
    renew_at: dt.datetime | None = None
    intermediates: tuple[x509.Certificate, ...] = ()

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """What is presented: the leaf, then what leads to its CA."""
        return (self.certificate, *self.intermediates)


def why_new_leaf(
    leaf: Leaf | None,
    decision: Decision,
    seen: Observed,
    now: dt.datetime,
    settings: CertificateSettings,
) -> str | None:
    """Return why a leaf has to be made now, by the CA that *decision* says signs; None: keep it."""
    if decision.signer is None:
        return None
    if leaf is None or leaf.ca is None or leaf.renew_at is None:
        return "there is none of ours"
    if not is_valid(leaf.certificate, now):
        return "it is not valid at the API server's time"
    name, signer = fingerprint(leaf.ca), fingerprint(decision.signer.certificate)
    if name == signer:
        return "it is due for renewal" if now >= leaf.renew_at else None
    left = (leaf.certificate.not_valid_after_utc - now).total_seconds()
    reasons = {
        "its CA was retired": name in decision.retired,
        "another CA signs": seen.settled([signer], settings.propagation),
        # Where no configuration is left, API servers that lag may still have one, with this CA.
        "no bundle covers it": bool(seen.configurations) and not seen.holders([name]),
        # An expired leaf is of no use to anyone, one that some API server may not trust yet is.
        "it expires soon": left < settings.last_part and not seen.missing([signer]),
        "it expires": left < 2 * settings.resync,
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


def make_leaf(ca: Pair, now: dt.datetime, settings: CertificateSettings, *, early: float) -> Leaf:
    """Make a leaf by *ca*; *early* (0 to 1) is how much of the jitter its renewal gets."""
    pair = issue_leaf(
        ca,
        settings.dns_name,
        now=now,
        lifetime=settings.leaf_lifetime,
        backdating=settings.backdating,
    )
    left = pair.certificate.not_valid_after_utc - now
    due = now + left * (settings.renew_fraction - settings.jitter * early)
    return Leaf(pair.certificate, pair.certificate_pem, pair.key_pem, ca.certificate, due)


class LiveContext:
    """The context that a server keeps, and the pair that it presents.

    Where there is a *client_ca*, a client must present a certificate that this file's CA signed.
    The file is read here and never again; raises :class:`UnusableError`.
    """

    def __init__(self, client_ca: Path | None = None) -> None:
        self._client_ca = None if client_ca is None else read_client_ca(client_ca)
        self.context = _server_context(self._client_ca)
        self.context.sni_callback = self._choose
        self._current: ssl.SSLContext | None = None

    @property
    def loaded(self) -> bool:
        """Whether there is a pair to present; before that, every handshake is refused."""
        return self._current is not None

    def load(self, leaf: Leaf) -> None:
        """Present *leaf* from the next handshake on; raises :class:`UnusableError`.

        The pair passes through an anonymous file in memory, because OpenSSL's loader wants a
        path; it never reaches a disk.
        """
        # OpenSSL takes what is demanded of clients from the context that a connection began with,
        # and whom to trust from the one that the callback chose: both must have it.
        scratch = _server_context(self._client_ca)
        descriptor = os.memfd_create("serving pair")
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(leaf.chain_pem + b"\n" + leaf.key_pem)
            scratch.load_cert_chain(f"/proc/self/fd/{descriptor}")
        except (ssl.SSLError, OSError) as error:
            raise UnusableError(f"certificate and key do not load: {error}") from None
        finally:
            os.close(descriptor)
        self._current = scratch

    def _choose(
        self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _live: ssl.SSLContext
    ) -> int | None:
        if self._current is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = self._current
        return None


def read_client_ca(path: Path) -> str:
    """Return the certificates (PEM) in *path*; raises :class:`UnusableError`."""
    try:
        # What stands around the certificates may be any text; OpenSSL's binding takes ASCII.
        pem = path.read_text(encoding="ascii", errors="ignore")
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise UnusableError("the file holds no certificate (PEM)") from None
    except OSError as error:
        raise UnusableError(f"the file cannot be read: {error.strerror}") from None
    return pem


def _server_context(client_ca: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # A resumed session would present no certificate: every connection shows the pair in use.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    if client_ca is not None:
        context.load_verify_locations(cadata=client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
