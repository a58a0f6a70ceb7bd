"""The world of the property test: replicas, API servers that lag, and the invariant.

The invariant, after every single call: each served leaf verifies against the bundle of each entry
of each configuration in the view of each API server. Exceptions:

* The replica cannot have a leaf that would verify: the bundle holds no CA whose key it has, and
  none of a leaf that it gave up while that was still valid and its CA trusted.
* Another program wrote the configuration, and not every replica has reconciled since.
* The replica's last reconciliation failed: it knows what it knew before, until the next one, which
  in life is due within a second.
"""

from __future__ import annotations

import base64
import copy
import datetime as dt
import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypothesis import event
from hypothesis.stateful import RuleBasedStateMachine

from certs import CertificateManager, CertificateSettings
from certs.authority import fingerprint, is_valid
from certs.bundle import parse_bundle, verification_error
from certs.ca_secret import COMPROMISED, REQUEST, CASecret, parse
from certs.source import SecretSource
from certs.webhook_configs import API, KINDS
from dispatcher.kube.errors import KubeError
from tests.unit.apiserver import Api, configuration

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography import x509

    from certs.leaf import Leaf

TIMES = CertificateSettings(
    ca_lifetime=2400,
    leaf_lifetime=600,
    backdating=30,
    propagation=60,
    retire_margin=30,
    resync=15,
    restore_grace=5,
)
LAG = 50.0
"""An API server's view is at most this old: less than ``propagation``, or nothing can be right."""

SECRET = f"/api/v1/namespaces/{TIMES.namespace}/secrets/{TIMES.secret}"
MUTATING, VALIDATING = (f"{API}{kind}/cni-genie" for kind in KINDS)
EXTRA = f"{API}{KINDS[1]}/extra"
MANIFESTS = {
    MUTATING: configuration("cni-genie", "annotated.cni-genie.io", "defaulted.cni-genie.io"),
    VALIDATING: configuration("cni-genie", "namespaces.cni-genie.io"),
}
RENAMED = configuration("cni-genie", "annotated.cni-genie.io", "update.cni-genie.io")
TICK = 50.0
"""While time passes, replicas reconcile this often: less than in life, to save time, but often
enough for a leaf to be replaced in its last tenth."""

View = dict[str, tuple[bytes, ...]]


class EndOfReplicaError(BaseException):
    """The process of the replica ended."""


class ViolationError(BaseException):
    """The invariant does not hold: passes through the replica, which catches every Exception."""


@dataclass
class Change:
    """The webhook configurations from one moment on."""

    at: float
    view: View


class ModelReplica:
    """A replica, and what the invariant may expect of it."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.cut_off = False
        self.stale = False
        """It was cut off, and has not reconciled since: it may know old CAs only."""
        self.failed = False
        """Its last reconciliation failed: it reads changes of the Secret in the next."""
        self.behind = False
        """A clock jumped or a CA was compromised: excused until its next reconciliation."""
        self.start()

    def start(self) -> None:
        """Start the process, whose memory is empty."""
        self.memory: CASecret | None = None
        self.leaves: dict[str, Leaf] = {}
        """The last leaf that it served of each CA, to detect that it gave up a good one."""
        self.excused: set[str] = set()
        """CAs whose leaves it may give up, because a clock jumped or a CA was compromised."""
        self.manager = CertificateManager(
            self.api.client(),
            TIMES,
            monotonic=lambda: self.api.seconds,
            boot=lambda: self.api.seconds,
        )

    @property
    def leaf(self) -> Leaf | None:
        """The leaf that it serves."""
        return self.manager.leaf

    @property
    def own_cas(self) -> list[x509.Certificate]:
        """The CAs of which it has, or can issue, a leaf; the Secret's too, if it can be read."""
        cas = [self.leaf.ca] if self.leaf and self.leaf.ca else []
        now = self.api.now
        cas += [
            leaf.ca for leaf in self.leaves.values() if leaf.ca and is_valid(leaf.certificate, now)
        ]
        contents = [self.memory]
        if not self.stale and not self.failed:
            contents.append(parse(self.api.objects.get(SECRET), TIMES.dns_name, now).content)
        for content in filter(None, contents):
            cas.append(content.ca.certificate)
            if content.next and not self.stale:
                cas.append(content.next.certificate)
        return cas

    def record_leaf(self) -> None:
        """Record the served leaf."""
        name = fingerprint(self.leaf.ca) if self.leaf and self.leaf.ca else ""
        if self.leaf and name and name not in self.excused:
            self.leaves[name] = self.leaf

    def excuse(self) -> None:
        """Expect nothing of what the replica knew: a clock jumped or a CA was compromised."""
        self.behind = True
        self.record_leaf()
        self.excused |= self.leaves.keys()
        self.leaves.clear()

    def record_reconciliation(self, *, steady_clock: bool) -> None:
        """Record a reconciliation without errors: from now on, expect what the replica has seen."""
        source = self.manager._source
        assert isinstance(source, SecretSource)
        self.memory = source._memory
        if steady_clock and source.state.ca:
            self.behind = self.stale = False


