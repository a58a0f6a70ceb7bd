"""caBundle: the certificates that the API server trusts for one webhook entry, as PEM.

Pure. :func:`merge` is the only place where a bundle is composed. Its rules:

* What is not ours stays, byte for byte and in its place: an administrator's own CA, comments.
* A CA of ours leaves the bundle only when it has expired or was retired by name. A replica that
  does not know a CA (its Secret was lost, it is behind) therefore never takes trust away from
  a leaf that another replica still serves.
* It is idempotent, and depends on nothing but its arguments: replicas that agree on the Secret
  agree on the bundle, so nothing is written twice.

:func:`verification_error` verifies a leaf as the API server does, at a given time, by
cryptography's path validation (RFC 5280, name constraints included). Go does not demand the
CA/Browser Forum's profile, which is cryptography's default, and certificates of a company's own
PKI often do not follow it: a replica that demanded it would never be ready.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from certs.authority import CertificateError, fingerprint, is_expired, load_certificate, to_pem

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

_BLOCK = re.compile(
    rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----[ \t]*(?:\r?\n)?", re.DOTALL
)


def parse_bundle(bundle: bytes) -> list[x509.Certificate]:
    """Return the certificates in *bundle*; what cannot be read is passed over."""
    return [certificate for _, certificate in _parts(bundle) if certificate is not None]


def merge(
    bundle: bytes,
    trusted: Iterable[x509.Certificate],
    *,
    retired: Collection[str],
    is_own: Callable[[x509.Certificate], bool],
    now: dt.datetime,
) -> bytes:
    """Return *bundle* with all of *trusted* in it and without our expired or *retired* CAs.

    *retired* are fingerprints; *is_own* tells our certificates from foreign ones, which stay.
    """
    kept: list[bytes] = []
    present: set[str] = set()
    for text, certificate in _parts(bundle):
        if certificate is None:
            kept.append(text)
            continue
        name = fingerprint(certificate)
        gone = name in retired or is_expired(certificate, now) or name in present
        if not (gone and is_own(certificate)):
            kept.append(text)
            present.add(name)
    missing = {fingerprint(one): one for one in trusted if not is_expired(one, now)}
    added = [missing[name] for name in missing.keys() - present - set(retired)]
    added.sort(key=lambda one: (one.not_valid_before_utc, fingerprint(one)))
    before = b"".join(kept)
    if not before.strip():
        before = b""
    elif not before.endswith(b"\n") and added:
        before += b"\n"
    return before + b"".join(map(to_pem, added))


def verification_error(
    chain: Sequence[x509.Certificate], bundle: bytes, name: str, now: dt.datetime
) -> str | None:
    """Return why who trusts *bundle* refuses *chain* for *name* at *now*; None: it is accepted.

    *chain* is what a server presents: its leaf, then intermediate certificates.
    """
    roots = parse_bundle(bundle)
    if not roots:
        return "the bundle holds no certificate"
    policy = PolicyBuilder().store(Store(roots)).time(now)
    policy = policy.extension_policies(ee_policy=_LEAF, ca_policy=_AUTHORITY)
    try:
        policy.build_server_verifier(x509.DNSName(name)).verify(chain[0], list(chain[1:]))
    except (VerificationError, ValueError) as error:  # ValueError: what cannot be taken apart
        return str(error)
    return None


def _for_servers(
    _policy: object, _certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None
) -> None:
    usages = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if usage is not None and usages.isdisjoint(usage):
        raise ValueError("the extended key usage does not allow servers")


_LEAF = (
    ExtensionPolicy.permit_all()
    .require_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, None)
    .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _for_servers)
)
_AUTHORITY = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _for_servers)
)


def _parts(bundle: bytes) -> Iterator[tuple[bytes, x509.Certificate | None]]:
    """Split *bundle* into certificates and whatever stands between them; joined, it is whole."""
    end = 0
    for block in _BLOCK.finditer(bundle):
        if block.start() > end:
            yield bundle[end : block.start()], None
        end = block.end()
        try:
            yield block.group(), load_certificate(block.group())
        except CertificateError:
            yield block.group(), None
    if end < len(bundle):
        yield bundle[end:], None
