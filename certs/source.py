"""Certificate sources: the protocol, and the source that keeps a CA in a Secret.

The manager owns the order (observe, reconcile the source, write bundles, serve); a source decides
which CAs to trust and which leaf to serve. The other source is :mod:`certs.file_source`.
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
from certs.rotation import RotationDecision, decide, is_out_of_date
from certs.transitions import Phase, RotationInput, RotationReason
from dispatcher.kube.errors import KubeError

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
    """What every bundle must hold (*trusted*) and must not hold (*retired*, fingerprints).

    *is_own* recognises certificates that may be removed from a bundle.
    """

    trusted: tuple[x509.Certificate, ...]
    retired: Collection[str]
    is_own: Callable[[x509.Certificate], bool]


@dataclass(frozen=True, slots=True)
class SourceState:
    """The state of a source, for people and metrics.

    *recheck_in* is after how many seconds at the latest the source must be reconciled again,
    *failure* is an error of the last reconciliation that did not end it.
    """

    phase: Phase | None = None
    ca: x509.Certificate | None = None
    waits_for: str = ""
    recheck_in: float = math.inf
    failure: KubeError | None = None


class CertificateSource(Protocol):
    """Decides which CAs the bundles hold and which leaf this replica serves."""

    state: SourceState

    def reconcile(
        self, observed: ObservedConfigurations, leaf: Leaf | None
    ) -> BundlePublication | None:
        """Take the steps that are due; return what to publish, None: nothing.

        *leaf* is what this replica serves. Raises :class:`~dispatcher.kube.errors.KubeError`.
        """
        ...

    def next_leaf(
        self, leaf: Leaf | None, observed: ObservedConfigurations
    ) -> tuple[Leaf, str] | None:
        """Return the leaf to serve instead of *leaf*, and why; None: *leaf* stays."""
        ...

    def offline_leaf(self, leaf: Leaf | None) -> tuple[Leaf, str] | None:
        """Do the same as :meth:`next_leaf` while the API server does not answer."""
        ...


class SecretSource:
    """Keeps the CA in a Secret that all replicas share, and signs this replica's leaves.

    *early* returns a random part, from 0 to 1, of the setting ``jitter``: each leaf is renewed
    earlier by that, so that replicas that started together do not renew together.
    """

    def __init__(
        self,
        store: SecretStore,
        settings: CertificateSettings,
        *,
        now: Callable[[], dt.datetime],
        on_write: Callable[[RotationReason], None],
        monotonic: Callable[[], float] = time.monotonic,
        early: Callable[[], float] = random.random,
    ) -> None:
        self.state = SourceState()
        self._store = store
        self._settings = settings
        self._now = now
        self._on_write = on_write
        self._monotonic = monotonic
        self._early = early
        self._memory: CASecret | None = None
        self._decision: RotationDecision | None = None
        self._missing_since: float | None = None

    def reconcile(
        self, observed: ObservedConfigurations, leaf: Leaf | None
    ) -> BundlePublication | None:
        """Read the Secret and take the step of the rotation that is due.

        If the Secret cannot be written, bundles and leaf still follow what it says, or what it
        would say if it could be restored.
        """
        secret = self._store.read()
        # Not before the Secret is read: a CA issued a moment ago must not seem not yet valid.
        now = self._now()
        decision, problems = self._decide(secret, observed, now)

        failure: KubeError | None = None
        if decision.content_to_write is not None:
            try:
                written = self._store.write(
                    decision.content_to_write, secret, drop_request=decision.drops_request
                )
            except KubeError as error:
                failure = error
                decision = _without_write(decision)
            else:
                self._report_write(decision, problems)
                # One step per reconciliation: if the next is due already, the watch on the Secret
                # causes another one at once.
                decision, _ = self._decide(written, observed, now)

        self._decision = decision
        ca = decision.signer.certificate if decision.signer else None
        self.state = SourceState(
            decision.phase, ca, decision.waits_for, decision.recheck_in, failure
        )
        return self._publication(decision, leaf, observed, now) if decision.signer else None

    def next_leaf(
        self, leaf: Leaf | None, observed: ObservedConfigurations
    ) -> tuple[Leaf, str] | None:
        """Issue a leaf signed by the current CA, if *leaf* must be replaced."""
        decision = self._decision
        if decision is None or decision.signer is None:
            return None

        now = self._now()
        reason = replacement_reason(leaf, decision, observed, now, self._settings)
        return (self._make_leaf(decision.signer, now), reason) if reason else None

    def offline_leaf(self, leaf: Leaf | None) -> tuple[Leaf, str] | None:
        """Issue a leaf signed by the CA in memory, if *leaf* is about to expire."""
        if leaf is None or self._memory is None:
            return None

        ca, now = self._memory.ca, self._now()
        if is_expired(ca.certificate, now) or leaf.seconds_left(now) > self._settings.last_part:
            return None
        if leaf.certificate.not_valid_after_utc >= ca.certificate.not_valid_after_utc:
            return None  # no leaf of this CA would be valid for longer
        return self._make_leaf(ca, now), "the old leaf expires and the API server does not answer"

    def _decide(
        self, secret: dict[str, Any] | None, observed: ObservedConfigurations, now: dt.datetime
    ) -> tuple[RotationDecision, tuple[str, ...]]:
        parsed = parse(secret, self._settings.dns_name, now)
        inputs = RotationInput(
            parsed,
            observed,
            now,
            self._settings,
            issue_ca=lambda: self._issue_ca(now),
            memory=self._memory,
            missing_for=self._missing_for(present=not parsed.is_missing),
        )
        decision = decide(inputs)
        if parsed.content and not parsed.problems:
            self._memory = parsed.content
        return decision, parsed.problems

    def _publication(
        self,
        decision: RotationDecision,
        leaf: Leaf | None,
        observed: ObservedConfigurations,
        now: dt.datetime,
    ) -> BundlePublication:
        """Publish the CAs of the Secret, and the CA of the served leaf until it is replaced."""
        dns_name = self._settings.dns_name
        trusted = {fingerprint(ca): ca for ca in decision.trusted}
        if leaf and leaf.ca and not is_out_of_date(leaf.ca, observed, now, dns_name):
            trusted.setdefault(fingerprint(leaf.ca), leaf.ca)
        return BundlePublication(
            tuple(trusted.values()), decision.retired.keys(), lambda ca: is_own_ca(ca, dns_name)
        )

    def _issue_ca(self, now: dt.datetime) -> KeyPair:
        return issue_ca(
            self._settings.dns_name,
            now=now,
            lifetime=self._settings.ca_lifetime,
            backdating=self._settings.backdating,
        )

    def _make_leaf(self, ca: KeyPair, now: dt.datetime) -> Leaf:
        return make_leaf(ca, now, self._settings, early=self._early())

    def _missing_for(self, *, present: bool) -> float:
        if present:
            self._missing_since = None
            return 0.0
        if self._missing_since is None:
            self._missing_since = self._monotonic()
        return self._monotonic() - self._missing_since

    def _report_write(self, decision: RotationDecision, problems: tuple[str, ...]) -> None:
        if decision.reason is None or decision.content_to_write is None:
            return

        self._on_write(decision.reason)
        next_ca = decision.content_to_write.next
        log.info(
            "Secret written",
            cause=decision.reason.value,
            problems=list(problems),
            ca=fingerprint(decision.content_to_write.ca.certificate)[:16],
            next_ca=fingerprint(next_ca.certificate)[:16] if next_ca else None,
        )


def _without_write(decision: RotationDecision) -> RotationDecision:
    """Return what holds where the Secret cannot be written: as it was read, or from memory."""
    if decision.reason is not RotationReason.RESTORED or decision.content_to_write is None:
        return decision
    memory = decision.content_to_write
    return replace(decision, signer=memory.ca, trusted=memory.trusted, retired=memory.retired)
