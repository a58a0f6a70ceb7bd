"""Issue and load CAs and leaves.

Pure but for the random numbers in keys and serials; the clock is a parameter. All keys are ECDSA
P-256. The extensions are those of RFC 5280, as Go's crypto/x509 in the API server verifies them.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ORGANISATION = "cni-genie.io"
"""Organisation in the subject of our CAs, by which :func:`is_own_ca` recognises them."""

_EVERY_ADDRESS = [
    x509.IPAddress(ipaddress.ip_network(network)) for network in ("0.0.0.0/0", "::/0")
]
_SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


class CertificateError(ValueError):
    """A certificate or key cannot be used; the message says which one and why."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, which no repr shows."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return to_pem(self.certificate)

    @property
    def key_pem(self) -> bytes:
        """The private key as unencrypted PKCS #8 PEM."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


def to_pem(certificate: x509.Certificate) -> bytes:
    """Return *certificate* as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of *certificate* in hexadecimal, for Secret, logs and output."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def issue_ca(dns_name: str, *, now: dt.datetime, lifetime: float, backdating: float) -> KeyPair:
    """Issue a self-signed CA that can sign leaves for *dns_name* only.

    *lifetime* and *backdating* are in seconds.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, f"webhook CA {serial >> 128:08x}"),
        ]
    )

    # A stolen CA key must be useless elsewhere in the cluster: the CA signs no other CA (path
    # length 0), no other name, no IP address, and nothing but server certificates.
    builder = (
        _builder(subject, subject, key, serial, now - _seconds(backdating))
        .not_valid_after(now + _seconds(lifetime))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(sign_certificates=True), critical=True)
        .add_extension(
            x509.NameConstraints([x509.DNSName(dns_name)], excluded_subtrees=_EVERY_ADDRESS),
            critical=True,
        )
    )
    return KeyPair(builder.sign(key, hashes.SHA256()), key)


def issue_leaf(
    ca: KeyPair, dns_name: str, *, now: dt.datetime, lifetime: float, backdating: float
) -> KeyPair:
    """Issue a leaf for *dns_name*, signed by *ca*, that expires no later than *ca*.

    *lifetime* and *backdating* are in seconds.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, "webhook"),
        ]
    )
    serial = x509.random_serial_number()
    issuer = ca.certificate.subject
    expiry = min(now + _seconds(lifetime), ca.certificate.not_valid_after_utc)

    builder = (
        _builder(subject, issuer, key, serial, now - _seconds(backdating))
        .not_valid_after(expiry)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(dns_name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(sign_certificates=False), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()),
            critical=False,
        )
    )
    return KeyPair(builder.sign(ca.key, hashes.SHA256()), key)


def load_ca(certificate_pem: bytes, key_pem: bytes, dns_name: str, *, now: dt.datetime) -> KeyPair:
    """Load a CA of ours; raises :class:`CertificateError` if it must not sign leaves.

    It must not if the certificate or the key cannot be read, the key belongs to another
    certificate, the certificate is not valid at *now*, or Genie did not issue it as a CA for
    *dns_name*.
    """
    certificate = load_certificate(certificate_pem)
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"the private key cannot be read: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError("the private key is not an ECDSA key")

    try:
        matches = key.public_key() == certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"the certificate's public key cannot be read: {error}") from None
    if not matches:
        raise CertificateError("the private key belongs to another certificate")

    if not is_own_ca(certificate, dns_name):
        raise CertificateError(f"the certificate is not a CA that Genie issued for {dns_name}")
    if not is_valid(certificate, now):
        raise CertificateError(_validity(certificate))
    return KeyPair(certificate, key)


def load_certificate(pem: bytes) -> x509.Certificate:
    """Load one certificate; raises :class:`CertificateError`."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise CertificateError(f"the certificate cannot be read: {error}") from None


def is_own_ca(certificate: x509.Certificate, dns_name: str) -> bool:
    """Tell whether *certificate* is a CA that any release of Genie issued for *dns_name*."""
    try:
        organisation = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        if [attribute.value for attribute in organisation] != [ORGANISATION]:
            return False
        extensions = certificate.extensions
        basic = extensions.get_extension_for_class(x509.BasicConstraints).value
        constraints = extensions.get_extension_for_class(x509.NameConstraints).value
    except (
        x509.ExtensionNotFound,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
        ValueError,
    ):
        return False
    return basic.ca and constraints.permitted_subtrees == [x509.DNSName(dns_name)]


def is_valid(certificate: x509.Certificate, now: dt.datetime) -> bool:
    """Tell whether *certificate* is valid at *now*."""
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def is_expired(certificate: x509.Certificate, now: dt.datetime) -> bool:
    """Tell whether *certificate* has expired at *now*."""
    return now > certificate.not_valid_after_utc


def renew_at(certificate: x509.Certificate, *, backdating: float, fraction: float) -> dt.datetime:
    """Return when *fraction* of the life of *certificate* is over, counted from its issue."""
    issued_at = certificate.not_valid_before_utc + _seconds(backdating)
    return issued_at + (certificate.not_valid_after_utc - issued_at) * fraction


def _validity(certificate: x509.Certificate) -> str:
    return (
        f"the certificate is valid only from {certificate.not_valid_before_utc:%FT%TZ} "
        f"to {certificate.not_valid_after_utc:%FT%TZ}"
    )


def _seconds(value: float) -> dt.timedelta:
    return dt.timedelta(seconds=value)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    serial: int,
    not_before: dt.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(not_before)
        .add_extension(_SERVER, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