@functools.cache
def roots(bundle: bytes) -> frozenset[str]:
    """Return the fingerprints in *bundle*."""
    return frozenset(map(fingerprint, parse_bundle(bundle)))


@functools.cache
def verifies(chain: tuple[x509.Certificate, ...], bundle: bytes) -> bool:
    """Validate the whole path once, at a moment in the life of the leaf."""
    at = chain[0].not_valid_after_utc
    return verification_error(chain, bundle, TIMES.dns_name, at) is None


def accepted(leaf: Leaf, bundle: bytes, now: dt.datetime) -> bool:
    """Tell whether the API server accepts *leaf*; no leaf is valid for longer than its CA."""
    return is_valid(leaf.certificate, now) and verifies(leaf.chain, bundle)


class RotationWorld(RuleBasedStateMachine):
    """Two replicas, two API servers that lag, one set of objects; the rules are in test_model."""

    def __init__(self) -> None:
        super().__init__()
        self.api = Api()
        self.api.on_change = self._record_change
        self.history: list[Change] = [Change(0.0, {})]
        self.servers = [0, 0]
        self.unseen: dict[str, set[int]] = {}
        self.excused_before: dict[str, int] = {}
        self.backups: list[dict[str, Any]] = []
        self.replicas: list[ModelReplica] = []
        self.checked: tuple[Any, ...] = ()
        self.compromise_pending = False
        self.latest = 0.0
        """The largest jump of the clock so far: a CA issued then expires so much later."""

    def apply_old_bundles(self, path: str, back: int) -> None:
        """Write the bundles of *back* changes ago into the configuration at *path*."""
        bundles = self.history[max(0, len(self.history) - 1 - back)].view.get(path)
        if bundles and path in self.api.objects:
            item = copy.deepcopy(self.api.objects[path])
            for entry, bundle in zip(item["webhooks"], bundles, strict=False):
                entry["clientConfig"]["caBundle"] = base64.b64encode(bundle).decode()
            self.write_as_other(path, item)

    def reconcile(
        self,
        which: int,
        *,
        at: int = -1,
        after: bool = False,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """Reconcile; at the call with the number *at*, before or after its effect, do *then*."""
        replica = self.replicas[which]
        hooks = self.api.before, self.api.after
        calls = 0

        def before(_method: str, _path: str) -> None:
            nonlocal calls
            calls += 1
            interrupt(then if calls - 1 == at and not after else None)
            if replica.cut_off:
                raise KubeError(0, "NoAnswer", "the API server is not reachable")

        def after_call(_method: str, _path: str) -> None:
            interrupt(then if calls - 1 == at and after else None)

        def interrupt(action: Callable[[], None] | None) -> None:
            self.api.before, self.api.after = hooks
            try:
                self.check()
                if action:
                    action()
            except AssertionError as error:
                raise ViolationError(error) from None
            finally:
                self.api.before, self.api.after = before, after_call

        self.api.before, self.api.after = before, after_call
        started = len(self.history)
        jumped = self.api.jumped
        try:
            complete = replica.manager.reconcile()
        except ViolationError as violation:
            raise violation.args[0] from None
        finally:
            self.api.before, self.api.after = hooks
        event(f"{replica.manager._source.state.phase}")
        replica.failed = not complete
        if complete and math.isinf(replica.manager._write_backoff.seconds_to_next_write()):
            self._record_reconciliation(which, started)
            replica.record_reconciliation(steady_clock=self.api.jumped == jumped)
        self.check()

    def pass_time(self, seconds: float, *, but: int | None = None) -> None:
        """Let time pass while all replicas but one reconcile every :data:`TICK`."""
        while seconds > 0:
            tick = self._seconds_to_next()
            self.tick(min(tick, seconds))
            seconds -= tick
            for which in range(len(self.replicas)):
                if which != but:
                    self.reconcile(which)

    def _seconds_to_next(self) -> float:
        """Return how long replicas wait: as in life, if a CA is about to expire."""
        last = TICK + 2 * TIMES.resync
        leaves = [replica.leaf for replica in self.replicas]
        ends = [leaf.ca.not_valid_after_utc for leaf in leaves if leaf and leaf.ca]
        ending = any(0 < (end - self.api.now).total_seconds() < last for end in ends)
        return TIMES.resync if ending else TICK

    def tick(self, seconds: float) -> None:
        """Let time pass without a reconciliation; API servers lag by :data:`LAG` at most."""
        self.api.seconds += seconds
        latest = len(self.history) - 1
        while latest and self.history[latest].at > self.api.seconds - LAG:
            latest -= 1
        self.servers = [max(position, latest) for position in self.servers]

    def _record_change(self, path: str) -> None:
        if path == SECRET:
            self._excuse_compromise()
        if not path.startswith(API):
            return
        view = dict(self.history[-1].view)
        view.pop(path, None)
        if path in self.api.objects:
            view[path] = tuple(
                base64.b64decode(entry["clientConfig"].get("caBundle", ""))
                for entry in self.api.objects[path]["webhooks"]
            )
        self.history.append(Change(self.api.seconds, view))

    def _excuse_compromise(self) -> None:
        """Excuse all replicas when a rotation without an overlap is carried out."""
        metadata = self.api.objects.get(SECRET, {}).get("metadata", {})
        pending = metadata.get("annotations", {}).get(REQUEST) == COMPROMISED
        if self.compromise_pending and not pending:
            for replica in self.replicas:
                replica.excuse()
        self.compromise_pending = pending

    def write_as_other(self, path: str, item: dict[str, Any]) -> None:
        """Write a configuration as another program: excused until each replica has reconciled."""
        self.unseen[path] = set(range(len(self.replicas)))
        self.excused_before[path] = len(self.history) + 10**6
        self.api.store(path, item)

    def _record_reconciliation(self, which: int, started: int) -> None:
        for path, waiting in self.unseen.items():
            waiting.discard(which)
            if not waiting and self.excused_before[path] > started + 10**5:
                self.excused_before[path] = len(self.history) - 1

    def check(self) -> None:
        """Check every served leaf against every view, unless nothing has changed."""
        for replica in self.replicas:
            replica.record_leaf()
        leaves = [replica.leaf for replica in self.replicas]
        state = (self.api.now, tuple(self.servers), len(self.history), tuple(map(id, leaves)))
        if state == self.checked:
            return
        self.checked = state
        views = [self.history[position].view for position in self.servers]
        for replica in self.replicas:
            if replica.leaf is None or replica.behind:
                continue
            for position, view in zip(self.servers, views, strict=True):
                for path, bundles in view.items():
                    if position >= self.excused_before.get(path, 0):
                        for bundle in bundles:
                            self._check_leaf(replica, replica.leaf, bundle)

    def _check_leaf(self, replica: ModelReplica, leaf: Leaf, bundle: bytes) -> None:
        now = self.api.now
        if accepted(leaf, bundle, now):
            return
        # A CA that expires before the next reconciliation but one is given up for any other.
        soon = now + dt.timedelta(seconds=2 * TIMES.resync)
        possible = [
            fingerprint(ca)[:8]
            for ca in replica.own_cas
            if is_valid(ca, now) and is_valid(ca, soon) and fingerprint(ca) in roots(bundle)
        ]
        assert not possible, (
            f"a leaf is not covered by {[name[:8] for name in roots(bundle)]}; "
            f"it could be one of {possible}"
        )
