"""caBundle: the certificates that the API server trusts for one webhook entry, as PEM.

Pure. Only :func:`merge` composes bundles. Its rules:

* Everything that is not ours (an administrator's own CA, comments) stays, byte for byte and in
  its place.
* A CA of ours is removed only after it has expired or its fingerprint was retired. So a replica
  that does not know a CA (the Secret was lost, or the replica lags) never removes the trust in a
  leaf that another replica still serves.
* The result depends on the arguments only and merging is idempotent: replicas that read the same
  Secret compose the same bundle, and none is written twice.

:func:`verification_error` verifies a leaf as the API server does (RFC 5280 path validation, name
constraints included), at a given time.
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
    """Return the certificates in *bundle*; skip those that cannot be read."""
    return [certificate for _, certificate in _split(bundle) if certificate is not None]


def merge(
    bundle: bytes,
    trusted: Iterable[x509.Certificate],
    *,
    retired: Collection[str],
    is_own: Callable[[x509.Certificate], bool],
    now: dt.datetime,
) -> bytes:
    """Return *bundle* with all of *trusted* in it and without our expired or *retired* CAs.

    *retired* are fingerprints; *is_own* recognises our certificates: all others stay.
    """
    kept: list[bytes] = []
    kept_fingerprints: set[str] = set()
    for text, certificate in _split(bundle):
        if certificate is None:
            kept.append(text)
            continue

        digest = fingerprint(certificate)
        obsolete = digest in retired or is_expired(certificate, now) or digest in kept_fingerprints
        if not (obsolete and is_own(certificate)):
            kept.append(text)
            kept_fingerprints.add(digest)

    usable = {fingerprint(ca): ca for ca in trusted if not is_expired(ca, now)}
    added = [usable[digest] for digest in usable.keys() - kept_fingerprints - set(retired)]
    # Every replica must compose the same bytes, whichever CA it learnt of first.
    added.sort(key=lambda ca: (ca.not_valid_before_utc, fingerprint(ca)))

    head = b"".join(kept)
    if not head.strip():
        head = b""  # a placeholder of a manifest, such as a lone line feed
    elif not head.endswith(b"\n") and added:
        head += b"\n"
    return head + b"".join(map(to_pem, added))


def verification_error(
    chain: Sequence[x509.Certificate], bundle: bytes, dns_name: str, now: dt.datetime
) -> str | None:
    """Return why a client that trusts *bundle* rejects *chain* for *dns_name* at *now*.

    None: it accepts. *chain* is what a server presents: its leaf, then intermediate certificates.
    """
    roots = parse_bundle(bundle)
    if not roots:
        return "the bundle holds no certificate"

    # Go does not require the CA/Browser Forum's profile, which is cryptography's default, and
    # certificates of a company's own PKI often do not have it: with the default, a replica with
    # such a certificate would never be ready.
    policy = PolicyBuilder().store(Store(roots)).time(now)
    policy = policy.extension_policies(ee_policy=_LEAF, ca_policy=_AUTHORITY)
    try:
        policy.build_server_verifier(x509.DNSName(dns_name)).verify(chain[0], list(chain[1:]))
    except (VerificationError, ValueError) as error:  # ValueError: an extension cannot be parsed
        return str(error)
    return None


def _require_server_usage(
    _policy: object, _certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None
) -> None:
    usages = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if usage is not None and usages.isdisjoint(usage):
        raise ValueError("the extended key usage does not allow servers")


_LEAF = (
    ExtensionPolicy.permit_all()
    .require_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, None)
    .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _require_server_usage)
)
_AUTHORITY = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _require_server_usage)
)


def _split(bundle: bytes) -> Iterator[tuple[bytes, x509.Certificate | None]]:
    """Split *bundle* into certificates and the text between them; nothing is lost."""
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
