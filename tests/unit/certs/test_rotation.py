from __future__ import annotations

import base64
import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from certs.authority import KeyPair, fingerprint, issue_ca
from certs.ca_secret import COMPROMISED, REQUEST, CASecret, ParsedSecret
from certs.leaf import make_leaf, replacement_reason
from certs.rotation import RotationDecision, decide
from certs.transitions import Phase, RotationInput, RotationReason
from certs.webhook_configs import ObservedConfigurations, WebhookConfiguration
from tests.unit.apiserver import configuration
from tests.unit.certs.conftest import NAME, NOW, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable

    Maker = Callable[..., KeyPair]

DAY = dt.timedelta(days=1)
OLD, NEW, MINTED = (
    issue_ca(NAME, now=NOW, lifetime=SETTINGS.ca_lifetime, backdating=300) for _ in range(3)
)
EXPIRY = OLD.certificate.not_valid_after_utc


def configurations(
    *bundles: tuple[KeyPair, ...], steady_for: float = 3600
) -> ObservedConfigurations:
    """Return one configuration for each bundle."""
    parsed = []
    for number, cas in enumerate(bundles):
        found = configuration(f"c{number}", "a", "b")
        bundle = b"".join(one.certificate_pem for one in cas)
        for entry in found["webhooks"]:
            entry["clientConfig"]["caBundle"] = base64.b64encode(bundle).decode()
        found["metadata"] |= {"uid": str(number), "generation": 1, "resourceVersion": "1"}
        parsed.append(
            WebhookConfiguration.parse("mutatingwebhookconfigurations", found, steady_for)
        )
    return ObservedConfigurations(tuple(parsed))


def reading(stored: CASecret | None, **more: Any) -> ParsedSecret:
    return ParsedSecret(secret={"metadata": {}}, content=stored, **more)


def asked(stored: CASecret, value: str) -> ParsedSecret:
    return ParsedSecret(secret={"metadata": {"annotations": {REQUEST: value}}}, content=stored)


def decision(
    read: ParsedSecret, observed: ObservedConfigurations, now: dt.datetime = NOW, **more: Any
) -> RotationDecision:
    return decide(RotationInput(read, observed, now, SETTINGS, mint=lambda: MINTED, **more))


def names(stored: CASecret | None) -> tuple[str | None, str | None, str | None]:
    """Return what the Secret would hold, as the names that this module gives the CAs."""
    assert stored
    known = {
        fingerprint(p.certificate): n for p, n in ((OLD, "old"), (NEW, "new"), (MINTED, "made"))
    }

    def name(certificate: Any) -> str | None:
        return known[fingerprint(certificate)] if certificate else None

    following = stored.next.certificate if stored.next else None
    return name(stored.ca.certificate), name(following), name(stored.previous)


STEADY = CASecret(OLD)
PUBLISH = CASecret(OLD, next=NEW)
PROMOTE = CASecret(NEW, previous=OLD.certificate, retire_at=NOW + 7 * DAY)
BOTH = configurations((OLD, NEW), (NEW, OLD))


