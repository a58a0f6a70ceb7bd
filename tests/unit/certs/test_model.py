"""Whole replicas against a stand-in API server, in orders that hypothesis chooses.

What may happen: rounds of either replica, with the other's rounds, faults, or the replica's end
before or after any call to the API server; API servers whose view of the webhook configurations
lags; time, and jumps of the API server's clock; watch events that never come (a replica runs only
when the machine says so, or when ``resync`` is over); replicas cut off for hours; people and tools
who delete, empty, replace and restore configurations and the Secret; requests for a rotation.

The invariant, after every single call: each served leaf verifies against the bundle of each entry
of each configuration in the view of each API server, unless the replica cannot have a leaf that
would: in that bundle is no CA whose key it has, and none of a leaf that it gave up while it was
still valid and its CA trusted. Excused is only what someone else wrote into a configuration, and
until every replica has had a round to see it; and a replica whose round has failed knows only what
it knew, until its next, which in life is due within a second.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import datetime as dt
import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from certs import CertificateManager, CertificateSettings
from certs.authority import fingerprint, is_valid, issue_ca
from certs.bundle import parse_bundle, verification_error
from certs.ca_secret import COMPROMISED, REQUEST, CASecret, parse, render
from certs.source import SecretSource
from certs.webhook_configs import API, KINDS
from dispatcher.kube.client import KubeError
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
"""In waits, rounds happen this often: less than in life, to save time, but often enough for a leaf
to be replaced in its last tenth."""

View = dict[str, tuple[bytes, ...]]


class EndOfReplicaError(BaseException):
    """The process is gone: nothing in it runs any further."""


class ViolationError(BaseException):
    """The invariant does not hold: passes through the replica, which catches every Exception."""


@dataclass
class Change:
    """The webhook configurations from one moment on."""

    at: float
    view: View


class Replica:
    """A replica, and what may befall it."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.cut_off = False
        self.stale = False
        """It was cut off, and has had no round since: it cannot know better."""
        self.failed = False
        """Its last round failed: what the Secret says since, it reads in the next."""
        self.behind = False
        """The world changed at once (a clock, a CA compromised): excused until its next round."""
        self.start()

    def start(self) -> None:
        """Start the process, whose memory is empty."""
        self.known: CASecret | None = None
        self.had: dict[str, Leaf] = {}
        """The last leaf that it served of each CA, so that giving up a good one is noticed."""
        self.excused: set[str] = set()
        """CAs whose leaves it may give up: the world changed while it served one."""
        self.manager = CertificateManager(
            self.api.client(),
            TIMES,
            monotonic=lambda: self.api.seconds,
            boot=lambda: self.api.seconds,
        )

    @property
    def leaf(self) -> Leaf | None:
        """What it serves."""
        return self.manager.leaf

    @property
    def own_cas(self) -> list[x509.Certificate]:
        """The CAs by which it has, or can make, a leaf: the Secret's too, if it can be read."""
        found = [self.leaf.ca] if self.leaf and self.leaf.ca else []
        now = self.api.now
        found += [one.ca for one in self.had.values() if one.ca and is_valid(one.certificate, now)]
        known = [self.known]
        if not self.stale and not self.failed:
            known.append(parse(self.api.objects.get(SECRET), TIMES.dns_name, self.api.now).content)
        for stored in filter(None, known):
            found.append(stored.ca.certificate)
            if stored.next and not self.stale:
                found.append(stored.next.certificate)
        return found

    def note_leaf(self) -> None:
        """Remember the leaf in use."""
        name = fingerprint(self.leaf.ca) if self.leaf and self.leaf.ca else ""
        if self.leaf and name and name not in self.excused:
            self.had[name] = self.leaf

    def excuse(self) -> None:
        """Hold the replica to nothing that it knew: the world changed at once."""
        self.behind = True
        self.note_leaf()
        self.excused |= self.had.keys()
        self.had.clear()

    def had_a_round(self, *, steady_clock: bool) -> None:
        """Note a round without errors: from now on the replica is held to what it has seen."""
        source = self.manager._source
        assert isinstance(source, SecretSource)
        self.known = source._memory
        if steady_clock and source.state.ca:
            self.behind = self.stale = False


@functools.cache
def roots(bundle: bytes) -> frozenset[str]:
    return frozenset(map(fingerprint, parse_bundle(bundle)))


@functools.cache
def verifies(chain: tuple[x509.Certificate, ...], bundle: bytes) -> bool:
    """Verify for a moment in the life of the leaf: path validation in full, done once."""
    at = chain[0].not_valid_after_utc
    return verification_error(chain, bundle, TIMES.dns_name, at) is None


