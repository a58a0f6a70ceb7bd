"""What a person wants to know of the certificates, as a table or as JSON.

Pure: from what was read of the Secret and the configurations to text. The reader of the Secret
here is :func:`certs.ca_secret.parse` and the judge is :func:`certs.rotation.decide`, as in the
replicas; nothing is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from certs.authority import CertificateError, fingerprint, is_own_ca, issue_ca
from certs.rotation import RotationDecision, RotationInput, decide

if TYPE_CHECKING:
    import datetime as dt

    from cryptography import x509

    from certs.ca_secret import ParsedSecret
    from certs.file_source import MountedFiles
    from certs.settings import CertificateSettings
    from certs.webhook_configs import ObservedConfigurations

MEANING = {
    "STEADY": "one CA, known everywhere",
    "PUBLISH": "a new CA is being made known; the old one still signs",
    "PROMOTE": "the new CA signs; the old one is still trusted",
    "RETIRE": "the old CA is being taken out of the bundles",
    "NONE": "there is no usable CA",
    "FILES": "certificates come from files",
}


@dataclass(frozen=True, slots=True)
class AuthorityStatus:
    """A CA, what it is for, and the entries that trust it."""

    certificate: x509.Certificate
    role: str
    trusted_by: tuple[str, ...]
    missing_from: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CertificateStatus:
    """The certificates at one moment."""

    name: str
    phase: str
    waits_for: str
    request: str
    problems: tuple[str, ...]
    authorities: tuple[AuthorityStatus, ...]
    entries: int
    now: dt.datetime
    usable: bool


def assess(
    reading: ParsedSecret,
    observed: ObservedConfigurations,
    now: dt.datetime,
    settings: CertificateSettings,
) -> CertificateStatus:
    """Return the status of what was read."""
    # A CA that a step may want is made and thrown away: nothing here is written.
    decision = decide(
        RotationInput(
            reading,
            observed,
            now,
            settings,
            mint=lambda: issue_ca(settings.dns_name, now=now, lifetime=60, backdating=0),
        )
    )
    return CertificateStatus(
        name=settings.dns_name,
        phase=decision.phase.value if decision.signer else "NONE",
        waits_for=_waits_for(decision),
        request=reading.request,
        problems=reading.problems,
        authorities=tuple(_authorities(reading, observed, settings.dns_name)),
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
    """Return the status where certificates come from *files*, or why those cannot be used."""
    authorities: tuple[x509.Certificate, ...] = ()
    if isinstance(files, CertificateError):
        waits_for, refused = f"usable files in {settings.directory}: {files}", {}
    else:
        authorities = files.authorities
        until = files.leaf.certificate.not_valid_after_utc
        waits_for = f"the next pair in {settings.directory}; the one there expires {until:%FT%TZ}"
        refused = observed.verification_errors(files.leaf.chain, settings.dns_name, now)
    return CertificateStatus(
        name=settings.dns_name,
        phase="FILES",
        waits_for=waits_for,
        request="",
        problems=tuple(f"{entry} refuses the pair: {why}" for entry, why in refused.items()),
        authorities=tuple(_authority(one, "file", observed) for one in authorities),
        entries=len(observed.entries),
        now=now,
        usable=not isinstance(files, CertificateError),
    )


def as_json(status: CertificateStatus) -> dict[str, Any]:
    """Return *status* for programs."""
    return {
        "name": status.name,
        "phase": status.phase,
        "waitsFor": status.waits_for,
        "request": status.request,
        "problems": list(status.problems),
        "entries": status.entries,
        "certificateAuthorities": [
            {
                "fingerprint": fingerprint(one.certificate),
                "role": one.role,
                "signs": one.role == "signs",
                "notBefore": one.certificate.not_valid_before_utc.isoformat(),
                "notAfter": one.certificate.not_valid_after_utc.isoformat(),
                "trustedBy": list(one.trusted_by),
                "missingFrom": list(one.missing_from),
            }
            for one in status.authorities
        ],
    }


def as_table(status: CertificateStatus) -> str:
    """Return *status* for people."""
    lines = [
        f"{status.name}",
        f"phase      {status.phase}: {MEANING[status.phase]}",
        f"waits for  {status.waits_for}",
    ]
    if status.request:
        lines.append(f"asked for  a rotation ({status.request})")
    lines += [f"problem    {problem}" for problem in status.problems]
    rows: list[tuple[str, ...]] = [("CA", "ROLE", "TRUSTED BY", "EXPIRES", "IN")]
    rows += [_row(one, status) for one in status.authorities]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines.append("")
    lines += [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lacking = [one for one in status.authorities if one.missing_from and one.role != "retired"]
    lines += [
        f"{fingerprint(one.certificate)[:16]} is missing from {', '.join(one.missing_from)}"
        for one in lacking
        if one.role != "unknown"
    ]
    return "\n".join(lines)


def format_duration(seconds: float) -> str:
    """Return *seconds* as a person says it: the largest unit that fits."""
    if seconds < 0:
        return "over"
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _row(one: AuthorityStatus, status: CertificateStatus) -> tuple[str, ...]:
    expires = one.certificate.not_valid_after_utc
    return (
        fingerprint(one.certificate)[:16],
        one.role,
        f"{len(one.trusted_by)} of {status.entries} entries",
        f"{expires:%F %R}Z",
        format_duration((expires - status.now).total_seconds()),
    )


def _waits_for(decision: RotationDecision) -> str:
    if decision.write is None or decision.cause is None:
        return decision.waits_for
    return f"a replica to take the next step: {decision.cause.value}"


def _authorities(
    reading: ParsedSecret, observed: ObservedConfigurations, name: str
) -> list[AuthorityStatus]:
    """Return the CAs of the Secret, then those of ours that only bundles know."""
    stored = reading.stored
    roles: dict[str, str] = {}
    known: dict[str, x509.Certificate] = {}
    if stored:
        following = stored.next.certificate if stored.next else None
        named = {"signs": stored.ca.certificate, "next": following, "previous": stored.previous}
        for role, certificate in named.items():
            if certificate:
                roles[fingerprint(certificate)] = role
                known[fingerprint(certificate)] = certificate
    for key, certificate in observed.certificates.items():
        if key not in known and is_own_ca(certificate, name):
            roles[key] = "retired" if key in reading.retired else "unknown"
            known[key] = certificate
    return [_authority(known[key], role, observed) for key, role in roles.items()]


def _authority(
    certificate: x509.Certificate, role: str, observed: ObservedConfigurations
) -> AuthorityStatus:
    key = fingerprint(certificate)
    holds: dict[bool, list[str]] = {True: [], False: []}
    for one in observed.configurations:
        for entry in one.entries:
            holds[key in entry.trusted].append(f"{one.name}/{entry.name}")
    return AuthorityStatus(certificate, role, tuple(holds[True]), tuple(holds[False]))