@pytest.mark.parametrize(
    ("read", "observed", "now", "cause", "after"),
    [
        pytest.param(
            asked(STEADY, "requested"),
            configurations((OLD,)),
            NOW,
            RotationReason.PUBLISHED,
            ("old", "made", None),
            id="a person's request publishes a new CA",
        ),
        pytest.param(
            reading(STEADY),
            configurations((OLD,)),
            NOW + 20 * DAY,
            RotationReason.PUBLISHED,
            ("old", "made", None),
            id="two thirds of its life publish a new CA",
        ),
        pytest.param(
            reading(PUBLISH),
            BOTH,
            NOW,
            RotationReason.PROMOTED,
            ("new", None, "old"),
            id="seen everywhere for long enough, the new CA signs",
        ),
        pytest.param(
            reading(PUBLISH),
            ObservedConfigurations(),
            NOW,
            RotationReason.PROMOTED,
            ("new", None, "old"),
            id="where nothing is configured, nothing is waited for",
        ),
        pytest.param(
            reading(PUBLISH),
            configurations((OLD,)),
            EXPIRY - dt.timedelta(seconds=20),
            RotationReason.PROMOTED,
            ("new", None, "old"),
            id="a CA that expires now is worse than one that few know",
        ),
        pytest.param(
            reading(PROMOTE),
            BOTH,
            NOW + 7 * DAY,
            RotationReason.RETIRED,
            ("new", None, None),
            id="when no leaf of it can be valid, the old CA goes",
        ),
        pytest.param(
            asked(PROMOTE, COMPROMISED),
            BOTH,
            NOW,
            RotationReason.COMPROMISED,
            ("made", None, None),
            id="a compromised CA goes at once, in any phase",
        ),
        pytest.param(
            ParsedSecret(),
            configurations(()),
            NOW,
            RotationReason.FIRST,
            ("made", None, None),
            id="the first CA",
        ),
        pytest.param(
            reading(None, spare=NEW),
            BOTH,
            NOW,
            RotationReason.REPLACED,
            ("new", None, None),
            id="with the CA unusable the next one takes over",
        ),
        pytest.param(
            reading(None),
            configurations((OLD,)),
            NOW,
            RotationReason.REPLACED,
            ("made", None, None),
            id="with all unusable there is a new CA",
        ),
        pytest.param(
            reading(PUBLISH, problems=("next: x",)),
            BOTH,
            NOW,
            RotationReason.REPAIRED,
            ("old", "new", None),
            id="a Secret damaged in part is written again",
        ),
    ],
)
def test_a_step_is_taken(
    read: ParsedSecret,
    observed: ObservedConfigurations,
    now: dt.datetime,
    cause: RotationReason,
    after: tuple[str | None, ...],
) -> None:
    found = decision(read, observed, now)
    assert found.reason is cause
    assert names(found.write) == after


@pytest.mark.parametrize(
    ("stored", "observed", "phase", "waits_for"),
    [
        pytest.param(
            STEADY,
            configurations((OLD,)),
            Phase.STEADY,
            "the next rotation, 2030-01-21T00:00:00Z",
            id="STEADY waits for the next rotation",
        ),
        pytest.param(
            PUBLISH,
            configurations((OLD, NEW), (OLD,)),
            Phase.PUBLISH,
            "mutatingwebhookconfigurations/c1 to hold both CAs",
            id="PUBLISH for a bundle",
        ),
        pytest.param(
            PUBLISH,
            configurations((OLD, NEW), steady_for=15),
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
            CASecret(NEW, retired={fingerprint(OLD.certificate): EXPIRY}),
            BOTH,
            Phase.RETIRE,
            "retired CAs to leave mutatingwebhookconfigurations/c0, "
            "mutatingwebhookconfigurations/c1",
            id="RETIRE for the bundles",
        ),
        pytest.param(
            CASecret(NEW, retired={fingerprint(OLD.certificate): EXPIRY}),
            configurations((NEW,)),
            Phase.STEADY,
            "the next rotation, 2030-01-21T00:00:00Z",
            id="with the bundles clean, RETIRE is over",
        ),
    ],
)
def test_nothing_is_due(
    stored: CASecret, observed: ObservedConfigurations, phase: Phase, waits_for: str
) -> None:
    found = decision(reading(stored), observed)
    assert (found.phase, found.waits_for, found.write) == (phase, waits_for, None)
    assert found.signer
    assert found.signer.certificate == stored.ca.certificate


def test_a_request_in_promote_waits_and_says_so() -> None:
    """An overlap is never cut short by the next rotation."""
    found = decision(asked(PROMOTE, "requested"), BOTH)
    assert found.write is None
    assert found.waits_for.endswith("; then the requested rotation")


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
    found = decision(
        reading(PROMOTE), configurations((OLD, NEW, MINTED, future)), NOW + 7 * DAY
    ).write
    assert found
    assert set(found.retired) == {fingerprint(each.certificate) for each in (OLD, future)}


