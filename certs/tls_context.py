"""The live TLS context of the listener.

A server gets one :class:`ssl.SSLContext` for its whole life. Each handshake asks it, by way of
the server name callback, for the context that holds the pair of that moment: a new pair is loaded
into a context of its own first, so that a bad one changes nothing, and takes over by one
assignment, so that no handshake meets half of each and no open connection notices.
"""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

from certs.authority import CertificateError

if TYPE_CHECKING:
    from pathlib import Path

    from certs.leaf import Leaf


class ReloadableContext:
    """The context that a server keeps, and the pair that it presents.

    Where there is a *client_ca*, a client must present a certificate that this file's CA signed.
    The file is read here and never again; raises :class:`CertificateError`.
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
        """Present *leaf* from the next handshake on; raises :class:`CertificateError`.

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
            raise CertificateError(f"certificate and key do not load: {error}") from None
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
    """Return the certificates (PEM) in *path*; raises :class:`CertificateError`."""
    try:
        # What stands around the certificates may be any text; OpenSSL's binding takes ASCII.
        pem = path.read_text(encoding="ascii", errors="ignore")
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise CertificateError("the file holds no certificate (PEM)") from None
    except OSError as error:
        raise CertificateError(f"the file cannot be read: {error.strerror}") from None
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
