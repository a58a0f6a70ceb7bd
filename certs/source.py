"""Where certificates come from: what a source is, and the one that keeps a CA in a Secret.

The manager owns the order (observe, let the source take its step, write bundles, serve); a source
knows which CAs to trust and which leaf to serve. The other source is :mod:`certs.file_source`.
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from certs.authority import KeyPair, fingerprint, is_expired, is_own_ca, issue_ca
from certs.ca_secret import CASecret, parse
from certs.leaf import Leaf, make_leaf, replacement_reason
from certs.rotation import (
    Phase,
    RotationDecision,
    RotationInput,
    RotationReason,
    decide,
    is_out_of_date,
)
from dispatcher.kube.client import KubeError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Collection

    from cryptography import x509

    from certs.kube_store import SecretStore
    from certs.settings import CertificateSettings
    from certs.webhook_configs import ObservedConfigurations

log = structlog.get_logger("certs")


@dataclass(frozen=True, slots=True)
class BundlePublication:
    """What the bundles must hold and must not, and how ours are told from foreign ones."""

    trusted: tuple[x509.Certificate, ...]
    retired: Collection[str]
    is_own: Callable[[x509.Certificate], bool]


@dataclass(frozen=True, slots=True)
class SourceState:
    """Where a source stands, for people and metrics.

    *again_in* is after how many seconds at the latest it wants to take its next step, *failure*
    what it could not do in the last one, though it could go on.
    """

    phase: Phase | None = None
    ca: x509.Certificate | None = None
    waits_for: str = ""
    again_in: float = math.inf
    failure: KubeError | None = None


class CertificateSource(Protocol):
    """Decides what to trust and what to serve."""

    state: SourceState

    def reconcile(
        self, observed: ObservedConfigurations, leaf: Leaf | None
    ) -> BundlePublication | None:
        """Take the steps that are due; returns what to publish, None: nothing.

        *leaf* is what this replica serves. Raises :class:`~dispatcher.kube.client.KubeError`.
        """
        ...

    def next_leaf(
        self, leaf: Leaf | None, observed: ObservedConfigurations
    ) -> tuple[Leaf, str] | None:
        """Return the leaf to serve instead of *leaf*, and why; None: *leaf* stays."""
        ...

    def offline_leaf(self, leaf: Leaf | None) -> tuple[Leaf, str] | None:
        """Do the same while the API server does not answer."""
        ...


class SecretSource:
    """Keeps the CA in a Secret that all replicas share, and signs this replica's leaves."""

    def __init__(
        self,
        store: SecretStore,
        settings: CertificateSettings,
        *,
        now: Callable[[], dt.datetime],
        wrote: Callable[[RotationReason], None],
        monotonic: Callable[[], float] = time.monotonic,
        early: Callable[[], float] = random.random,
    ) -> None:
        self.state = SourceState()
        self._store = store
        self._settings = settings
        self._now = now
        self._wrote = wrote
        self._monotonic = monotonic
        self._early = early
        self._memory: CASecret | None = None
        self._decision: RotationDecision | None = None
        self._missing_since: float | None = None

    def reconcile(
        self, observed: ObservedConfigurations, leaf: Leaf | None
    ) -> BundlePublication | None:
        """Read the Secret and take the step that is due.

        A Secret that cannot be written keeps neither bundles nor leaf from what it says, or from
        what it would say if it could be restored.
        """
        found = self._store.read()
        # Never earlier than the reading: a CA made a moment ago must not seem not yet valid.
        now = self._now()
        decision, problems = self._decide(found, observed, now)
        failure: KubeError | None = None
        if decision.write is not None:
            try:
                stored = self._store.write(
                    decision.write, found, drop_request=decision.drops_request
                )
            except KubeError as error:
                failure = error
                decision = _unwritten(decision)
            else:
                self._tell(decision, problems)
                # One step a round: should the next be due already, the watch wakes us for it.
                decision, _ = self._decide(stored, observed, now)
        self._decision = decision
        ca = decision.signer.certificate if decision.signer else None
        self.state = SourceState(decision.phase, ca, decision.waits_for, decision.again_in, failure)
        return self._publication(decision, leaf, observed, now) if decision.signer else None

    def _decide(
        self, found: dict[str, Any] | None, observed: ObservedConfigurations, now: dt.datetime
    ) -> tuple[RotationDecision, tuple[str, ...]]:
        reading = parse(found, self._settings.dns_name, now)
        situation = RotationInput(
            reading,
            observed,
            now,
            self._settings,
            mint=lambda: self._mint(now),
            memory=self._memory,
            missing_for=self._missing_for(present=found is not None),
        )
        decision = decide(situation)
        if reading.stored and not reading.problems:
            self._memory = reading.stored
        return decision, reading.problems

    def next_leaf(
        self, leaf: Leaf | None, observed: ObservedConfigurations
    ) -> tuple[Leaf, str] | None:
        """Make a leaf by the CA that signs, if one is wanted."""
        decision = self._decision
        if decision is None or decision.signer is None:
            return None
        now = self._now()
        why = replacement_reason(leaf, decision, observed, now, self._settings)
        return (self._make(decision.signer, now), why) if why else None

    def offline_leaf(self, leaf: Leaf | None) -> tuple[Leaf, str] | None:
        """Make a leaf by the CA in memory, if *leaf* is about to expire."""
        if leaf is None or self._memory is None:
            return None
        ca, now, expiry = self._memory.ca, self._now(), leaf.certificate.not_valid_after_utc
        left = (expiry - now).total_seconds()
        if is_expired(ca.certificate, now) or left > self._settings.last_part:
            return None
        if expiry >= ca.certificate.not_valid_after_utc:
            return None  # no leaf of this CA lives longer
        return self._make(ca, now), "it expires and the API server cannot be asked"

    def _publication(
        self,
        decision: RotationDecision,
        leaf: Leaf | None,
        observed: ObservedConfigurations,
        now: dt.datetime,
    ) -> BundlePublication:
        """Publish what the Secret says, and the CA of the leaf in use until it is given up."""
        name = self._settings.dns_name
        trusted = {fingerprint(one): one for one in decision.trusted}
        if leaf and leaf.ca and not is_out_of_date(leaf.ca, observed, now, name):
            trusted.setdefault(fingerprint(leaf.ca), leaf.ca)
        return BundlePublication(
            tuple(trusted.values()), decision.retired.keys(), lambda one: is_own_ca(one, name)
        )

    def _mint(self, now: dt.datetime) -> KeyPair:
        return issue_ca(
            self._settings.dns_name,
            now=now,
            lifetime=self._settings.ca_lifetime,
            backdating=self._settings.backdating,
        )

    def _make(self, ca: KeyPair, now: dt.datetime) -> Leaf:
        return make_leaf(ca, now, self._settings, early=self._early())

    def _missing_for(self, *, present: bool) -> float:
        if present:
            self._missing_since = None
            return 0.0
        if self._missing_since is None:
            self._missing_since = self._monotonic()
        return self._monotonic() - self._missing_since

    def _tell(self, decision: RotationDecision, problems: tuple[str, ...]) -> None:
        if decision.cause is None or decision.write is None:
            return
        self._wrote(decision.cause)
        ca = fingerprint(decision.write.ca.certificate)
        following = decision.write.next
        log.info(
            "Secret written",
            cause=decision.cause.value,
            problems=list(problems),
            ca=ca[:16],
            next_ca=fingerprint(following.certificate)[:16] if following else None,
        )


def _unwritten(decision: RotationDecision) -> RotationDecision:
    """Return what holds where the Secret could not be written: as it was read, or from memory."""
    if decision.cause is not RotationReason.RESTORED or decision.write is None:
        return decision
    known = decision.write
    return replace(decision, signer=known.ca, trusted=known.trusted, retired=known.retired)
