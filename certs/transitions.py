"""The rotation of the CA as a table: phase, condition, next phase.

=======  ====================  ==================  ===========================================
phase    the Secret holds      every bundle holds  it ends when
=======  ====================  ==================  ===========================================
STEADY   ca                    ca                  two thirds of the CA's life are over, or a
                                                   rotation is requested
PUBLISH  ca, next              both                every configuration was seen to hold both,
                                                   and ``propagation`` has passed since
PROMOTE  ca (was next),        both                no leaf of *previous* can be valid any more
         previous (was ca)
RETIRE   ca, fingerprints of   ca                  no bundle holds a retired CA any more
         retired CAs
=======  ====================  ==================  ===========================================

*ca* signs leaves in every phase. All functions here are pure.
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from certs.authority import KeyPair, fingerprint, is_expired, is_own_ca, is_valid, renew_at
from certs.ca_secret import COMPROMISED, CASecret, ParsedSecret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cryptography import x509

    from certs.settings import CertificateSettings
    from certs.webhook_configs import ObservedConfigurations


class Phase(enum.StrEnum):
    """A phase of the rotation."""

    STEADY = "STEADY"
    PUBLISH = "PUBLISH"
    PROMOTE = "PROMOTE"
    RETIRE = "RETIRE"


class RotationReason(enum.StrEnum):
    """Why the Secret is written.

    The names of the members, in lower case, are values of the label ``cause`` of a metric.
    """

    FIRST = "there was no CA"
    REPLACED = "the CA was unusable"
    RESTORED = "the Secret was deleted or damaged"
    REPAIRED = "a part of the Secret was damaged"
    COMPROMISED = "the CA was declared compromised"
    PUBLISHED = "a rotation is due"
    PROMOTED = "the new CA takes over"
    RETIRED = "every leaf of the old CA has expired"


@dataclass(frozen=True, slots=True)
class RotationInput:
    """Everything that a decision depends on.

    *issue_ca* issues a new CA, *memory* is the last usable content that this replica read, and
    *missing_for* is for how many seconds this replica has found no Secret.
    """

    parsed: ParsedSecret
    observed: ObservedConfigurations
    now: dt.datetime
    settings: CertificateSettings
    issue_ca: Callable[[], KeyPair]
    memory: CASecret | None = None
    missing_for: float = 0.0


def phase_of(content: CASecret, observed: ObservedConfigurations) -> Phase:
    """Return the phase of a Secret with *content* and of the *observed* bundles."""
    if content.next:
        return Phase.PUBLISH
    if content.previous:
        return Phase.PROMOTE
    return Phase.RETIRE if observed.holders(content.retired) else Phase.STEADY


# Conditions, each followed by what the Secret holds after the step.


def _is_compromised(inputs: RotationInput, _content: CASecret) -> bool:
    return inputs.parsed.request == COMPROMISED


def _replace_ca(inputs: RotationInput, content: CASecret) -> CASecret:
    in_bundles = own_cas(inputs.observed, inputs.settings.dns_name)
    retired = _retired_with(inputs, content, *content.trusted, *in_bundles)
    return CASecret(inputs.issue_ca(), retired=retired)


def _is_damaged(inputs: RotationInput, _content: CASecret) -> bool:
    return bool(inputs.parsed.problems)


def _restore_part(inputs: RotationInput, content: CASecret) -> CASecret:
    """Restore damaged keys from memory, if the memory is of the CA that signs; else drop them."""
    memory = usable(inputs.memory, inputs.now)
    if memory is None or memory.ca.certificate != content.ca.certificate:
        return content
    return replace(memory, retired={**content.retired, **memory.retired})


def _is_due(inputs: RotationInput, content: CASecret) -> bool:
    return bool(inputs.parsed.request) or inputs.now >= _due_at(inputs, content)


def _publish(inputs: RotationInput, content: CASecret) -> CASecret:
    retired = unexpired(content.retired, inputs.now)
    return replace(content, next=inputs.issue_ca(), retired=retired)


def _is_expiring(inputs: RotationInput, content: CASecret) -> bool:
    """Tell whether the CA that signs is about to expire: then any other CA is better."""
    seconds_left = (content.ca.certificate.not_valid_after_utc - inputs.now).total_seconds()
    return seconds_left < 2 * inputs.settings.resync


def _is_published(inputs: RotationInput, content: CASecret) -> bool:
    """Tell whether every API server must have learnt of both CAs by now."""
    return inputs.observed.settled(_both_fingerprints(content), inputs.settings.propagation)


def _promote(inputs: RotationInput, content: CASecret) -> CASecret:
    next_ca = content.next
    assert next_ca is not None  # noqa: S101 - the phase is PUBLISH

    # A leaf signed just now is valid for its whole life; the margin is for a replica that was
    # suspended between reading the Secret and signing.
    settings = inputs.settings
    overlap = dt.timedelta(seconds=settings.leaf_lifetime + settings.retire_margin)
    previous = content.ca.certificate
    return CASecret(
        ca=next_ca,
        previous=previous,
        retire_at=min(inputs.now + overlap, previous.not_valid_after_utc),
        retired=content.retired,
    )


def _is_overlap_over(inputs: RotationInput, content: CASecret) -> bool:
    return inputs.now >= _retire_at(content)


def _retire(inputs: RotationInput, content: CASecret) -> CASecret:
    assert content.previous is not None  # noqa: S101 - the phase is PROMOTE

    # A valid CA of ours that only bundles hold may still sign: after a backup of the Secret was
    # restored, it is the newest one. So only invalid ones are retired with the previous CA.
    own = own_cas(inputs.observed, inputs.settings.dns_name)
    invalid = [ca for ca in own if not is_valid(ca, inputs.now)]
    return CASecret(content.ca, retired=_retired_with(inputs, content, content.previous, *invalid))


@dataclass(frozen=True, slots=True)
class Transition:
    """A row of the state machine: in *phase*, if *condition* holds, write *next_content*.

    *phase* None: in any phase. *next_phase* is the phase of what was written, for as long as
    bundles hold a retired CA; None: the same phase as before.
    """

    phase: Phase | None
    condition: Callable[[RotationInput, CASecret], bool]
    next_content: Callable[[RotationInput, CASecret], CASecret]
    reason: RotationReason
    next_phase: Phase | None


TRANSITIONS = (
    # phase, condition, what the Secret holds afterwards, reason, next phase
    Transition(None, _is_compromised, _replace_ca, RotationReason.COMPROMISED, Phase.RETIRE),
    Transition(None, _is_damaged, _restore_part, RotationReason.REPAIRED, None),
    Transition(Phase.STEADY, _is_due, _publish, RotationReason.PUBLISHED, Phase.PUBLISH),
    Transition(Phase.PUBLISH, _is_expiring, _promote, RotationReason.PROMOTED, Phase.PROMOTE),
    Transition(Phase.PUBLISH, _is_published, _promote, RotationReason.PROMOTED, Phase.PROMOTE),
    Transition(Phase.PROMOTE, _is_overlap_over, _retire, RotationReason.RETIRED, Phase.RETIRE),
    Transition(Phase.RETIRE, _is_due, _publish, RotationReason.PUBLISHED, Phase.PUBLISH),
)
"""The state machine: the first row that applies is the next step.

