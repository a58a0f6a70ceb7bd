"""The life of the CA: STEADY → PUBLISH → PROMOTE → RETIRE → STEADY, as a pure function.

=======  ====================  ==================  ===========================================
phase    the Secret holds      every bundle holds  it ends when
=======  ====================  ==================  ===========================================
STEADY   ca                    ca                  two thirds of the CA's life are over, or a
                                                   person asks
PUBLISH  ca, next              both                every configuration was seen to hold both,
                                                   and ``propagation`` has passed since
PROMOTE  ca (was next),        both                no leaf of *previous* can be valid any more
         previous (was ca)
RETIRE   ca, retired names     ca                  no bundle holds a retired CA any more
=======  ====================  ==================  ===========================================

Leaves are always signed by *ca*.

:func:`decide` is asked again after every change and every few seconds. It takes what is stored,
what is observed and the time, and says what to store next (if anything), which CAs bundles must
hold and must not, and which CA signs. It remembers nothing: any replica may take any step, the
API server lets one of two writers win (resourceVersion), and a crash between two writes leaves a
state in which the next call finds the step that is missing.

``now`` is the API server's clock (:mod:`certs.server_clock`), for it is the one that verifies.
"""

from __future__ import annotations

import datetime as dt
import enum
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from certs.authority import KeyPair, fingerprint, is_expired, is_own_ca, is_valid, renew_at
from certs.ca_secret import COMPROMISED, CASecret, ParsedSecret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cryptography import x509

    from certs.settings import CertificateSettings
    from certs.webhook_configs import ObservedConfigurations


class Phase(enum.StrEnum):
    """Where the rotation stands."""

    STEADY = "STEADY"
    PUBLISH = "PUBLISH"
    PROMOTE = "PROMOTE"
    RETIRE = "RETIRE"


class RotationReason(enum.StrEnum):
    """Why the Secret is written."""

    FIRST = "there was no CA"
    REPLACED = "the CA was unusable"
    RESTORED = "the Secret was gone or damaged"
    REPAIRED = "the Secret was damaged in part"
    COMPROMISED = "the CA was declared compromised"
    PUBLISHED = "a new CA is due"
    PROMOTED = "the new CA is known everywhere"
    RETIRED = "no leaf of the old CA can be valid"


@dataclass(frozen=True, slots=True)
class RotationDecision:
    """What is to be done now. *write* None: the Secret stays as it is.

    *signer* is the CA that signs leaves according to the Secret as read, None where none is
    usable; *waits_for* one sentence for a person. *again_in* is after how many seconds at the
    latest to ask again, where that is sooner than usual.
    """

    phase: Phase
    signer: KeyPair | None = None
    trusted: tuple[x509.Certificate, ...] = ()
    retired: Mapping[str, dt.datetime] = field(default_factory=dict)
    write: CASecret | None = None
    cause: RotationReason | None = None
    waits_for: str = ""
    again_in: float = math.inf

    @property
    def drops_request(self) -> bool:
        """Whether *write* is what a person's request asked for."""
        return self.cause in (RotationReason.COMPROMISED, RotationReason.PUBLISHED)


@dataclass(frozen=True, slots=True)
class RotationInput:
    """All that a decision depends on.

    *memory* is the last usable content that this replica read, *mint* makes a new CA, and
    *missing_for* tells for how many seconds the replica has found no Secret.
    """

    reading: ParsedSecret
    observed: ObservedConfigurations
    now: dt.datetime
    settings: CertificateSettings
    mint: Callable[[], KeyPair]
    memory: CASecret | None = None
    missing_for: float = 0.0