def test_what_is_retired_stays_retired_until_it_expires() -> None:
    """And then it is forgotten."""
    found = decision(reading(PROMOTE), configurations((OLD, NEW)), NOW + 7 * DAY).write
    assert found
    assert set(found.retired) == {fingerprint(OLD.certificate)}
    later = decision(asked(found, "requested"), configurations((NEW,)), NOW + 29 * DAY).write
    assert later
    assert later.retired == found.retired
    after = decision(
        reading(replace(found, ca=MINTED)), configurations((NEW,)), NOW + 20 * DAY
    ).write
    assert after
    assert fingerprint(OLD.certificate) in after.retired


@pytest.mark.parametrize(
    ("read", "memory", "cause", "after"),
    [
        pytest.param(
            ParsedSecret(),
            PUBLISH,
            RotationReason.RESTORED,
            ("old", "new", None),
            id="a deleted Secret is restored as it was",
        ),
        pytest.param(
            reading(None, spare=NEW),
            PUBLISH,
            RotationReason.RESTORED,
            ("old", "new", None),
            id="so is one whose CA was damaged",
        ),
        pytest.param(
            reading(None, retired={fingerprint(OLD.certificate): EXPIRY}),
            STEADY,
            RotationReason.REPLACED,
            ("made", None, None),
            id="but never a CA that was retired",
        ),
        pytest.param(
            reading(CASecret(OLD), problems=("x",)),
            PUBLISH,
            RotationReason.REPAIRED,
            ("old", "new", None),
            id="a part that was lost comes from memory",
        ),
        pytest.param(
            reading(CASecret(NEW), problems=("x",)),
            PUBLISH,
            RotationReason.REPAIRED,
            ("new", None, None),
            id="but not over another CA",
        ),
    ],
)
def test_memory_restores(
    read: ParsedSecret, memory: CASecret, cause: RotationReason, after: tuple[str | None, ...]
) -> None:
    found = decision(read, configurations((OLD,)), memory=memory)
    assert found.reason is cause
    assert names(found.write) == after


@pytest.mark.parametrize(
    ("read", "missing_for", "cause"),
    [
        pytest.param(ParsedSecret(), 4, None, id="others are waited for first"),
        pytest.param(ParsedSecret(), 5, RotationReason.REPLACED, id="then there is a new CA"),
        pytest.param(
            reading(None),
            0,
            RotationReason.REPLACED,
            id="with the Secret damaged there is a new CA at once",
        ),
    ],
)
def test_memory_of_a_ca_that_has_left_the_bundles_is_not_brought_back(
    read: ParsedSecret, missing_for: float, cause: RotationReason | None
) -> None:
    """A replica was cut off while the CA that it remembers was replaced, or found compromised."""
    found = decision(read, configurations((NEW,)), memory=STEADY, missing_for=missing_for)
    assert found.reason is cause
    if cause:
        assert names(found.write) == ("made", None, None)


def test_memory_restores_where_the_bundles_are_lost_as_well() -> None:
    """No bundle holds a CA of ours: nothing says that the memory is out of date."""
    assert (
        decision(ParsedSecret(), configurations(()), memory=STEADY).reason
        is RotationReason.RESTORED
    )


def test_memory_that_has_expired_restores_nothing() -> None:
    """Nor does its next CA once that has; its previous one is left out then."""
    late = EXPIRY + DAY
    assert (
        decision(ParsedSecret(), ObservedConfigurations(), late, memory=STEADY).reason
        is RotationReason.FIRST
    )
    longer = issue_ca(NAME, now=NOW + 20 * DAY, lifetime=SETTINGS.ca_lifetime, backdating=0)
    known = CASecret(longer, next=NEW, previous=OLD.certificate, retire_at=EXPIRY)
    found = decision(ParsedSecret(), ObservedConfigurations(), late, memory=known).write
    assert found
    assert (found.ca, found.next, found.previous) == (longer, None, None)


def test_a_starting_replica_lets_the_others_restore_the_secret() -> None:
    """For five seconds, where the bundles hold a CA of ours that is still valid."""
    waiting = decision(ParsedSecret(), configurations((OLD,)), missing_for=4)
    assert waiting.write is None
    assert waiting.recheck_in == 1
    assert waiting.waits_for == "another replica to restore Secret genie-system/genie-webhook-ca"
    assert (
        decision(ParsedSecret(), configurations((OLD,)), missing_for=5).reason
        is RotationReason.REPLACED
    )
    late = EXPIRY + DAY
    assert (
        decision(ParsedSecret(), configurations((OLD,)), late, missing_for=0).reason
        is RotationReason.FIRST
    )


