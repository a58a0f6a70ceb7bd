"""The leaf of this replica: what it is, when to replace it, how to make one.

Pure but for the random numbers in keys and serials. :func:`replacement_reason` holds the rule for
replicas: a leaf that the observed bundles cover is given up only for one that they have covered
for a while.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from certs.authority import fingerprint, is_valid, issue_leaf

if TYPE_CHECKING:
    import datetime as dt

    from cryptography import x509

    from certs.authority import KeyPair
    from certs.rotation import RotationDecision
    from certs.settings import CertificateSettings
    from certs.webhook_configs import ObservedConfigurations


@dataclass(frozen=True, slots=True)
class Leaf:
    """A serving certificate with its key; *ca* and *renew_at* where we made it ourselves."""

    certificate: x509.Certificate
    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    ca: x509.Certificate | None = None
    renew_at: dt.datetime | None = None
    intermediates: tuple[x509.Certificate, ...] = ()

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """What is presented: the leaf, then what leads to its CA."""
        return (self.certificate, *self.intermediates)


def replacement_reason(
    leaf: Leaf | None,
    decision: RotationDecision,
    observed: ObservedConfigurations,
    now: dt.datetime,
    settings: CertificateSettings,
) -> str | None:
    """Return why a leaf has to be made now, by the CA that *decision* says signs; None: keep it."""
    if decision.signer is None:
        return None
    if leaf is None or leaf.ca is None or leaf.renew_at is None:
        return "there is none of ours"
    if not is_valid(leaf.certificate, now):
        return "it is not valid at the API server's time"
    name, signer = fingerprint(leaf.ca), fingerprint(decision.signer.certificate)
    if name == signer:
        return "it is due for renewal" if now >= leaf.renew_at else None
    left = (leaf.certificate.not_valid_after_utc - now).total_seconds()
    reasons = {
        "its CA was retired": name in decision.retired,
        "another CA signs": observed.settled([signer], settings.propagation),
        # Where no configuration is left, API servers that lag may still have one, with this CA.
        "no bundle covers it": bool(observed.configurations) and not observed.holders([name]),
        # An expired leaf is of no use to anyone, one that some API server may not trust yet is.
        "it expires soon": left < settings.last_part and not observed.missing([signer]),
        "it expires": left < 2 * settings.resync,
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


def make_leaf(
    ca: KeyPair, now: dt.datetime, settings: CertificateSettings, *, early: float
) -> Leaf:
    """Make a leaf by *ca*; *early* (0 to 1) is how much of the jitter its renewal gets."""
    pair = issue_leaf(
        ca,
        settings.dns_name,
        now=now,
        lifetime=settings.leaf_lifetime,
        backdating=settings.backdating,
    )
    left = pair.certificate.not_valid_after_utc - now
    due = now + left * (settings.renew_fraction - settings.jitter * early)
    return Leaf(pair.certificate, pair.certificate_pem, pair.key_pem, ca.certificate, due)