def accepted(leaf: Leaf, bundle: bytes, now: dt.datetime) -> bool:
    """Tell what the API server makes of *leaf*; the CA outlives the leaf, as verified above."""
    return is_valid(leaf.certificate, now) and verifies(leaf.chain, bundle)


class Cluster(RuleBasedStateMachine):
    """Two replicas, two API servers that lag, one set of objects."""

    def __init__(self) -> None:
        super().__init__()
        self.api = Api()
        self.api.on_change = self._changed
        self.history: list[Change] = [Change(0.0, {})]
        self.servers = [0, 0]
        self.unseen: dict[str, set[int]] = {}
        self.excused_before: dict[str, int] = {}
        self.backups: list[dict[str, Any]] = []
        self.replicas: list[Replica] = []
        self.checked: tuple[Any, ...] = ()
        self.compromise_pending = False
        self.latest = 0.0
        """The clock's greatest lead so far: a CA made then ends so much later by today's clock."""

    @initialize()
    def install(self) -> None:
        """Apply the manifests and start two replicas."""
        for path, manifest in MANIFESTS.items():
            self.api.store(path, manifest)
        self.replicas = [Replica(self.api), Replica(self.api)]

    # What replicas do.

    @rule(which=st.integers(0, 1))
    def round(self, which: int) -> None:
        """Run one round."""
        self._round(which)

    @rule(count=st.integers(1, 3))
    def rounds_of_both(self, count: int) -> None:
        """Run rounds in turn."""
        for _ in range(count):
            self._round(0)
            self._round(1)

    @rule(which=st.integers(0, 1), call=st.integers(0, 8), after=st.booleans())
    def other_runs_in_between(self, which: int, call: int, *, after: bool) -> None:
        """Run a round, with one of the other replica in the middle."""
        self._round(which, at=call, after=after, then=lambda: self._round(1 - which))

    @rule(which=st.integers(0, 1), call=st.integers(0, 8), after=st.booleans())
    def replica_ends_in_a_round(self, which: int, call: int, *, after: bool) -> None:
        """End a replica before or after a call has taken effect, and start it again."""

        def end() -> None:
            raise EndOfReplicaError

        with contextlib.suppress(EndOfReplicaError):
            self._round(which, at=call, after=after, then=end)
        self.replicas[which].start()

    @rule(which=st.integers(0, 1), call=st.integers(0, 8), after=st.booleans())
    def call_fails(self, which: int, call: int, *, after: bool) -> None:
        """Let a call fail, before or after it has taken effect."""

        def fail() -> None:
            raise KubeError(0, "NoAnswer", "the connection broke")

        self._round(which, at=call, after=after, then=fail)

    @rule(which=st.integers(0, 1), cut_off=st.booleans())
    def network(self, which: int, *, cut_off: bool) -> None:
        """Cut a replica off from the API server, or let it back."""
        self.replicas[which].cut_off = cut_off
        self.replicas[which].stale |= cut_off

    @rule(which=st.integers(0, 1), call=st.integers(0, 8), seconds=st.sampled_from([1, 70, 700]))
    def replica_is_suspended_in_a_round(self, which: int, call: int, seconds: float) -> None:
        """Let time pass for all but this replica, in the middle of its round."""

        def sleep() -> None:
            self.replicas[which].behind |= seconds > TIMES.propagation
            self._pass(seconds, but=which)

        self._round(which, at=call, after=False, then=sleep)
        self._round(which)  # its watches have something to tell

    @rule(which=st.integers(0, 1), rounds=st.integers(1, 3))
    def one_runs_while_the_other_hears_nothing(self, which: int, rounds: int) -> None:
        """Let one replica go ahead for less than ``resync``, with API servers that are quick."""
        for _ in range(rounds):
            self._tick(4.5)
            self._round(which)
            self.servers = [len(self.history) - 1] * 2
            self._check()

    # What time does.

    @rule(seconds=st.sampled_from([1.0, 10.0, 14.0]))
    def a_moment_passes(self, seconds: float) -> None:
        """Let less time pass than ``resync``, without any round."""
        self._tick(seconds)

    @rule(seconds=st.sampled_from([65.0, 200.0, 700.0, 1700.0]))
    def time_passes(self, seconds: float) -> None:
        """Let time pass, with rounds."""
        self._pass(seconds)

    @rule(server=st.integers(0, 1), by=st.integers(1, 5))
    def server_catches_up(self, server: int, by: int) -> None:
        """Let an API server learn of the next changes."""
        self.servers[server] = min(len(self.history) - 1, self.servers[server] + by)

    @rule(seconds=st.sampled_from([-5000.0, -400.0, -20.0, 20.0, 400.0, 5000.0]))
    def clock_of_the_api_server_jumps(self, seconds: float) -> None:
        """Set the clock of the API servers."""
        self.api.jumped += seconds
        self.latest = max(self.latest, self.api.jumped)
        for replica in self.replicas:
            replica.excuse()

    # What people and tools do.

    @rule(compromised=st.booleans())
    def rotation_is_asked_for(self, *, compromised: bool) -> None:
        """Ask, as ``python -m certs rotate`` does."""
        if SECRET in self.api.objects:
            secret = self.api.objects[SECRET]
            value = COMPROMISED if compromised else "requested"
            secret["metadata"].setdefault("annotations", {})[REQUEST] = value
            self.api.store(SECRET, secret)

    @rule()
    def rotation_is_about_to_be_promoted(self) -> None:
        """Go to where the next round, of whichever replica, finds that all have waited enough."""
        self.rotation_is_asked_for(compromised=False)
        self.rounds_of_both(2)
        self._pass(TICK)
        self._tick(12.0)

    @rule(
        what=st.sampled_from(
            [
                "delete",
                "delete the other",
                "apply",
                "apply the next release",
                "apply another",
                "apply old bundles",
            ]
        ),
        back=st.integers(1, 10),
    )
    def someone_changes_configurations(self, what: str, back: int) -> None:
        """Do to configurations what kubectl, Helm and GitOps do."""
        if what == "delete":
            self.api.remove(MUTATING)
        elif what == "delete the other":
            self.api.remove(VALIDATING)
        elif what == "apply":
            self._write(MUTATING, MANIFESTS[MUTATING])
        elif what == "apply the next release":
            self._write(MUTATING, RENAMED)
        elif what == "apply another":
            self._write(EXTRA, configuration("extra", "extra.cni-genie.io", bundle="Cg=="))
        else:
            self._apply_old_bundles(VALIDATING, back)

    @rule(
        what=st.sampled_from(
            [
                "delete",
                "keep a backup",
                "restore a backup",
                "swap keys",
                "restore another cluster's",
            ]
        )
    )
    def someone_changes_the_secret(self, what: str) -> None:
        """Do to the Secret what people do."""
        secret = copy.deepcopy(self.api.objects.get(SECRET))
        if what == "restore a backup" and self.backups:
            self.api.store(SECRET, self.backups[-1])
        if secret is None:
            return
        if what == "delete":
            self.api.remove(SECRET)
        elif what == "restore another cluster's":
            ca = issue_ca(
                TIMES.dns_name, now=self.api.now, lifetime=TIMES.ca_lifetime, backdating=30
            )
            self.api.store(SECRET, render(CASecret(ca), secret, name="", namespace=""))
        elif what == "keep a backup":
            self.backups.append(secret)
        elif what == "swap keys":
            data = secret["data"]
            data["ca.key"], data["next.key"] = data.get("next.key", ""), data.get("ca.key", "")
            self.api.store(SECRET, secret)

    @rule(
        key=st.sampled_from(["ca.crt", "ca.key", "next.crt", "next.key", "previous.crt", "state"]),
        value=st.sampled_from(["", "bm9uc2Vuc2U=", "no base64", None]),
    )
    def someone_edits_the_secret(self, key: str, value: str | None) -> None:
        """Truncate, damage or drop a key."""
        if SECRET in self.api.objects:
            secret = copy.deepcopy(self.api.objects[SECRET])
            secret["data"].pop(key, None)
            if value is not None:
                secret["data"][key] = value
            self.api.store(SECRET, secret)

    # What holds.

    @invariant()
    def every_leaf_is_trusted(self) -> None:
        """Hold the invariant against the state between rules, too."""
        self._check()

    def teardown(self) -> None:
        """Left alone, the cluster heals: every replica serves a leaf that every bundle covers."""
        if not self.replicas:
            return
        for replica in self.replicas:
            replica.cut_off = False
        self._pass(2 * TIMES.propagation + 3 * TICK)
        for replica in self.replicas:
            assert replica.leaf
            for view in (self.history[position].view for position in self.servers):
                for path, bundles in view.items():
                    for bundle in bundles:
                        assert accepted(replica.leaf, bundle, self.api.now), (
                            f"{path} trusts {roots(bundle)}, the leaf is {replica.leaf}, "
                            f"waiting for {replica.manager._source.state.waits_for}"
                        )
        before = self.api.objects[SECRET]["data"]["ca.crt"]
        self._pass(TIMES.ca_lifetime + TIMES.leaf_lifetime + self.latest - self.api.jumped)
        after = self.api.objects[SECRET]["data"]["ca.crt"]
        assert before != after, "no rotation in the life of a CA"
        for bundles in self.history[-1].view.values():
            for bundle in bundles:
                assert len(roots(bundle)) <= 2

    # How it is done.

    def _apply_old_bundles(self, path: str, back: int) -> None:
        bundles = self.history[max(0, len(self.history) - 1 - back)].view.get(path)
        if bundles and path in self.api.objects:
            found = copy.deepcopy(self.api.objects[path])
            for entry, bundle in zip(found["webhooks"], bundles, strict=False):
                entry["clientConfig"]["caBundle"] = base64.b64encode(bundle).decode()
            self._write(path, found)

    def _round(
        self,
        which: int,
        *,
        at: int = -1,
        after: bool = False,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """Run a round; at its call number *at*, before or after it took effect, do *then*."""
        replica = self.replicas[which]
        hooks = self.api.before, self.api.after
        calls = 0

        def before(_method: str, _path: str) -> None:
            nonlocal calls
            calls += 1
            outside(then if calls - 1 == at and not after else None)
            if replica.cut_off:
                raise KubeError(0, "NoAnswer", "the API server is not reachable")

        def done(_method: str, _path: str) -> None:
            outside(then if calls - 1 == at and after else None)

        def outside(what: Callable[[], None] | None) -> None:
            self.api.before, self.api.after = hooks
            try:
                self._check()
                if what:
                    what()
            except AssertionError as error:
                raise ViolationError(error) from None
            finally:
                self.api.before, self.api.after = before, done

        self.api.before, self.api.after = before, done
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
            self._had_a_round(which, started)
            replica.had_a_round(steady_clock=self.api.jumped == jumped)
        self._check()

    def _pass(self, seconds: float, *, but: int | None = None) -> None:
        """Let time pass with rounds every so often, of all replicas but one."""
        while seconds > 0:
            tick = self._to_next_rounds()
            self._tick(min(tick, seconds))
            seconds -= tick
            for which in range(len(self.replicas)):
                if which != but:
                    self._round(which)

    def _to_next_rounds(self) -> float:
        """Return how long replicas wait: as in life where a CA is about to end."""
        last = TICK + 2 * TIMES.resync
        leaves = [replica.leaf for replica in self.replicas]
        ends = [leaf.ca.not_valid_after_utc for leaf in leaves if leaf and leaf.ca]
        ending = any(0 < (end - self.api.now).total_seconds() < last for end in ends)
        return TIMES.resync if ending else TICK

    def _tick(self, seconds: float) -> None:
        self.api.seconds += seconds
        latest = len(self.history) - 1
        while latest and self.history[latest].at > self.api.seconds - LAG:
            latest -= 1
        self.servers = [max(position, latest) for position in self.servers]

    def _changed(self, path: str) -> None:
        if path == SECRET:
            self._note_compromise()
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

    def _note_compromise(self) -> None:
        """Excuse everyone when a request to do without an overlap is carried out."""
        metadata = self.api.objects.get(SECRET, {}).get("metadata", {})
        pending = metadata.get("annotations", {}).get(REQUEST) == COMPROMISED
        if self.compromise_pending and not pending:
            for replica in self.replicas:
                replica.excuse()
        self.compromise_pending = pending

    def _write(self, path: str, found: dict[str, Any]) -> None:
        """Write a configuration as someone else: excused until each replica has had a round."""
        self.unseen[path] = set(range(len(self.replicas)))
        self.excused_before[path] = len(self.history) + 10**6
        self.api.store(path, found)

    def _had_a_round(self, which: int, started: int) -> None:
        for path, waiting in self.unseen.items():
            waiting.discard(which)
            if not waiting and self.excused_before[path] > started + 10**5:
                self.excused_before[path] = len(self.history) - 1

    def _check(self) -> None:
        """Hold every served leaf against every view, unless nothing changed since the last time."""
        for replica in self.replicas:
            replica.note_leaf()
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
                            self._check_one(replica, replica.leaf, bundle)

    def _check_one(self, replica: Replica, leaf: Leaf, bundle: bytes) -> None:
        now = self.api.now
        if accepted(leaf, bundle, now):
            return
        # A CA that ends before the next look but one is given up for any other.
        soon = now + dt.timedelta(seconds=2 * TIMES.resync)
        possible = [
            fingerprint(one)[:8]
            for one in replica.own_cas
            if is_valid(one, now) and is_valid(one, soon) and fingerprint(one) in roots(bundle)
        ]
        assert not possible, (
            f"a leaf is not covered by {[name[:8] for name in roots(bundle)]}; "
            f"it could be one of {possible}"
        )


def test_no_order_of_events_leaves_a_leaf_uncovered_and_every_one_heals() -> None:
    """Whatever happens in whatever order, the invariant of this module holds, and then it heals."""
    run_state_machine_as_test(
        Cluster,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
