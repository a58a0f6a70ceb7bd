"""Whole replicas against a stand-in API server, in orders that hypothesis chooses.

What may happen: reconciliations of either replica, with the other's, faults, or the replica's end
before or after any call to the API server; API servers whose view of the webhook configurations
lags; time, and jumps of the API server's clock; watch events that never come (a replica reconciles
only when a rule says so, or when ``resync`` is over); replicas cut off for hours; people and tools
that delete, empty, replace and restore configurations and the Secret; requests for a rotation.

The invariant is described and checked in :mod:`tests.unit.certs.model`.
"""

from __future__ import annotations

import contextlib
import copy

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule, run_state_machine_as_test

from certs.authority import issue_ca
from certs.ca_secret import COMPROMISED, REQUEST, CASecret, render
from dispatcher.kube.errors import KubeError
from tests.unit.apiserver import configuration
from tests.unit.certs.model import (
    EXTRA,
    MANIFESTS,
    MUTATING,
    RENAMED,
    SECRET,
    TICK,
    TIMES,
    VALIDATING,
    EndOfReplicaError,
    ModelReplica,
    RotationWorld,
    accepted,
    roots,
)


class RotationMachine(RotationWorld):
    """Everything that may happen, as rules."""

    @initialize()
    def install(self) -> None:
        """Apply the manifests and start two replicas."""
        for path, manifest in MANIFESTS.items():
            self.api.store(path, manifest)
        self.replicas = [ModelReplica(self.api), ModelReplica(self.api)]

    # What replicas do.

    @rule(which=st.integers(0, 1))
    def replica_reconciles(self, which: int) -> None:
        """Reconcile once."""
        self.reconcile(which)

    @rule(count=st.integers(1, 3))
    def both_reconcile(self, count: int) -> None:
        """Reconcile in turn."""
        for _ in range(count):
            self.reconcile(0)
            self.reconcile(1)

    @rule(which=st.integers(0, 1), call=st.integers(0, 8), after=st.booleans())
    def other_reconciles_in_between(self, which: int, call: int, *, after: bool) -> None:
        """Reconcile, and let the other replica reconcile in the middle."""
        self.reconcile(which, at=call, after=after, then=lambda: self.reconcile(1 - which))

    @rule(which=st.integers(0, 1), call=st.integers(0, 8), after=st.booleans())
    def replica_ends_while_reconciling(self, which: int, call: int, *, after: bool) -> None:
        """End a replica before or after a call has taken effect, and start it again."""

        def end() -> None:
            raise EndOfReplicaError

        with contextlib.suppress(EndOfReplicaError):
            self.reconcile(which, at=call, after=after, then=end)
        self.replicas[which].start()

    @rule(which=st.integers(0, 1), call=st.integers(0, 8), after=st.booleans())
    def call_fails(self, which: int, call: int, *, after: bool) -> None:
        """Let a call fail, before or after it has taken effect."""

        def fail() -> None:
            raise KubeError(0, "NoAnswer", "the connection broke")

        self.reconcile(which, at=call, after=after, then=fail)

    @rule(which=st.integers(0, 1), cut_off=st.booleans())
    def network(self, which: int, *, cut_off: bool) -> None:
        """Cut a replica off from the API server, or let it back."""
        self.replicas[which].cut_off = cut_off
        self.replicas[which].stale |= cut_off

    @rule(which=st.integers(0, 1), call=st.integers(0, 8), seconds=st.sampled_from([1, 70, 700]))
    def replica_is_suspended_while_reconciling(self, which: int, call: int, seconds: float) -> None:
        """Let time pass for all but this replica, in the middle of its reconciliation."""

        def sleep() -> None:
            self.replicas[which].behind |= seconds > TIMES.propagation
            self.pass_time(seconds, but=which)

        self.reconcile(which, at=call, after=False, then=sleep)
        self.reconcile(which)  # its watches report the changes

    @rule(which=st.integers(0, 1), count=st.integers(1, 3))
    def one_reconciles_while_the_other_gets_no_event(self, which: int, count: int) -> None:
        """Let one replica go ahead for less than ``resync``, with API servers that do not lag."""
        for _ in range(count):
            self.tick(4.5)
            self.reconcile(which)
            self.servers = [len(self.history) - 1] * 2
            self.check()

    # What time does.

    @rule(seconds=st.sampled_from([1.0, 10.0, 14.0]))
    def a_moment_passes(self, seconds: float) -> None:
        """Let less time than ``resync`` pass, without a reconciliation."""
        self.tick(seconds)

    @rule(seconds=st.sampled_from([65.0, 200.0, 700.0, 1700.0]))
    def time_passes(self, seconds: float) -> None:
        """Let time pass, with reconciliations."""
        self.pass_time(seconds)

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
    def rotation_is_requested(self, *, compromised: bool) -> None:
        """Request a rotation, as ``python -m certs rotate`` does."""
        if SECRET in self.api.objects:
            secret = self.api.objects[SECRET]
            value = COMPROMISED if compromised else "requested"
            secret["metadata"].setdefault("annotations", {})[REQUEST] = value
            self.api.store(SECRET, secret)

    @rule()
    def rotation_is_about_to_be_promoted(self) -> None:
        """Let the next reconciliation, of either replica, find that all have waited enough."""
        self.rotation_is_requested(compromised=False)
        self.both_reconcile(2)
        self.pass_time(TICK)
        self.tick(12.0)

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
            self.write_as_other(MUTATING, MANIFESTS[MUTATING])
        elif what == "apply the next release":
            self.write_as_other(MUTATING, RENAMED)
        elif what == "apply another":
            self.write_as_other(EXTRA, configuration("extra", "extra.cni-genie.io", bundle="Cg=="))
        else:
            self.apply_old_bundles(VALIDATING, back)

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
        self.check()

    def teardown(self) -> None:
        """Left alone, the cluster heals: every replica serves a leaf that every bundle covers."""
        if not self.replicas:
            return
        for replica in self.replicas:
            replica.cut_off = False
        self.pass_time(2 * TIMES.propagation + 3 * TICK)
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
        self.pass_time(TIMES.ca_lifetime + TIMES.leaf_lifetime + self.latest - self.api.jumped)
        after = self.api.objects[SECRET]["data"]["ca.crt"]
        assert before != after, "no rotation in the life of a CA"
        for bundles in self.history[-1].view.values():
            for bundle in bundles:
                assert len(roots(bundle)) <= 2


def test_no_order_of_events_leaves_a_leaf_uncovered_and_every_one_heals() -> None:
    """Whatever happens in whatever order, the invariant of this module holds, and then it heals."""
    run_state_machine_as_test(
        RotationMachine,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
