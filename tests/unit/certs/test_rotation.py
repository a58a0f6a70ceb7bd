from __future__ import annotations

import base64
import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from certs.authority import Pair, fingerprint, issue_ca
from certs.ca_secret import COMPROMISED, REQUEST, Reading, Stored
from certs.rotation import Cause, Decision, Phase, Situation, decide
from certs.serving import make_leaf, why_new_leaf
from certs.webhook_configs import Configuration, Observed
from tests.unit.certs.api import configuration
from tests.unit.certs.conftest import NAME, NOW, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable

    Maker = Callable[..., Pair]

DAY = dt.timedelta(days=1)
OLD, NEW, MINTED = (
    issue_ca(NAME, now=NOW, lifetime=SETTINGS.ca_lifetime, backdating=300) for _ in range(3)
)
EXPIRY = OLD.certificate.not_valid_after_utc


def observed(*bundles: tuple[Pair, ...], steady_for: float = 3600) -> Observed:
    """Return one configuration for each bundle."""
    parsed = []
    for number, cas in enumerate(bundles):
        found = configuration(f"c{number}", "a", "b")
        bundle = b"".join(one.certificate_pem for one in cas)
        for entry in found["webhooks"]:
            entry["clientConfig"]["caBundle"] = base64.b64encode(bundle).decode()
        found["metadata"] |= {"uid": str(number), "generation": 1, "resourceVersion": "1"}
        parsed.append(Configuration.parse("mutatingwebhookconfigurations", found, steady_for))
    return Observed(tuple(parsed))


def reading(stored: Stored | None, **more: Any) -> Reading:
    return Reading(found={"metadata": {}}, stored=stored, **more)


def asked(stored: Stored, value: str) -> Reading:
    return Reading(found={"metadata": {"annotations": {REQUEST: value}}}, stored=stored)


def decision(read: Reading, seen: Observed, now: dt.datetime = NOW, **more: Any) -> Decision:
    return decide(Situation(read, seen, now, SETTINGS, mint=lambda: MINTED, **more))


def names(stored: Stored | None) -> tuple[str | None, str | None, str | None]:
    """Return what the Secret would hold, as the names that this module gives the CAs."""
    assert stored
    known = {
        fingerprint(p.certificate): n for p, n in ((OLD, "old"), (NEW, "new"), (MINTED, "made"))
    }

    def name(certificate: Any) -> str | None:
        return known[fingerprint(certificate)] if certificate else None

    following = stored.next.certificate if stored.next else None
    return name(stored.ca.certificate), name(following), name(stored.previous)


STEADY = Stored(OLD)
PUBLISH = Stored(OLD, next=NEW)
PROMOTE = Stored(NEW, previous=OLD.certificate, retire_at=NOW + 7 * DAY)
BOTH = observed((OLD, NEW), (NEW, OLD))


