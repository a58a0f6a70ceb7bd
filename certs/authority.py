"""Issuing: a CA that can sign for one Service only, and leaves for that Service.

Pure but for the random numbers in keys and serials; the clock is a parameter. ECDSA P-256
throughout. A CA signs nothing but server certificates (extended key usage) for the name of our
Service (name constraint; IP addresses are excluded) and no further CA (path length 0), so that
its key, if stolen, opens no other door of the cluster.

Kubernetes' API server verifies with Go's crypto/x509; RFC 5280 names the extensions.
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
"""In the subject of our CAs: how they are told from foreign ones in a bundle."""

_EVERY_ADDRESS = [
    x509.IPAddress(ipaddress.ip_network(network)) for network in ("0.0.0.0/0", "::/0")
]
_SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


class CertificateError(ValueError):
    """A certificate or key that cannot be used; the text says which and why."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key. Never shown whole: the key stays out of every repr."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def certificate_pem(self) -> bytes:
        """The certificate, as PEM."""
        return to_pem(self.certificate)

    @property
    def key_pem(self) -> bytes:
        """The private key, as unencrypted PKCS #8 PEM."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


def to_pem(certificate: x509.Certificate) -> bytes:
    """Return *certificate* as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of *certificate* in hexadecimal: its name in Secret, logs and tables."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def issue_ca(name: str, *, now: dt.datetime, lifetime: float, backdating: float) -> KeyPair:
    """Make a self-signed CA for leaves of the DNS *name*; *lifetime* and *backdating* in s."""
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, f"webhook CA {serial >> 128:08x}"),
        ]
    )
    builder = (
        _certificate(subject, subject, key, serial, now - _seconds(backdating))
        .not_valid_after(now + _seconds(lifetime))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(sign_certificates=True), critical=True)
        .add_extension(
            x509.NameConstraints([x509.DNSName(name)], excluded_subtrees=_EVERY_ADDRESS),
            critical=True,
        )
    )
    return KeyPair(builder.sign(key, hashes.SHA256()), key)


def issue_leaf(
    ca: KeyPair, name: str, *, now: dt.datetime, lifetime: float, backdating: float
) -> KeyPair:
    """Make a leaf for the DNS *name*, signed by *ca*, that does not outlive it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, "webhook"),
        ]
    )
    until = min(now + _seconds(lifetime), ca.certificate.not_valid_after_utc)
    serial = x509.random_serial_number()
    issuer = ca.certificate.subject
    builder = (
        _certificate(subject, issuer, key, serial, now - _seconds(backdating))
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(sign_certificates=False), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()),
            critical=False,
        )
    )
    return KeyPair(builder.sign(ca.key, hashes.SHA256()), key)


def load_ca(certificate_pem: bytes, key_pem: bytes, name: str, *, now: dt.datetime) -> KeyPair:
    """Read a CA of ours; raises :class:`CertificateError` for anything that must not sign leaves.

    That is: no certificate or key, a key of another certificate, an expired or not yet valid
    certificate, one that is no CA, and one that was not made by us for the DNS *name*.
    """
    certificate = load_certificate(certificate_pem)
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"no private key: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError("the private key is no ECDSA key")
    try:
        fits = key.public_key() == certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"the certificate's key cannot be used: {error}") from None
    if not fits:
        raise CertificateError("the private key belongs to another certificate")
    if not is_own_ca(certificate, name):
        raise CertificateError(f"the certificate is no CA that Genie made for {name}")
    if not is_valid(certificate, now):
        raise CertificateError(_validity(certificate))
    return KeyPair(certificate, key)


def load_certificate(pem: bytes) -> x509.Certificate:
    """Read one certificate; raises :class:`CertificateError`."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise CertificateError(f"no certificate: {error}") from None


def is_own_ca(certificate: x509.Certificate, name: str) -> bool:
    """Tell whether *certificate* is a CA that we (any release) made for the DNS *name*."""
    try:
        organisation = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        if [attribute.value for attribute in organisation] != [ORGANISATION]:
            return False
        extensions = certificate.extensions
        basic = extensions.get_extension_for_class(x509.BasicConstraints).value
        names = extensions.get_extension_for_class(x509.NameConstraints).value
    except (
        x509.ExtensionNotFound,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
        ValueError,
    ):
        return False
    return basic.ca and names.permitted_subtrees == [x509.DNSName(name)]


def is_valid(certificate: x509.Certificate, now: dt.datetime) -> bool:
    """Tell whether *now* lies in the life of *certificate*."""
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def is_expired(certificate: x509.Certificate, now: dt.datetime) -> bool:
    """Tell whether the life of *certificate* is over at *now*."""
    return now > certificate.not_valid_after_utc


def renew_at(certificate: x509.Certificate, *, backdating: float, fraction: float) -> dt.datetime:
    """Return when *fraction* of the life of *certificate*, counted from its making, is over."""
    made = certificate.not_valid_before_utc + _seconds(backdating)
    return made + (certificate.not_valid_after_utc - made) * fraction


def _validity(certificate: x509.Certificate) -> str:
    return (
        f"the certificate is valid only from {certificate.not_valid_before_utc:%FT%TZ} "
        f"to {certificate.not_valid_after_utc:%FT%TZ}"
    )


def _seconds(value: float) -> dt.timedelta:
    return dt.timedelta(seconds=value)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    serial: int,
    since: dt.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(since)
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
