"""What a listener presents: the dial of the self-check.

A TLS dial to the replica's own listener, with the server name that the API server uses, shows
the certificate that is really presented, and that the listener has its key. It is then verified
against each bundle as observed, at the API server's time: this machine's clock and trust store
have no say. The dial through the Service shows whether the way there works; it may reach another
replica and is only reported.
"""

from __future__ import annotations

import socket
import ssl

from cryptography import x509

TIMEOUT = 3.0
"""Seconds for connecting, and for the handshake: an API server gives a whole call 5 to 10."""


class DialError(Exception):
    """The listener could not be reached, or did not complete a handshake."""


def dial(address: str, port: int, name: str) -> x509.Certificate:
    """Return the certificate that the listener at *address* presents for *name*.

    Raises :class:`DialError`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # What is presented is wanted whoever signed it: it is verified afterwards, against bundles.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address, port), TIMEOUT) as connection,
            context.wrap_socket(connection, server_hostname=name) as tls,
        ):
            presented = tls.getpeercert(binary_form=True)
    except OSError as error:
        raise DialError(f"no TLS handshake with {address}:{port}: {error}") from None
    if presented is None:
        raise DialError(f"{address}:{port} presented no certificate")
    return x509.load_der_x509_certificate(presented)