@pytest.mark.parametrize(
    ("read", "seen", "now", "cause", "after"),
    [
        pytest.param(
            asked(STEADY, "requested"),
            observed((OLD,)),
            NOW,
            Cause.PUBLISHED,
            ("old", "made", None),
            id="a person's request publishes a new CA",
        ),
        pytest.param(
            reading(STEADY),
            observed((OLD,)),
            NOW + 20 * DAY,
            Cause.PUBLISHED,
            ("old", "made", None),
            id="two thirds of its life publish a new CA",
        ),
        pytest.param(
            reading(PUBLISH),
            BOTH,
            NOW,
            Cause.PROMOTED,
            ("new", None, "old"),
            id="seen everywhere for long enough, the new CA signs",
        ),
        pytest.param(
            reading(PUBLISH),
            Observed(),
            NOW,
            Cause.PROMOTED,
            ("new", None, "old"),
            id="where nothing is configured, nothing is waited for",
        ),
        pytest.param(
            reading(PUBLISH),
            observed((OLD,)),
            EXPIRY - dt.timedelta(seconds=20),
            Cause.PROMOTED,
            ("new", None, "old"),
            id="a CA that expires now is worse than one that few know",
        ),
        pytest.param(
            reading(PROMOTE),
            BOTH,
            NOW + 7 * DAY,
            Cause.RETIRED,
            ("new", None, None),
            id="when no leaf of it can be valid, the old CA goes",
        ),
        pytest.param(
            asked(PROMOTE, COMPROMISED),
            BOTH,
            NOW,
            Cause.COMPROMISED,
            ("made", None, None),
            id="a compromised CA goes at once, in any phase",
        ),
        pytest.param(
            Reading(), observed(()), NOW, Cause.FIRST, ("made", None, None), id="the first CA"
        ),
        pytest.param(
            reading(None, spare=NEW),
            BOTH,
            NOW,
            Cause.REPLACED,
            ("new", None, None),
            id="with the CA unusable the next one takes over",
        ),
        pytest.param(
            reading(None),
            observed((OLD,)),
            NOW,
            Cause.REPLACED,
            ("made", None, None),
            id="with all unusable there is a new CA",
        ),
        pytest.param(
            reading(PUBLISH, problems=("next: x",)),
            BOTH,
            NOW,
            Cause.REPAIRED,
            ("old", "new", None),
            id="a Secret damaged in part is written again",
        ),
    ],
)
def test_a_step_is_taken(
    read: Reading,
    seen: Observed,
    now: dt.datetime,
    cause: Cause,
    after: tuple[str | None, ...],
) -> None:
    found = decision(read, seen, now)
    assert found.cause is cause
    assert names(found.write) == after


@pytest.mark.parametrize(
    ("stored", "seen", "phase", "waits_for"),
    [
        pytest.param(
            STEADY,
            observed((OLD,)),
            Phase.STEADY,
            "the next rotation, 2030-01-21T00:00:00Z",
            id="STEADY waits for the next rotation",
        ),
        pytest.param(
            PUBLISH,
            observed((OLD, NEW), (OLD,)),
            Phase.PUBLISH,
            "mutatingwebhookconfigurations/c1 to hold both CAs",
            id="PUBLISH for a bundle",
        ),
        pytest.param(
            PUBLISH,
            observed((OLD, NEW), steady_for=15),
            Phase.PUBLISH,
            "API servers that lag, 60 s after the last change of a bundle",
            id="PUBLISH for API servers that lag",
        ),
        pytest.param(
            PROMOTE,
            BOTH,
            Phase.PROMOTE,
            "the last leaf of the old CA to expire, 2030-01-08T00:00:00Z",
            id="PROMOTE for the last leaf of the old CA",
        ),
        pytest.param(
            Stored(NEW, retired={fingerprint(OLD.certificate): EXPIRY}),
            BOTH,
            Phase.RETIRE,
            "retired CAs to leave mutatingwebhookconfigurations/c0, "
            "mutatingwebhookconfigurations/c1",
            id="RETIRE for the bundles",
        ),
        pytest.param(
            Stored(NEW, retired={fingerprint(OLD.certificate): EXPIRY}),
            observed((NEW,)),
            Phase.STEADY,
            "the next rotation, 2030-01-21T00:00:00Z",
            id="with the bundles clean, RETIRE is over",
        ),
    ],
)
def test_nothing_is_due(stored: Stored, seen: Observed, phase: Phase, waits_for: str) -> None:
    found = decision(reading(stored), seen)
    assert (found.phase, found.waits_for, found.write) == (phase, waits_for, None)
    assert found.signer
    assert found.signer.certificate == stored.ca.certificate


def test_a_request_in_promote_waits_and_says_so() -> None:
    """An overlap is never cut short by the next rotation."""
    found = decision(asked(PROMOTE, "requested"), BOTH)
    assert found.write is None
    assert found.waits_for.endswith("; then the rotation that was asked for")


def test_the_old_ca_is_trusted_for_the_life_of_its_last_leaf_and_a_margin() -> None:
    """Seven days and an hour from the promotion, but never beyond its own end."""
    found = decision(reading(PUBLISH), BOTH).write
    assert found
    assert found.retire_at == NOW + 7 * DAY + dt.timedelta(hours=1)
    late = decision(reading(PUBLISH), BOTH, NOW + 25 * DAY).write
    assert late
    assert late.retire_at == EXPIRY


