"""Leader election: at most one replica holds the Lease, and a dead one loses it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.kube import lease as lease_module
from dispatcher.kube.client import KubeError
from dispatcher.kube.lease import DEADLINE, DURATION, RENEWAL, Lease
from tests.unit.apiserver import Api, fail

PATH = "/apis/coordination.k8s.io/v1/namespaces/genie-system/leases/genie-webhook-networks"
WALL = dt.datetime(2030, 1, 1, 12, 0, 0, 5, tzinfo=dt.UTC)
NO_ANSWER = KubeError(0, "NoAnswer", "no answer")


class Election:
    """Replicas over one stand-in for the API server, and the clock that they share."""

    def __init__(self, *identities: str) -> None:
        self.api = Api()
        self.api.store(PATH, {"metadata": {"name": "genie-webhook-networks"}})
        self.seconds = 1000.0
        self.replicas = {each: self.replica(each) for each in identities}

    def replica(self, identity: str) -> Lease:
        """Return another replica's view of the Lease."""
        return Lease(
            self.api.client(),
            "genie-system",
            "genie-webhook-networks",
            identity,
            monotonic=lambda: self.seconds,
            wall=lambda: WALL,
        )

    @property
    def spec(self) -> dict[str, Any]:
        """What the Lease says."""
        spec: dict[str, Any] = self.api.objects[PATH]["spec"]
        return spec

    def holders(self) -> list[str]:
        """Return the replicas that believe they hold the Lease."""
        return [identity for identity, lease in self.replicas.items() if lease.is_held]


def test_the_first_replica_takes_an_empty_lease() -> None:
    """With the fields that kubectl and other clients of leases read."""
    election = Election("a", "b")
    assert election.replicas["a"].hold()
    assert not election.replicas["b"].hold()
    assert election.spec == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 30,
        "acquireTime": "2030-01-01T12:00:00.000005Z",
        "renewTime": "2030-01-01T12:00:00.000005Z",
        "leaseTransitions": 1,
    }


def test_a_holder_asks_the_api_server_only_when_it_is_time_to_renew() -> None:
    """So that hold() may be called before every write."""
    election = Election("a")
    lease = election.replicas["a"]
    lease.hold()
    calls = len(election.api.calls)
    election.seconds += RENEWAL - 1
    assert lease.hold()
    assert len(election.api.calls) == calls
    election.seconds += 2
    assert lease.hold()
    assert [call.method for call in election.api.calls[calls:]] == ["GET", "PUT"]


def test_a_replica_that_died_loses_the_lease_after_its_duration() -> None:
    """Counted from when the other replica first saw it unchanged."""
    election = Election("a", "b")
    election.replicas["a"].hold()
    election.seconds += 5
    assert not election.replicas["b"].hold()
    election.seconds += DURATION - 1
    assert not election.replicas["b"].hold()
    election.seconds += 1
    assert election.replicas["b"].hold()
    assert election.spec["holderIdentity"] == "b"
    assert election.spec["leaseTransitions"] == 2
    assert not election.replicas["a"].hold()


def test_a_released_lease_is_free_at_once() -> None:
    """A rollout does not wait for the lease to expire."""
    election = Election("a", "b")
    election.replicas["a"].hold()
    election.replicas["a"].release()
    assert not election.replicas["a"].is_held
    assert election.replicas["b"].hold()
    election.replicas["a"].release()
    assert election.spec["holderIdentity"] == "b"


def test_release_leaves_a_lease_alone_that_another_replica_has_taken() -> None:
    """A suspended process may believe that it holds the lease."""
    election = Election("a")
    election.replicas["a"].hold()
    election.api.objects[PATH]["spec"]["holderIdentity"] = "b"
    election.replicas["a"].release()
    assert election.spec["holderIdentity"] == "b"


def test_a_holder_that_cannot_renew_holds_until_its_deadline_only() -> None:
    """Which is before another replica may take the lease."""
    election = Election("a")
    lease = election.replicas["a"]
    lease.hold()
    election.api.before = fail(NO_ANSWER)
    election.seconds += DEADLINE - 1
    assert lease.hold()
    election.seconds += 1
    with pytest.raises(KubeError, match="no answer"):
        lease.hold()
    assert not lease.is_held
    assert DEADLINE < DURATION


def test_a_lost_race_is_no_error() -> None:
    """Both replicas saw a free lease; the second one to write gets 409."""
    election = Election("a", "b")
    stolen: list[str] = []

    def overtake(method: str, _path: str) -> None:
        if method == "PUT" and not stolen:
            stolen.append(method)
            assert election.replicas["b"].hold()

    election.api.before = overtake
    assert not election.replicas["a"].hold()
    assert election.holders() == ["b"]


def test_a_missing_lease_is_an_error() -> None:
    """It comes from the manifests: no right to create one is needed."""
    election = Election("a")
    election.api.remove(PATH)
    with pytest.raises(KubeError, match="not found"):
        election.replicas["a"].hold()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["hold", "release"]),
        st.floats(0, 2 * lease_module.DURATION),
        st.booleans(),
    ),
    max_size=40,
)


@given(STEPS)
def test_never_two_replicas_hold_the_lease(steps: list[tuple[str, str, float, bool]]) -> None:
    """Whatever the order of their calls, the time between them and the API server's failures."""
    election = Election("a", "b", "c")
    for identity, action, seconds, fails in steps:
        election.seconds += seconds
        election.api.before = fail(NO_ANSWER) if fails else lambda _method, _path: None
        try:
            getattr(election.replicas[identity], action)()
        except KubeError as error:
            assert fails, error  # noqa: PT017 - most calls raise nothing
        assert len(election.holders()) <= 1
