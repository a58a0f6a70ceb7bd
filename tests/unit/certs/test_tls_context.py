"""The TLS context of the listener: replacing its leaf, and demanding client certificates."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from certs import CertificateManager, CertificateSettings
from certs.authority import CertificateError
from certs.leaf import Leaf
from certs.selfcheck import DialError, dial
from certs.tls_context import ReloadableContext
from tests.unit.certs.builders import NAME, Listener, make_manager, make_own_leaf

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.apiserver import Api


def test_a_leaf_is_replaced_without_dropping_a_connection() -> None:
    """The open connection goes on, the next handshake gets the new leaf; a bad one is refused."""
    server, one, other = ReloadableContext(), make_own_leaf(), make_own_leaf()
    assert not server.loaded
    server.load(one)
    with Listener(server.context) as listener:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", listener.port), 5) as plain,
            context.wrap_socket(plain, server_hostname=NAME) as opened,
        ):
            assert dial("127.0.0.1", listener.port, NAME) == one.certificate
            server.load(other)
            with pytest.raises(CertificateError):
                server.load(Leaf(one.certificate, one.chain_pem, other.key_pem))
            assert dial("127.0.0.1", listener.port, NAME) == other.certificate
            opened.sendall(b"still here\n")
            assert opened.recv(100) == b"still here\n"


def is_answered(port: int, client: trustme.LeafCert | None) -> bool:
    """Tell whether the listener at *port* answers a client with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if client is not None:
        client.configure_cert(context)
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        context.wrap_socket(plain, server_hostname=NAME) as opened,
    ):
        try:
            opened.sendall(b"a review\n")
            return opened.recv(100) == b"a review\n"
        except OSError:
            return False


def test_with_a_client_ca_only_its_clients_are_answered(tmp_path: Path) -> None:
    """Before and after a replacement; the self-check still gets the certificate."""
    ours, others = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(tmp_path / "ca.crt")
    client = ours.issue_cert("api-server")
    server = ReloadableContext(tmp_path / "ca.crt")
    for leaf in (make_own_leaf(), make_own_leaf()):
        server.load(leaf)
        with Listener(server.context) as listener:
            assert is_answered(listener.port, client)
            assert not is_answered(listener.port, None)
            assert not is_answered(listener.port, others.issue_cert("api-server"))
            assert dial("127.0.0.1", listener.port, NAME) == leaf.certificate


def test_the_client_ca_is_read_once_at_the_start(tmp_path: Path) -> None:
    """A file that is deleted or replaced does not stop new leaves from being served."""
    ours, path = trustme.CA(), tmp_path / "ca.crt"
    path.write_bytes("the CA of Åsa's API server\n".encode() + ours.cert_pem.bytes())
    server = ReloadableContext(path)
    path.unlink()
    leaf = make_own_leaf()
    server.load(leaf)
    with Listener(server.context) as listener:
        assert is_answered(listener.port, ours.issue_cert("api-server"))
        assert not is_answered(listener.port, None)
        assert dial("127.0.0.1", listener.port, NAME) == leaf.certificate


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, "the file cannot be read: No such file", id="missing"),
        pytest.param(b"", "holds no certificate", id="empty"),
        pytest.param(b"\xff\xfe no PEM", "holds no certificate", id="something-else"),
    ],
)
def test_a_client_ca_that_cannot_be_used_ends_the_start(
    api: Api, tmp_path: Path, content: bytes | None, words: str
) -> None:
    """Also where the file was usable when the settings were read."""
    path = tmp_path / "ca.crt"
    trustme.CA().cert_pem.write_to_path(path)
    chosen = CertificateSettings(client_ca=path)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CertificateError, match=words):
        CertificateManager(api.client(), chosen)


def test_the_manager_hands_the_client_ca_to_its_listener(api: Api, tmp_path: Path) -> None:
    """And without one, every client is answered."""
    ours = trustme.CA()
    ours.cert_pem.write_to_path(tmp_path / "ca.crt")
    for client_ca, answered in ((tmp_path / "ca.crt", False), (None, True)):
        manager = make_manager(api, client_ca=client_ca)
        manager.reconcile()
        with Listener(manager.ssl_context()) as listener:
            assert is_answered(listener.port, None) is answered
            assert is_answered(listener.port, ours.issue_cert("api-server"))


def test_without_a_leaf_every_handshake_is_refused() -> None:
    """The server does not crash, and presents nothing."""
    with (
        Listener(ReloadableContext().context) as listener,
        pytest.raises(DialError, match="no TLS handshake"),
    ):
        dial("127.0.0.1", listener.port, NAME)
