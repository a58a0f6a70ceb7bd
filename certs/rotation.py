"""The next step of the rotation, as a pure function.

Replicas call :func:`decide` after every change and every few seconds. It remembers nothing: the
phase follows from the Secret, the observed bundles and the time. So any replica may take any step,
the API server lets one of two writers win (resourceVersion), and after a crash between two writes
the next call finds the missing step. The steps themselves are in :mod:`certs.transitions`.

A rotation with the default settings, and the clock that starts each step:

=============  =========================================  ========================================
when           step                                       clock
=============  =========================================  ========================================
day 0          the CA is issued, for 30 days
day 20         PUBLISH: Secret and bundles get a new CA   API server's: two thirds of the CA's life
60 s later     PROMOTE: the new CA signs, and replicas    this process's monotonic clock, since it
               replace their leaves                       last saw a configuration change
7 d 1 h later  RETIRE: the Secret drops the old CA, then  API server's, against the date in the
               the bundles do                             Secret
seconds later  STEADY: no bundle holds the old CA         none: the bundles as observed
day 40         PUBLISH of the next rotation               as on day 20, for the CA of day 20
=============  =========================================  ========================================

``now`` is the API server's clock (:mod:`certs.server_clock`), because the API server verifies.

Disasters, what happens, and the test in ``tests/unit/certs`` that shows it:

* The Secret is deleted or its CA is damaged, and this replica remembers it: it is restored as it
  was. ``test_memory_is_restored``
* The bundles are lost as well: the same.
  ``test_memory_is_restored_if_the_bundles_are_lost_as_well``
* The Secret is deleted, and this replica has just started: other replicas get 5 seconds to restore
  it, then a new CA is issued. ``test_a_starting_replica_lets_the_others_restore_the_secret``
* The CA in the Secret is damaged, and nobody remembers it: the next CA takes over, else a new one
  is issued. ``test_a_step_is_taken``
* The CA in memory has expired: it is not restored.
  ``test_an_expired_ca_is_not_restored_from_memory``
* A replica was cut off while its CA was replaced or declared compromised: that CA is not restored.
  ``test_a_remembered_ca_that_has_left_the_bundles_is_not_restored``,
  ``test_a_replica_that_was_cut_off_brings_no_compromised_ca_back``
* A backup of the Secret is restored: its CA signs again, and no valid CA that only bundles hold is
  retired. ``test_a_backup_that_is_restored_late_retires_no_ca_that_may_still_sign``,
  ``test_the_ca_of_a_leaf_in_use_is_published_whatever_the_secret_says``
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from certs.authority import fingerprint, is_valid
from certs.ca_secret import CASecret
from certs.transitions import (
    TRANSITIONS,
    WAITS_FOR,
    Phase,
    RotationReason,
    own_cas,
    phase_of,
    unexpired,
    usable,
)

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from cryptography import x509

    from certs.authority import KeyPair
    from certs.transitions import RotationInput
    from certs.webhook_configs import ObservedConfigurations


@dataclass(frozen=True, slots=True)
class RotationDecision:
    """The next step. *content_to_write* None: the Secret stays as it is.

    *signer* is the CA that signs leaves according to the Secret as read, None where there is no
    usable one; *waits_for* completes the sentence "the rotation waits for …". The next decision is
    due after *recheck_in* seconds at the latest, if that is sooner than usual.
    """

    phase: Phase
    signer: KeyPair | None = None
    trusted: tuple[x509.Certificate, ...] = ()
    retired: Mapping[str, dt.datetime] = field(default_factory=dict)
    content_to_write: CASecret | None = None
    reason: RotationReason | None = None
    waits_for: str = ""
    recheck_in: float = math.inf

    @property
    def drops_request(self) -> bool:
        """Whether a pending request is fulfilled by the write, which removes its annotation."""
        return self.reason in (RotationReason.COMPROMISED, RotationReason.PUBLISHED)


def decide(inputs: RotationInput) -> RotationDecision:
    """Return the next step.

    *content_to_write* is None if nothing is to be written now, and *waits_for* says why.
    """
    content = inputs.parsed.content
    if content is None:
        return _recover(inputs)

    phase = phase_of(content, inputs.observed)
    current = RotationDecision(phase, content.ca, content.trusted, content.retired)
    for transition in TRANSITIONS:
        if transition.phase in (phase, None) and transition.condition(inputs, content):
            after = transition.next_content(inputs, content)
            return replace(current, content_to_write=after, reason=transition.reason)
    return replace(current, waits_for=WAITS_FOR[phase](inputs, content))


def is_out_of_date(
    ca: x509.Certificate, observed: ObservedConfigurations, now: dt.datetime, dns_name: str
) -> bool:
    """Tell whether *ca* is in no bundle while bundles hold other valid CAs of ours for *dns_name*.

    A replica that was cut off may remember a CA that has been replaced since, or was declared
    compromised. It must bring that back neither into the Secret nor into a bundle.
    """
    valid_fingerprints = _valid_fingerprints(observed, now, dns_name)
    return bool(valid_fingerprints) and fingerprint(ca) not in valid_fingerprints


def _recover(inputs: RotationInput) -> RotationDecision:
    """Restore the Secret from memory, else promote its next CA, else wait or issue a new CA.

    The module's list of disasters has an example of each.
    """
    parsed, now, settings = inputs.parsed, inputs.now, inputs.settings

    # A CA that the damaged Secret lists as retired, or that others have replaced, must not return.
    memory = usable(inputs.memory, now)
    if (
        memory
        and fingerprint(memory.ca.certificate) not in parsed.retired
        and not is_out_of_date(memory.ca.certificate, inputs.observed, now, settings.dns_name)
    ):
        restored = replace(memory, retired={**parsed.retired, **memory.retired})
        return RotationDecision(
            Phase.STEADY, content_to_write=restored, reason=RotationReason.RESTORED
        )

    if parsed.spare:
        spare = CASecret(parsed.spare, retired=parsed.retired)
        return RotationDecision(
            Phase.STEADY, content_to_write=spare, reason=RotationReason.REPLACED
        )

    # Bundles hold a CA of ours: a replica that remembers its key can restore the deleted Secret.
    valid_fingerprints = _valid_fingerprints(inputs.observed, now, settings.dns_name)
    seconds_left = settings.restore_grace - inputs.missing_for
    if valid_fingerprints and parsed.is_missing and seconds_left > 0:
        waits_for = f"another replica to restore Secret {settings.namespace}/{settings.secret}"
        return RotationDecision(Phase.STEADY, waits_for=waits_for, recheck_in=seconds_left)

    is_first = parsed.is_missing and not valid_fingerprints
    reason = RotationReason.FIRST if is_first else RotationReason.REPLACED
    new = CASecret(inputs.issue_ca(), retired=unexpired(parsed.retired, now))
    return RotationDecision(Phase.STEADY, content_to_write=new, reason=reason)


def _valid_fingerprints(
    observed: ObservedConfigurations, now: dt.datetime, dns_name: str
) -> set[str]:
    """Return the fingerprints of the valid CAs of ours for *dns_name* in the bundles."""
    return {fingerprint(ca) for ca in own_cas(observed, dns_name) if is_valid(ca, now)}