def test_a_backup_that_is_restored_late_retires_no_ca_that_may_sign_still() -> None:
    """Its last step is due at once; what only bundles know is retired if it is of no use now."""
    future = issue_ca(NAME, now=NOW + 60 * DAY, lifetime=SETTINGS.ca_lifetime, backdating=300)
    found = decision(reading(PROMOTE), observed((OLD, NEW, MINTED, future)), NOW + 7 * DAY).write
    assert found
    assert set(found.retired) == {fingerprint(each.certificate) for each in (OLD, future)}


def test_what_is_retired_stays_retired_until_it_expires() -> None:
    """And then it is forgotten."""
    found = decision(reading(PROMOTE), observed((OLD, NEW)), NOW + 7 * DAY).write
    assert found
    assert set(found.retired) == {fingerprint(OLD.certificate)}
    later = decision(asked(found, "requested"), observed((NEW,)), NOW + 29 * DAY).write
    assert later
    assert later.retired == found.retired
    after = decision(reading(replace(found, ca=MINTED)), observed((NEW,)), NOW + 20 * DAY).write
    assert after
    assert fingerprint(OLD.certificate) in after.retired


@pytest.mark.parametrize(
    ("read", "memory", "cause", "after"),
    [
        pytest.param(
            Reading(),
            PUBLISH,
            Cause.RESTORED,
            ("old", "new", None),
            id="a deleted Secret is restored as it was",
        ),
        pytest.param(
            reading(None, spare=NEW),
            PUBLISH,
            Cause.RESTORED,
            ("old", "new", None),
            id="so is one whose CA was damaged",
        ),
        pytest.param(
            reading(None, retired={fingerprint(OLD.certificate): EXPIRY}),
            STEADY,
            Cause.REPLACED,
            ("made", None, None),
            id="but never a CA that was retired",
        ),
        pytest.param(
            reading(Stored(OLD), problems=("x",)),
            PUBLISH,
            Cause.REPAIRED,
            ("old", "new", None),
            id="a part that was lost comes from memory",
        ),
        pytest.param(
            reading(Stored(NEW), problems=("x",)),
            PUBLISH,
            Cause.REPAIRED,
            ("new", None, None),
            id="but not over another CA",
        ),
    ],
)
def test_memory_restores(
    read: Reading, memory: Stored, cause: Cause, after: tuple[str | None, ...]
) -> None:
    found = decision(read, observed((OLD,)), memory=memory)
    assert found.cause is cause
    assert names(found.write) == after


@pytest.mark.parametrize(
    ("read", "missing_for", "cause"),
    [
        pytest.param(Reading(), 4, None, id="others are waited for first"),
        pytest.param(Reading(), 5, Cause.REPLACED, id="then there is a new CA"),
        pytest.param(
            reading(None), 0, Cause.REPLACED, id="with the Secret damaged there is a new CA at once"
        ),
    ],
)
def test_memory_of_a_ca_that_has_left_the_bundles_is_not_brought_back(
    read: Reading, missing_for: float, cause: Cause | None
) -> None:
    """A replica was cut off while the CA that it remembers was replaced, or found compromised."""
    found = decision(read, observed((NEW,)), memory=STEADY, missing_for=missing_for)
    assert found.cause is cause
    if cause:
        assert names(found.write) == ("made", None, None)


def test_memory_restores_where_the_bundles_are_lost_as_well() -> None:
    """No bundle holds a CA of ours: nothing says that the memory is out of date."""
    assert decision(Reading(), observed(()), memory=STEADY).cause is Cause.RESTORED


def test_memory_that_has_expired_restores_nothing() -> None:
    """Nor does its next CA once that has; its previous one is left out then."""
    late = EXPIRY + DAY
    assert decision(Reading(), Observed(), late, memory=STEADY).cause is Cause.FIRST
    longer = issue_ca(NAME, now=NOW + 20 * DAY, lifetime=SETTINGS.ca_lifetime, backdating=0)
    known = Stored(longer, next=NEW, previous=OLD.certificate, retire_at=EXPIRY)
    found = decision(Reading(), Observed(), late, memory=known).write
    assert found
    assert (found.ca, found.next, found.previous) == (longer, None, None)


