"""The leaf of this replica: when to replace it, and how to issue one.

Pure but for the random numbers in keys and serials.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from certs.authority import fingerprint, is_valid, issue_leaf

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Collection

    from cryptography import x509

    from certs.authority import KeyPair
    from certs.rotation import RotationDecision
    from certs.settings import CertificateSettings
    from certs.webhook_configs import ObservedConfigurations


@dataclass(frozen=True, slots=True)
class Leaf:
    """A serving certificate with its key.

    *ca* and *renew_at* are None for a leaf from mounted files.
    """

    certificate: x509.Certificate
    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    ca: x509.Certificate | None = None
    renew_at: dt.datetime | None = None
    intermediates: tuple[x509.Certificate, ...] = ()

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """The certificates that a handshake presents: the leaf, then intermediate ones."""
        return (self.certificate, *self.intermediates)

    def seconds_left(self, now: dt.datetime) -> float:
        """Return for how many seconds from *now* the leaf is valid."""
        return (self.certificate.not_valid_after_utc - now).total_seconds()


@dataclass(frozen=True, slots=True)
class ChangeOfSigner:
    """A leaf of one CA while another CA signs; *ca* and *signer* are fingerprints."""

    ca: str
    signer: str
    retired: Collection[str]
    seconds_left: float
    observed: ObservedConfigurations
    settings: CertificateSettings


REPLACEMENT_RULES: tuple[tuple[str, Callable[[ChangeOfSigner], bool]], ...] = (
    (
        "the CA of the old leaf was retired",
        lambda change: change.ca in change.retired,
    ),
    (
        "another CA signs now",
        lambda change: change.observed.settled([change.signer], change.settings.propagation),
    ),
    (
        "no bundle covers the old leaf",
        # Without configurations, API servers that lag may still have one that holds this CA.
        lambda change: (
            bool(change.observed.configurations) and not change.observed.holders([change.ca])
        ),
    ),
    (
        "the old leaf expires soon",
        lambda change: (
            change.seconds_left < change.settings.last_part
            and not change.observed.missing([change.signer])
        ),
    ),
    (
        "the old leaf expires now",
        # No API server accepts an expired leaf, but some may already accept one of the new CA.
        lambda change: change.seconds_left < 2 * change.settings.resync,
    ),
)
"""Why a leaf is given up for one of the CA that signs now: the first rule that applies.

While no rule applies, the leaf stays: the bundles cover it, and may not cover another yet.
"""


def replacement_reason(
    leaf: Leaf | None,
    decision: RotationDecision,
    observed: ObservedConfigurations,
    now: dt.datetime,
    settings: CertificateSettings,
) -> str | None:
    """Return why *leaf* must be replaced now by one of ``decision.signer``; None: it stays."""
    if decision.signer is None:
        return None
    if leaf is None or leaf.ca is None or leaf.renew_at is None:
        return "there is no leaf yet"
    if not is_valid(leaf.certificate, now):
        return "the old leaf is not valid at the API server's time"

    ca, signer = fingerprint(leaf.ca), fingerprint(decision.signer.certificate)
    if ca == signer:
        return "the old leaf is due for renewal" if now >= leaf.renew_at else None

    change = ChangeOfSigner(
        ca, signer, decision.retired.keys(), leaf.seconds_left(now), observed, settings
    )
    return next((reason for reason, applies in REPLACEMENT_RULES if applies(change)), None)


def make_leaf(
    ca: KeyPair, now: dt.datetime, settings: CertificateSettings, *, early: float
) -> Leaf:
    """Issue a leaf signed by *ca*, renewed *early* (0 to 1) times the jitter before it is due."""
    pair = issue_leaf(
        ca,
        settings.dns_name,
        now=now,
        lifetime=settings.leaf_lifetime,
        backdating=settings.backdating,
    )
    life = pair.certificate.not_valid_after_utc - now
    renew_at = now + life * (settings.renew_fraction - settings.jitter * early)
    return Leaf(pair.certificate, pair.certificate_pem, pair.key_pem, ca.certificate, renew_at)
