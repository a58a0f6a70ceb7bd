"""The status of the certificates, as a table or as JSON.

Pure: turns the Secret and the configurations, as read, into text. It parses and decides with the
functions of the replicas (:func:`certs.ca_secret.parse`, :func:`certs.rotation.decide`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from certs.authority import CertificateError, fingerprint, is_own_ca, issue_ca
from certs.rotation import RotationDecision, decide
from certs.transitions import RotationInput

if TYPE_CHECKING:
    import datetime as dt

    from cryptography import x509

    from certs.ca_secret import ParsedSecret
    from certs.file_source import MountedFiles
    from certs.settings import CertificateSettings
    from certs.webhook_configs import ObservedConfigurations

DESCRIPTIONS = {
    "STEADY": "one CA, in every bundle",
    "PUBLISH": "a new CA is being added to the bundles; the old one still signs",
    "PROMOTE": "the new CA signs; the old one is still trusted",
    "RETIRE": "the old CA is being removed from the bundles",
    "NONE": "there is no usable CA",
    "FILES": "certificates come from mounted files",
}
"""What the phases mean, for a person."""


@dataclass(frozen=True, slots=True)
class AuthorityStatus:
    """A CA, its role, and the ``configuration/entry`` that trust it or do not."""

    certificate: x509.Certificate
    role: str
    trusted_by: tuple[str, ...]
    missing_from: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CertificateStatus:
    """The certificates for *dns_name* at one moment.

    *entries* is the number of webhook entries; *usable* tells whether leaves can be served.
    """

    dns_name: str
    phase: str
    waits_for: str
    request: str
    problems: tuple[str, ...]
    authorities: tuple[AuthorityStatus, ...]
    entries: int
    now: dt.datetime
    usable: bool


def assess(
    parsed: ParsedSecret,
    observed: ObservedConfigurations,
    now: dt.datetime,
    settings: CertificateSettings,
) -> CertificateStatus:
    """Return the status of the Secret and the configurations."""
    # A decision may issue a CA; that CA is discarded here, because nothing is written.
    inputs = RotationInput(
        parsed,
        observed,
        now,
        settings,
        issue_ca=lambda: issue_ca(settings.dns_name, now=now, lifetime=60, backdating=0),
    )
    decision = decide(inputs)
    return CertificateStatus(
        dns_name=settings.dns_name,
        phase=decision.phase.value if decision.signer else "NONE",
        waits_for=_waits_for(decision),
        request=parsed.request,
        problems=parsed.problems,
        authorities=tuple(_authorities(parsed, observed, settings.dns_name)),
        entries=len(observed.entries),
        now=now,
        usable=decision.signer is not None,
    )


def assess_files(
    files: MountedFiles | CertificateError,
    observed: ObservedConfigurations,
    now: dt.datetime,
    settings: CertificateSettings,
) -> CertificateStatus:
    """Return the status of certificates from *files*, or of the error that loading them raised."""
    authorities: tuple[x509.Certificate, ...] = ()
    if isinstance(files, CertificateError):
        waits_for, errors = f"usable files in {settings.directory}: {files}", {}
    else:
        authorities = files.authorities
        expiry = files.leaf.certificate.not_valid_after_utc
        waits_for = f"a new pair in {settings.directory}; the current one expires {expiry:%FT%TZ}"
        errors = observed.verification_errors(files.leaf.chain, settings.dns_name, now)

    return CertificateStatus(
        dns_name=settings.dns_name,
        phase="FILES",
        waits_for=waits_for,
        request="",
        problems=tuple(
            f"the caBundle of {entry} does not cover tls.crt: {error}"
            for entry, error in errors.items()
        ),
        authorities=tuple(_authority(ca, "file", observed) for ca in authorities),
        entries=len(observed.entries),
        now=now,
        usable=not isinstance(files, CertificateError),
    )


def as_json(status: CertificateStatus) -> dict[str, Any]:
    """Return *status* for programs."""
    return {
        "name": status.dns_name,
        "phase": status.phase,
        "waitsFor": status.waits_for,
        "request": status.request,
        "problems": list(status.problems),
        "entries": status.entries,
        "certificateAuthorities": [
            {
                "fingerprint": fingerprint(authority.certificate),
                "role": authority.role,
                "signs": authority.role == "signs",
                "notBefore": authority.certificate.not_valid_before_utc.isoformat(),
                "notAfter": authority.certificate.not_valid_after_utc.isoformat(),
                "trustedBy": list(authority.trusted_by),
                "missingFrom": list(authority.missing_from),
            }
            for authority in status.authorities
        ],
    }


def as_table(status: CertificateStatus) -> str:
    """Return *status* for people."""
    lines = [
        f"{status.dns_name}",
        f"phase      {status.phase}: {DESCRIPTIONS[status.phase]}",
        f"waits for  {status.waits_for}",
    ]
    if status.request:
        lines.append(f"requested  a rotation ({status.request})")
    lines += [f"problem    {problem}" for problem in status.problems]

    rows: list[tuple[str, ...]] = [("CA", "ROLE", "TRUSTED BY", "EXPIRES", "IN")]
    rows += [_row(authority, status) for authority in status.authorities]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines.append("")
    lines += [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]

    lines += [
        f"{fingerprint(authority.certificate)[:16]} is missing from "
        f"{', '.join(authority.missing_from)}"
        for authority in status.authorities
        if authority.missing_from and authority.role not in {"retired", "unknown"}
    ]
    return "\n".join(lines)


def format_duration(seconds: float) -> str:
    """Return *seconds* in the largest unit of which there are at least two."""
    if seconds < 0:
        return "expired"
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _row(authority: AuthorityStatus, status: CertificateStatus) -> tuple[str, ...]:
    expiry = authority.certificate.not_valid_after_utc
    return (
        fingerprint(authority.certificate)[:16],
        authority.role,
        f"{len(authority.trusted_by)} of {status.entries} entries",
        f"{expiry:%F %R}Z",
        format_duration((expiry - status.now).total_seconds()),
    )


def _waits_for(decision: RotationDecision) -> str:
    if decision.content_to_write is None or decision.reason is None:
        return decision.waits_for
    return f"a replica to take the next step: {decision.reason.value}"


def _authorities(
    parsed: ParsedSecret, observed: ObservedConfigurations, dns_name: str
) -> list[AuthorityStatus]:
    """Return the CAs of the Secret, then those of ours that only bundles hold."""
    roles: dict[str, str] = {}
    certificates: dict[str, x509.Certificate] = {}

    content = parsed.content
    if content:
        next_ca = content.next.certificate if content.next else None
        by_role = {"signs": content.ca.certificate, "next": next_ca, "previous": content.previous}
        for role, certificate in by_role.items():
            if certificate:
                roles[fingerprint(certificate)] = role
                certificates[fingerprint(certificate)] = certificate

    for key, certificate in observed.certificates.items():
        if key not in certificates and is_own_ca(certificate, dns_name):
            roles[key] = "retired" if key in parsed.retired else "unknown"
            certificates[key] = certificate
    return [_authority(certificates[key], role, observed) for key, role in roles.items()]


def _authority(
    certificate: x509.Certificate, role: str, observed: ObservedConfigurations
) -> AuthorityStatus:
    digest = fingerprint(certificate)
    trusted_by: list[str] = []
    missing_from: list[str] = []
    for configuration in observed.configurations:
        for entry in configuration.entries:
            entries = trusted_by if digest in entry.trusted else missing_from
            entries.append(f"{configuration.name}/{entry.name}")
    return AuthorityStatus(certificate, role, tuple(trusted_by), tuple(missing_from))
