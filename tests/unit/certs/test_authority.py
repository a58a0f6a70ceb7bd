from __future__ import annotations

import base64
import datetime as dt
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs.authority import (
    CertificateError,
    KeyPair,
    is_own_ca,
    issue_leaf,
    load_ca,
    load_certificate,
    renew_at,
)
from certs.bundle import verification_error
from tests.unit.certs.builders import NAME, NOW, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable

    Maker = Callable[..., KeyPair]

DAY = dt.timedelta(days=1)


def leaf(ca: KeyPair, name: str = NAME, now: dt.datetime = NOW, days: float = 7) -> KeyPair:
    return issue_leaf(ca, name, now=now, lifetime=days * 86_400, backdating=300)


def test_a_ca_is_what_the_documentation_says(make_ca: Maker) -> None:
    """P-256, 30 days, path length 0, our name only, no address, server certificates only."""
    ca = make_ca().certificate
    assert isinstance(ca.public_key(), ec.EllipticCurvePublicKey)
    assert ca.not_valid_after_utc - NOW == 30 * DAY
    assert NOW - ca.not_valid_before_utc == dt.timedelta(minutes=5)
    extension = ca.extensions.get_extension_for_class
    basic = extension(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    names = extension(x509.NameConstraints)
    assert names.critical
    assert names.value.permitted_subtrees == [x509.DNSName(NAME)]
    excluded = {str(one.value) for one in names.value.excluded_subtrees or ()}
    assert excluded == {"0.0.0.0/0", "::/0"}
    assert list(extension(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_a_leaf_is_for_the_name_the_api_server_asks_for(make_ca: Maker) -> None:
    """The one DNS name, 7 days, five minutes of back-dating, and no CA."""
    certificate = leaf(make_ca()).certificate
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName("genie-webhook.genie-system.svc")]
    assert certificate.not_valid_after_utc - NOW == 7 * DAY
    assert NOW - certificate.not_valid_before_utc == dt.timedelta(minutes=5)


def test_serials_and_keys_are_never_the_same(make_ca: Maker) -> None:
    """Two certificates issued in the same instant differ in both."""
    ca = make_ca()
    one, other = leaf(ca), leaf(ca)
    assert one.certificate.serial_number != other.certificate.serial_number
    assert one.key_pem != other.key_pem


def test_a_leaf_does_not_outlive_its_ca(make_ca: Maker) -> None:
    """Issued a day before the CA expires, it expires with it."""
    ca = make_ca()
    assert (
        leaf(ca, now=NOW + 29 * DAY).certificate.not_valid_after_utc
        == ca.certificate.not_valid_after_utc
    )


@pytest.mark.parametrize(
    ("name", "at", "accepted"),
    [
        pytest.param(NAME, NOW, True, id="the leaf for our name is accepted"),
        pytest.param(
            "kubernetes.default.svc", NOW, False, id="a leaf for another name is rejected"
        ),
        pytest.param(NAME, NOW + 8 * DAY, False, id="an expired leaf is rejected"),
        pytest.param(NAME, NOW - DAY, False, id="a leaf that is not yet valid is rejected"),
    ],
)
def test_who_verifies(make_ca: Maker, name: str, at: dt.datetime, *, accepted: bool) -> None:
    ca = make_ca()
    reason = verification_error((leaf(ca, name).certificate,), ca.certificate_pem, name, at)
    assert (reason is None) == accepted


def test_no_key_is_shown_by_accident(make_ca: Maker) -> None:
    """In a log line or a traceback, a pair shows its certificate only."""
    assert "key" not in repr(make_ca()).removeprefix("KeyPair").lower()


def other_key(kind: str) -> bytes:
    key = (
        rsa.generate_private_key(65537, 2048)
        if kind == "RSA"
        else ec.generate_private_key(ec.SECP256R1())
    )
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


P256 = bytes.fromhex("06082a8648ce3d030107")
SECP224K1 = bytes.fromhex("06052b81040020")
"""The names of two curves in DER; cryptography knows only the first."""


def unsupported_curve() -> bytes:
    """Return a private key on secp224k1: the curve's name is read before anything else."""
    version, algorithm = "020100", "301006072a8648ce3d0201" + SECP224K1.hex()
    inner = "302302010104" + "1e" + "01" * 30
    body = version + algorithm + "0425" + inner
    der = bytes.fromhex(f"30{len(body) // 2:02x}{body}")
    encoded = base64.encodebytes(der)
    return b"-----BEGIN PRIVATE KEY-----\n" + encoded + b"-----END PRIVATE KEY-----\n"


def on_unsupported_curve(ca: KeyPair) -> bytes:
    """Return the certificate of *ca* with another curve's name, of the same length."""
    der = ca.certificate.public_bytes(serialization.Encoding.DER)
    unknown = bytes.fromhex("06082a8648ce3d030102")  # prime192v2
    assert der.count(P256) == 1
    return (
        b"-----BEGIN CERTIFICATE-----\n"
        + base64.encodebytes(der.replace(P256, unknown))
        + b"-----END CERTIFICATE-----\n"
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        pytest.param(
            lambda ca: (b"", ca.key_pem), "the certificate cannot be read", id="no certificate"
        ),
        pytest.param(
            lambda ca: (ca.certificate_pem, b"x"), "the private key cannot be read", id="no key"
        ),
        pytest.param(
            lambda ca: (ca.certificate_pem, other_key("EC")),
            "another certificate",
            id="foreign key",
        ),
        pytest.param(
            lambda ca: (ca.certificate_pem, other_key("RSA")), "not an ECDSA", id="RSA key"
        ),
        pytest.param(
            lambda ca: (ca.certificate_pem, unsupported_curve()),
            "the private key cannot be read",
            id="secp224k1 key",
        ),
        pytest.param(
            lambda ca: (on_unsupported_curve(ca), ca.key_pem),
            "public key cannot be read",
            id="certificate of a prime192v2 key",
        ),
        pytest.param(
            lambda ca: (ca.certificate_pem[:200], ca.key_pem),
            "the certificate cannot be read",
            id="truncated",
        ),
        pytest.param(
            lambda ca: (leaf(ca).certificate_pem, leaf(ca).key_pem), "another", id="two leaves"
        ),
    ],
)
def test_a_ca_that_must_not_sign_is_refused(
    make_ca: Maker, change: Callable[[KeyPair], tuple[bytes, bytes]], text: str
) -> None:
    with pytest.raises(CertificateError, match=text):
        load_ca(*change(make_ca()), NAME, now=NOW)


def test_a_leaf_or_the_ca_of_another_name_is_no_ca_of_ours(make_ca: Maker) -> None:
    """Neither can be the CA in the Secret."""
    ca, own = make_ca("other.genie-system.svc"), leaf(make_ca())
    for pair in (ca, own):
        assert not is_own_ca(pair.certificate, NAME)
        with pytest.raises(CertificateError, match="not a CA that Genie issued"):
            load_ca(pair.certificate_pem, pair.key_pem, NAME, now=NOW)


def test_an_expired_ca_is_refused_with_its_dates(make_ca: Maker) -> None:
    """The error names its period of validity."""
    ca = make_ca()
    with pytest.raises(CertificateError, match="2029-12-31T23:55:00Z to 2030-01-31T00:00:00Z"):
        load_ca(ca.certificate_pem, ca.key_pem, NAME, now=NOW + 31 * DAY)
    assert load_ca(ca.certificate_pem, ca.key_pem, NAME, now=NOW).certificate == ca.certificate


def test_renewal_is_due_after_two_thirds_of_the_life(make_ca: Maker) -> None:
    """Day 20 of 30, without the back-dating."""
    ca = make_ca().certificate
    assert renew_at(ca, backdating=300, fraction=SETTINGS.renew_fraction) == NOW + 20 * DAY


def test_a_foreign_certificate_is_not_ours(make_ca: Maker) -> None:
    """A certificate without our organisation is foreign, even if all else is the same."""
    own = make_ca().certificate
    assert is_own_ca(own, NAME)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "example.org")])
    builder = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + DAY)
    )
    for extension in own.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    assert not is_own_ca(builder.sign(key, hashes.SHA256()), NAME)


@pytest.mark.parametrize(
    ("part", "damaged"),
    [
        pytest.param("0603551d0e", "0603551d13", id="a duplicate extension"),
        pytest.param("0c0c636e69", "0c0cffffff", id="a subject that is not text"),
    ],
)
def test_a_certificate_that_cannot_be_parsed_is_not_ours(
    make_ca: Maker, part: str, damaged: str
) -> None:
    """It loads, because it is parsed lazily."""
    der = make_ca().certificate.public_bytes(serialization.Encoding.DER)
    assert bytes.fromhex(part) in der
    changed = der.replace(bytes.fromhex(part), bytes.fromhex(damaged))
    assert not is_own_ca(x509.load_der_x509_certificate(changed), NAME)


def test_a_text_that_is_not_a_certificate_is_refused() -> None:
    """The error gives the reason."""
    with pytest.raises(CertificateError, match="the certificate cannot be read"):
        load_certificate(b"nonsense")