def decide(situation: RotationInput) -> RotationDecision:
    """Decide on the next step."""
    reading, observed = situation.reading, situation.observed
    stored = reading.stored
    if stored is None:
        return _recover(situation)
    state = RotationDecision(phase(stored, observed), stored.ca, stored.trusted, stored.retired)
    if reading.request == COMPROMISED:
        ours = _in_bundles(observed, situation.settings.dns_name)
        gone = _retired(situation, stored, *stored.trusted, *ours)
        fresh = CASecret(situation.mint(), retired=gone)
        return replace(state, write=fresh, cause=RotationReason.COMPROMISED)
    if reading.problems:
        return replace(state, write=_repaired(situation, stored), cause=RotationReason.REPAIRED)
    if state.phase is Phase.PUBLISH:
        return _in_publish(situation, stored, state)
    if state.phase is Phase.PROMOTE:
        return _in_promote(situation, stored, state)
    return _in_steady(situation, stored, state)


def phase(stored: CASecret, observed: ObservedConfigurations) -> Phase:
    """Return the phase in which *stored* and the observed bundles are."""
    if stored.next:
        return Phase.PUBLISH
    if stored.previous:
        return Phase.PROMOTE
    return Phase.RETIRE if observed.holders(stored.retired) else Phase.STEADY


def is_out_of_date(
    ca: x509.Certificate, observed: ObservedConfigurations, now: dt.datetime, name: str
) -> bool:
    """Tell whether *ca* has left every bundle, and they trust others that we made for *name*.

    A replica that was cut off may know a CA that has been replaced since, or was declared
    compromised, and is to bring it back neither into the Secret nor into a bundle.
    """
    ours = _ours(observed, now, name)
    return bool(ours) and fingerprint(ca) not in ours


def _ours(observed: ObservedConfigurations, now: dt.datetime, name: str) -> set[str]:
    """Return the CAs (fingerprints) that we made for *name*, valid and in a bundle."""
    return {fingerprint(one) for one in _in_bundles(observed, name) if is_valid(one, now)}


def _in_bundles(observed: ObservedConfigurations, name: str) -> list[x509.Certificate]:
    """Return the CAs that we made for *name* and bundles hold, known to the Secret or not."""
    return [one for one in observed.certificates.values() if is_own_ca(one, name)]


def _recover(situation: RotationInput) -> RotationDecision:
    """Nothing usable is stored: take memory, else the next CA, else what others restore, else new.

    A CA in memory that the damaged Secret calls retired is not brought back, nor one that is out
    of date.
    """
    reading, now, settings = situation.reading, situation.now, situation.settings
    known = _usable(situation.memory, now)
    if (
        known
        and fingerprint(known.ca.certificate) not in reading.retired
        and not is_out_of_date(known.ca.certificate, situation.observed, now, settings.dns_name)
    ):
        merged = replace(known, retired={**reading.retired, **known.retired})
        return RotationDecision(Phase.STEADY, write=merged, cause=RotationReason.RESTORED)
    if reading.spare:
        taken = CASecret(reading.spare, retired=reading.retired)
        return RotationDecision(Phase.STEADY, write=taken, cause=RotationReason.REPLACED)
    ours = _ours(situation.observed, now, settings.dns_name)
    left = settings.restore_grace - situation.missing_for
    if ours and reading.found is None and left > 0:
        waits = f"another replica to restore Secret {settings.namespace}/{settings.secret}"
        return RotationDecision(Phase.STEADY, waits_for=waits, again_in=left)
    cause = RotationReason.REPLACED if reading.found is not None or ours else RotationReason.FIRST
    fresh = CASecret(situation.mint(), retired=_unexpired(reading.retired, now))
    return RotationDecision(Phase.STEADY, write=fresh, cause=cause)


def _repaired(situation: RotationInput, stored: CASecret) -> CASecret:
    """Return what a partly damaged Secret should say: what is remembered, if its CA signs."""
    known = _usable(situation.memory, situation.now)
    if known is None or known.ca.certificate != stored.ca.certificate:
        return stored
    return replace(known, retired={**stored.retired, **known.retired})