def test_a_starting_replica_lets_the_others_restore_the_secret() -> None:
    """For five seconds, where the bundles hold a CA of ours that is still valid."""
    waiting = decision(Reading(), observed((OLD,)), missing_for=4)
    assert waiting.write is None
    assert waiting.again_in == 1
    assert waiting.waits_for == "another replica to restore Secret genie-system/genie-webhook-ca"
    assert decision(Reading(), observed((OLD,)), missing_for=5).cause is Cause.REPLACED
    late = EXPIRY + DAY
    assert decision(Reading(), observed((OLD,)), late, missing_for=0).cause is Cause.FIRST


LEAF = make_leaf(OLD, NOW, SETTINGS, early=0)
END = LEAF.certificate.not_valid_after_utc


@pytest.mark.parametrize(
    ("signer", "retired", "seen", "now", "why"),
    [
        pytest.param(OLD, (), observed((OLD,)), NOW, None, id="a good leaf is kept"),
        pytest.param(
            OLD,
            (),
            observed((OLD,)),
            NOW + 4.7 * DAY,
            "it is due for renewal",
            id="after two thirds of its life it is renewed",
        ),
        pytest.param(
            OLD,
            (),
            observed((OLD,)),
            END + DAY,
            "it is not valid at the API server's time",
            id="an expired leaf is replaced",
        ),
        pytest.param(
            OLD,
            (),
            observed((OLD,)),
            NOW - DAY,
            "it is not valid at the API server's time",
            id="so is one from the future",
        ),
        pytest.param(NEW, (), BOTH, NOW, "another CA signs", id="a CA known everywhere takes over"),
        pytest.param(
            NEW,
            (),
            observed((OLD, NEW), steady_for=59),
            NOW,
            None,
            id="one that an API server may not know yet does not",
        ),
        pytest.param(
            NEW, (), observed((OLD, NEW), (OLD,)), NOW, None, id="nor one that a bundle lacks"
        ),
        pytest.param(
            NEW,
            (OLD,),
            observed((OLD,)),
            NOW,
            "its CA was retired",
            id="a leaf of a retired CA goes at once",
        ),
        pytest.param(
            NEW,
            (),
            observed((NEW,), steady_for=0),
            NOW,
            "no bundle covers it",
            id="so does one that nobody trusts",
        ),
        pytest.param(
            NEW,
            (),
            Observed(lost_for=59),
            NOW,
            None,
            id="but not because the configurations were deleted a moment ago",
        ),
        pytest.param(
            NEW,
            (),
            observed((OLD, NEW), steady_for=0),
            END - 0.5 * DAY,
            "it expires soon",
            id="near its end, a CA in every bundle will do",
        ),
        pytest.param(
            NEW,
            (),
            observed((OLD,)),
            END - 0.5 * DAY,
            None,
            id="near its end, one that bundles lack will not",
        ),
        pytest.param(
            NEW,
            (),
            observed((OLD,)),
            END - dt.timedelta(seconds=20),
            "it expires",
            id="at its end, any will",
        ),
    ],
)
def test_a_leaf_is_replaced_when_it_must_be(
    signer: Pair, retired: tuple[Pair, ...], seen: Observed, now: dt.datetime, why: str | None
) -> None:
    gone = {fingerprint(one.certificate): EXPIRY for one in retired}
    found = Decision(Phase.STEADY, signer, retired=gone)
    assert why_new_leaf(LEAF, found, seen, now, SETTINGS) == why


def test_without_a_leaf_one_is_made_and_without_a_ca_none() -> None:
    """The first leaf waits for nothing but a CA."""
    assert why_new_leaf(None, Decision(Phase.STEADY, OLD), Observed(), NOW, SETTINGS)
    assert why_new_leaf(None, Decision(Phase.STEADY), Observed(), NOW, SETTINGS) is None


def test_renewal_has_jitter() -> None:
    """Replicas that started together renew up to a tenth of the life apart."""
    early = make_leaf(OLD, NOW, SETTINGS, early=1)
    assert LEAF.renew_at
    assert early.renew_at
    assert LEAF.renew_at - early.renew_at == 0.7 * DAY