RETIRE becomes STEADY without a write, once no bundle holds a retired CA (:func:`phase_of`).
"""


# What a phase waits for, if no transition is due.


def _steady_waits_for(inputs: RotationInput, content: CASecret) -> str:
    return f"the next rotation, {_due_at(inputs, content):%FT%TZ}"


def _publish_waits_for(inputs: RotationInput, content: CASecret) -> str:
    missing = inputs.observed.missing(_both_fingerprints(content))
    if missing:
        return f"{', '.join(missing)} to hold both CAs"
    # No countdown: "python -m certs status" cannot know for how long a replica has seen both.
    seconds = inputs.settings.propagation
    return f"every API server to read the bundles, {seconds:g} s after their last change"


def _promote_waits_for(inputs: RotationInput, content: CASecret) -> str:
    request = "; then the requested rotation" if inputs.parsed.request else ""
    return f"the last leaf of the old CA to expire, {_retire_at(content):%FT%TZ}{request}"


def _retire_waits_for(inputs: RotationInput, content: CASecret) -> str:
    return f"retired CAs to leave {', '.join(inputs.observed.holders(content.retired))}"


WAITS_FOR: Mapping[Phase, Callable[[RotationInput, CASecret], str]] = {
    Phase.STEADY: _steady_waits_for,
    Phase.PUBLISH: _publish_waits_for,
    Phase.PROMOTE: _promote_waits_for,
    Phase.RETIRE: _retire_waits_for,
}


# Small parts of the above.


def _due_at(inputs: RotationInput, content: CASecret) -> dt.datetime:
    settings = inputs.settings
    return renew_at(
        content.ca.certificate, backdating=settings.backdating, fraction=settings.renew_fraction
    )


def _retire_at(content: CASecret) -> dt.datetime:
    assert content.previous is not None  # noqa: S101 - the phase is PROMOTE
    expiry = content.previous.not_valid_after_utc
    return min(content.retire_at or expiry, expiry)


def _both_fingerprints(content: CASecret) -> list[str]:
    assert content.next is not None  # noqa: S101 - the phase is PUBLISH
    return [fingerprint(content.ca.certificate), fingerprint(content.next.certificate)]


def own_cas(observed: ObservedConfigurations, dns_name: str) -> list[x509.Certificate]:
    """Return the CAs of ours for *dns_name* in the bundles, whether or not the Secret has them."""
    return [ca for ca in observed.certificates.values() if is_own_ca(ca, dns_name)]


def _retired_with(
    inputs: RotationInput, content: CASecret, *certificates: x509.Certificate
) -> dict[str, dt.datetime]:
    """Return the retired CAs of *content* and *certificates*, without expired ones."""
    added = {fingerprint(ca): ca.not_valid_after_utc for ca in certificates}
    return unexpired({**content.retired, **added}, inputs.now)


def unexpired(retired: Mapping[str, dt.datetime], now: dt.datetime) -> dict[str, dt.datetime]:
    """Drop expired CAs from *retired*: bundles lose those in any case."""
    return {digest: expiry for digest, expiry in retired.items() if expiry >= now}


def usable(memory: CASecret | None, now: dt.datetime) -> CASecret | None:
    """Return *memory* without the CAs that are not valid at *now*; None: its signing CA is not."""
    if memory is None or not is_valid(memory.ca.certificate, now):
        return None

    next_ca = memory.next if memory.next and is_valid(memory.next.certificate, now) else None
    if memory.previous is None or is_expired(memory.previous, now):
        return replace(memory, next=next_ca, previous=None, retire_at=None)
    return replace(memory, next=next_ca)