LEAF = make_leaf(OLD, NOW, SETTINGS, early=0)
END = LEAF.certificate.not_valid_after_utc


@pytest.mark.parametrize(
    ("signer", "retired", "observed", "now", "why"),
    [
        pytest.param(OLD, (), configurations((OLD,)), NOW, None, id="a good leaf is kept"),
        pytest.param(
            OLD,
            (),
            configurations((OLD,)),
            NOW + 4.7 * DAY,
            "the old leaf is due for renewal",
            id="after two thirds of its life it is renewed",
        ),
        pytest.param(
            OLD,
            (),
            configurations((OLD,)),
            END + DAY,
            "the old leaf is not valid at the API server's time",
            id="an expired leaf is replaced",
        ),
        pytest.param(
            OLD,
            (),
            configurations((OLD,)),
            NOW - DAY,
            "the old leaf is not valid at the API server's time",
            id="so is one from the future",
        ),
        pytest.param(
            NEW, (), BOTH, NOW, "another CA signs now", id="a CA known everywhere takes over"
        ),
        pytest.param(
            NEW,
            (),
            configurations((OLD, NEW), steady_for=59),
            NOW,
            None,
            id="one that an API server may not know yet does not",
        ),
        pytest.param(
            NEW, (), configurations((OLD, NEW), (OLD,)), NOW, None, id="nor one that a bundle lacks"
        ),
        pytest.param(
            NEW,
            (OLD,),
            configurations((OLD,)),
            NOW,
            "the CA of the old leaf was retired",
            id="a leaf of a retired CA goes at once",
        ),
        pytest.param(
            NEW,
            (),
            configurations((NEW,), steady_for=0),
            NOW,
            "no bundle covers the old leaf",
            id="so does one that nobody trusts",
        ),
        pytest.param(
            NEW,
            (),
            ObservedConfigurations(lost_for=59),
            NOW,
            None,
            id="but not because the configurations were deleted a moment ago",
        ),
        pytest.param(
            NEW,
            (),
            configurations((OLD, NEW), steady_for=0),
            END - 0.5 * DAY,
            "the old leaf expires soon",
            id="near its end, a CA in every bundle will do",
        ),
        pytest.param(
            NEW,
            (),
            configurations((OLD,)),
            END - 0.5 * DAY,
            None,
            id="near its end, one that bundles lack will not",
        ),
        pytest.param(
            NEW,
            (),
            configurations((OLD,)),
            END - dt.timedelta(seconds=20),
            "the old leaf expires now",
            id="at its end, any will",
        ),
    ],
)
def test_a_leaf_is_replaced_when_it_must_be(
    signer: KeyPair,
    retired: tuple[KeyPair, ...],
    observed: ObservedConfigurations,
    now: dt.datetime,
    why: str | None,
) -> None:
    gone = {fingerprint(one.certificate): EXPIRY for one in retired}
    found = RotationDecision(Phase.STEADY, signer, retired=gone)
    assert replacement_reason(LEAF, found, observed, now, SETTINGS) == why


def test_without_a_leaf_one_is_made_and_without_a_ca_none() -> None:
    """The first leaf waits for nothing but a CA."""
    assert replacement_reason(
        None, RotationDecision(Phase.STEADY, OLD), ObservedConfigurations(), NOW, SETTINGS
    )
    assert (
        replacement_reason(
            None, RotationDecision(Phase.STEADY), ObservedConfigurations(), NOW, SETTINGS
        )
        is None
    )


def test_renewal_has_jitter() -> None:
    """Replicas that started together renew up to a tenth of the life apart."""
    early = make_leaf(OLD, NOW, SETTINGS, early=1)
    assert LEAF.renew_at
    assert early.renew_at
    assert LEAF.renew_at - early.renew_at == 0.7 * DAY
