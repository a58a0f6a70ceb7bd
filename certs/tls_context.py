"""The TLS context of the listener, whose certificate can be replaced while it serves."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

from certs.authority import CertificateError

if TYPE_CHECKING:
    from pathlib import Path

    from certs.leaf import Leaf


class ReloadableContext:
    """A server context that presents the leaf loaded last.

    The server keeps :attr:`context` for its whole life. In each handshake, the server name callback
    selects a second context, the one with the current leaf. So an unusable leaf changes nothing, no
    handshake sees half of a leaf, and no open connection notices a change.

    With *client_ca*, a client must present a certificate signed by a CA in this file. The file is
    read once, here. Raises :class:`CertificateError`.
    """

    def __init__(self, client_ca: Path | None = None) -> None:
        self._client_ca = None if client_ca is None else read_client_ca(client_ca)
        self.context = _server_context(self._client_ca)
        self.context.sni_callback = self._select_current
        self._current: ssl.SSLContext | None = None

    @property
    def loaded(self) -> bool:
        """Whether there is a leaf to present; until then, every handshake is refused."""
        return self._current is not None

    def load(self, leaf: Leaf) -> None:
        """Present *leaf* from the next handshake on; raises :class:`CertificateError`."""
        # OpenSSL takes the requirement of a client certificate from the context with which the
        # connection began, and the trusted CAs from the selected one: both contexts need both.
        context = _server_context(self._client_ca)

        # OpenSSL's loader needs a path. An anonymous file in memory keeps the key off the disks.
        descriptor = os.memfd_create("serving pair")
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(leaf.chain_pem + b"\n" + leaf.key_pem)
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        except (ssl.SSLError, OSError) as error:
            raise CertificateError(f"certificate and key cannot be loaded: {error}") from None
        finally:
            os.close(descriptor)
        self._current = context

    def _select_current(
        self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext
    ) -> int | None:
        if self._current is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = self._current
        return None


def read_client_ca(path: Path) -> str:
    """Return the certificates (PEM) in *path*; raises :class:`CertificateError`."""
    try:
        # OpenSSL's binding takes ASCII, but the text around certificates may be in any encoding.
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

    # A resumed session would present no certificate: every connection must show the current leaf.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0

    if client_ca is not None:
        context.load_verify_locations(cadata=client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