def _in_steady(
    situation: RotationInput, stored: CASecret, state: RotationDecision
) -> RotationDecision:
    settings = situation.settings
    due = renew_at(
        stored.ca.certificate, backdating=settings.backdating, fraction=settings.renew_fraction
    )
    if situation.reading.request or situation.now >= due:
        kept = _unexpired(stored.retired, situation.now)
        published = replace(stored, next=situation.mint(), retired=kept)
        return replace(state, write=published, cause=RotationReason.PUBLISHED)
    holders = situation.observed.holders(stored.retired)
    if holders:
        return replace(state, waits_for=f"retired CAs to leave {', '.join(holders)}")
    return replace(state, waits_for=f"the next rotation, {due:%FT%TZ}")


def _in_publish(
    situation: RotationInput, stored: CASecret, state: RotationDecision
) -> RotationDecision:
    settings, observed = situation.settings, situation.observed
    following = stored.next
    assert following is not None  # noqa: S101 - what makes the phase PUBLISH
    both = [fingerprint(one.certificate) for one in (stored.ca, following)]
    missing = observed.missing(both)
    left = (stored.ca.certificate.not_valid_after_utc - situation.now).total_seconds()
    if left < 2 * settings.resync:
        return _promoted(situation, stored, following, state)  # Any other CA is better.
    if missing:
        return replace(state, waits_for=f"{', '.join(missing)} to hold both CAs")
    if not observed.settled(both, settings.propagation):
        # No countdown: "python -m certs status" does not know what a replica has seen.
        lag = f"API servers that lag, {settings.propagation:g} s after the last change of a bundle"
        return replace(state, waits_for=lag)
    return _promoted(situation, stored, following, state)


def _promoted(
    situation: RotationInput, stored: CASecret, following: KeyPair, state: RotationDecision
) -> RotationDecision:
    settings = situation.settings
    previous = stored.ca.certificate
    overlap = dt.timedelta(seconds=settings.leaf_lifetime + settings.retire_margin)
    promoted = CASecret(
        ca=following,
        previous=previous,
        retire_at=min(situation.now + overlap, previous.not_valid_after_utc),
        retired=stored.retired,
    )
    return replace(state, write=promoted, cause=RotationReason.PROMOTED)


def _in_promote(
    situation: RotationInput, stored: CASecret, state: RotationDecision
) -> RotationDecision:
    previous = stored.previous
    assert previous is not None  # noqa: S101 - what makes the phase PROMOTE
    expiry = previous.not_valid_after_utc
    until = min(stored.retire_at or expiry, expiry)
    if situation.now < until:
        asked = "; then the rotation that was asked for" if situation.reading.request else ""
        waits = f"the last leaf of the old CA to expire, {until:%FT%TZ}{asked}"
        return replace(state, waits_for=waits)
    # One that only bundles know may sign still: where a backup was restored, the newest is such.
    ours = _in_bundles(situation.observed, situation.settings.dns_name)
    useless = [one for one in ours if not is_valid(one, situation.now)]
    retired = _retired(situation, stored, previous, *useless)
    return replace(state, write=CASecret(stored.ca, retired=retired), cause=RotationReason.RETIRED)


def _retired(
    situation: RotationInput, stored: CASecret, *going: x509.Certificate
) -> dict[str, dt.datetime]:
    """Return what is retired when *going* goes too."""
    more = {fingerprint(one): one.not_valid_after_utc for one in going}
    return _unexpired({**stored.retired, **more}, situation.now)


def _unexpired(retired: Mapping[str, dt.datetime], now: dt.datetime) -> dict[str, dt.datetime]:
    """Forget retired CAs that have expired: bundles lose those anyway."""
    return {name: until for name, until in retired.items() if until >= now}


def _usable(known: CASecret | None, now: dt.datetime) -> CASecret | None:
    """Return *known* without what is not valid at *now*; None: its CA is not, or it is None."""
    if known is None or not is_valid(known.ca.certificate, now):
        return None
    following = known.next if known.next and is_valid(known.next.certificate, now) else None
    if known.previous is None or is_expired(known.previous, now):
        return replace(known, next=following, previous=None, retire_at=None)
    return replace(known, next=following)
