from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from certs import rotation
from certs.authority import KeyPair, fingerprint, issue_ca
from certs.ca_secret import COMPROMISED, REQUEST, CASecret, ParsedSecret
from certs.rotation import RotationDecision, decide
from certs.transitions import TRANSITIONS, Phase, RotationInput, RotationReason, phase_of
from certs.webhook_configs import ObservedConfigurations
from tests.unit.certs.builders import NAME, NOW, SETTINGS, configurations

if TYPE_CHECKING:
    from collections.abc import Callable

    Maker = Callable[..., KeyPair]

DAY = dt.timedelta(days=1)
OLD, NEW, ISSUED = (
    issue_ca(NAME, now=NOW, lifetime=SETTINGS.ca_lifetime, backdating=300) for _ in range(3)
)
EXPIRY = OLD.certificate.not_valid_after_utc


DATA = {"ca.crt": "eA=="}
"""What a Secret has once a CA was written, usable or not."""


def parsed(content: CASecret | None, **more: Any) -> ParsedSecret:
    return ParsedSecret(secret={"metadata": {}, "data": DATA}, content=content, **more)


def requested(content: CASecret, value: str) -> ParsedSecret:
    metadata = {"annotations": {REQUEST: value}}
    return ParsedSecret(secret={"metadata": metadata, "data": DATA}, content=content)


def decision(
    secret: ParsedSecret, observed: ObservedConfigurations, now: dt.datetime = NOW, **more: Any
) -> RotationDecision:
    return decide(RotationInput(secret, observed, now, SETTINGS, issue_ca=lambda: ISSUED, **more))


def names(content: CASecret | None) -> tuple[str | None, str | None, str | None]:
    """Return the names of the CAs in *content*: the one that signs, the next, the previous."""
    assert content
    known = {
        fingerprint(p.certificate): n for p, n in ((OLD, "old"), (NEW, "new"), (ISSUED, "issued"))
    }

    def name(certificate: Any) -> str | None:
        return known[fingerprint(certificate)] if certificate else None

    next_ca = content.next.certificate if content.next else None
    return name(content.ca.certificate), name(next_ca), name(content.previous)


STEADY = CASecret(OLD)
PUBLISH = CASecret(OLD, next=NEW)
PROMOTE = CASecret(NEW, previous=OLD.certificate, retire_at=NOW + 7 * DAY)
BOTH = configurations((OLD, NEW), (NEW, OLD))


@pytest.mark.parametrize(
    ("secret", "observed", "now", "reason", "after"),
    [
        pytest.param(
            requested(STEADY, "requested"),
            configurations((OLD,)),
            NOW,
            RotationReason.PUBLISHED,
            ("old", "issued", None),
            id="a request publishes a new CA",
        ),
        pytest.param(
            parsed(STEADY),
            configurations((OLD,)),
            NOW + 20 * DAY,
            RotationReason.PUBLISHED,
            ("old", "issued", None),
            id="after two thirds of its life, a new CA is published",
        ),
        pytest.param(
            parsed(PUBLISH),
            BOTH,
            NOW,
            RotationReason.PROMOTED,
            ("new", None, "old"),
            id="held by every bundle for long enough, the new CA signs",
        ),
        pytest.param(
            parsed(PUBLISH),
            ObservedConfigurations(),
            NOW,
            RotationReason.PROMOTED,
            ("new", None, "old"),
            id="without configurations, nothing is waited for",
        ),
        pytest.param(
            parsed(PUBLISH),
            configurations((OLD,)),
            EXPIRY - dt.timedelta(seconds=20),
            RotationReason.PROMOTED,
            ("new", None, "old"),
            id="a CA that is about to expire is replaced at once",
        ),
        pytest.param(
            parsed(PROMOTE),
            BOTH,
            NOW + 7 * DAY,
            RotationReason.RETIRED,
            ("new", None, None),
            id="when no leaf of it can be valid, the old CA is retired",
        ),
        pytest.param(
            requested(PROMOTE, COMPROMISED),
            BOTH,
            NOW,
            RotationReason.COMPROMISED,
            ("issued", None, None),
            id="a compromised CA is retired at once, in any phase",
        ),
        pytest.param(
            ParsedSecret(),
            configurations(()),
            NOW,
            RotationReason.FIRST,
            ("issued", None, None),
            id="the first CA",
        ),
        pytest.param(
            ParsedSecret({"metadata": {}}),
            configurations(()),
            NOW,
            RotationReason.FIRST,
            ("issued", None, None),
            id="the first CA, into the empty Secret of the manifests",
        ),
        pytest.param(
            parsed(None, spare=NEW),
            BOTH,
            NOW,
            RotationReason.REPLACED,
            ("new", None, None),
            id="if the CA is unusable, the next one takes over",
        ),
        pytest.param(
            parsed(None),
            configurations((OLD,)),
            NOW,
            RotationReason.REPLACED,
            ("issued", None, None),
            id="without a usable CA, a new one is issued",
        ),
        pytest.param(
            parsed(PUBLISH, problems=("next: x",)),
            BOTH,
            NOW,
            RotationReason.REPAIRED,
            ("old", "new", None),
            id="a Secret damaged in part is written again",
        ),
    ],
)
def test_a_step_is_taken(
    secret: ParsedSecret,
    observed: ObservedConfigurations,
    now: dt.datetime,
    reason: RotationReason,
    after: tuple[str | None, ...],
) -> None:
    step = decision(secret, observed, now)
    assert step.reason is reason
    assert names(step.content_to_write) == after


@pytest.mark.parametrize(
    ("content", "observed", "phase", "waits_for"),
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
            "every API server to read the bundles, 60 s after their last change",
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
            id="without a retired CA in the bundles, RETIRE is over",
        ),
    ],
)
def test_nothing_is_due(
    content: CASecret, observed: ObservedConfigurations, phase: Phase, waits_for: str
) -> None:
    step = decision(parsed(content), observed)
    assert (step.phase, step.waits_for, step.content_to_write) == (phase, waits_for, None)
    assert step.signer
    assert step.signer.certificate == content.ca.certificate


def test_a_request_in_promote_waits() -> None:
    """The next rotation never shortens an overlap; the status says that it follows."""
    step = decision(requested(PROMOTE, "requested"), BOTH)
    assert step.content_to_write is None
    assert step.waits_for.endswith("; then the requested rotation")


def test_the_old_ca_is_trusted_for_the_life_of_its_last_leaf_and_a_margin() -> None:
    """Seven days and an hour from the promotion, but never beyond its own end."""
    step = decision(parsed(PUBLISH), BOTH).content_to_write
    assert step
    assert step.retire_at == NOW + 7 * DAY + dt.timedelta(hours=1)
    late = decision(parsed(PUBLISH), BOTH, NOW + 25 * DAY).content_to_write
    assert late
    assert late.retire_at == EXPIRY


def test_a_backup_that_is_restored_late_retires_no_ca_that_may_still_sign() -> None:
    """Its last step is due at once; a CA that only bundles hold is retired if it is not valid."""
    future = issue_ca(NAME, now=NOW + 60 * DAY, lifetime=SETTINGS.ca_lifetime, backdating=300)
    step = decision(
        parsed(PROMOTE), configurations((OLD, NEW, ISSUED, future)), NOW + 7 * DAY
    ).content_to_write
    assert step
    assert set(step.retired) == {fingerprint(each.certificate) for each in (OLD, future)}


def test_a_retired_ca_stays_retired_until_it_expires() -> None:
    """Then the Secret drops it."""
    step = decision(parsed(PROMOTE), configurations((OLD, NEW)), NOW + 7 * DAY).content_to_write
    assert step
    assert set(step.retired) == {fingerprint(OLD.certificate)}
    later = decision(
        requested(step, "requested"), configurations((NEW,)), NOW + 29 * DAY
    ).content_to_write
    assert later
    assert later.retired == step.retired
    after = decision(
        parsed(replace(step, ca=ISSUED)), configurations((NEW,)), NOW + 20 * DAY
    ).content_to_write
    assert after
    assert fingerprint(OLD.certificate) in after.retired


@pytest.mark.parametrize(
    ("secret", "memory", "reason", "after"),
    [
        pytest.param(
            ParsedSecret(),
            PUBLISH,
            RotationReason.RESTORED,
            ("old", "new", None),
            id="a deleted Secret is restored as it was",
        ),
        pytest.param(
            parsed(None, spare=NEW),
            PUBLISH,
            RotationReason.RESTORED,
            ("old", "new", None),
            id="so is a Secret whose CA is damaged",
        ),
        pytest.param(
            parsed(None, retired={fingerprint(OLD.certificate): EXPIRY}),
            STEADY,
            RotationReason.REPLACED,
            ("issued", None, None),
            id="but never a CA that was retired",
        ),
        pytest.param(
            parsed(CASecret(OLD), problems=("x",)),
            PUBLISH,
            RotationReason.REPAIRED,
            ("old", "new", None),
            id="a damaged key is restored from memory",
        ),
        pytest.param(
            parsed(CASecret(NEW), problems=("x",)),
            PUBLISH,
            RotationReason.REPAIRED,
            ("new", None, None),
            id="but not if another CA signs",
        ),
    ],
)
def test_memory_is_restored(
    secret: ParsedSecret, memory: CASecret, reason: RotationReason, after: tuple[str | None, ...]
) -> None:
    step = decision(secret, configurations((OLD,)), memory=memory)
    assert step.reason is reason
    assert names(step.content_to_write) == after


@pytest.mark.parametrize(
    ("secret", "missing_for", "reason"),
    [
        pytest.param(ParsedSecret(), 4, None, id="other replicas are waited for first"),
        pytest.param(ParsedSecret(), 5, RotationReason.REPLACED, id="then a new CA is issued"),
        pytest.param(
            parsed(None),
            0,
            RotationReason.REPLACED,
            id="for a damaged Secret, a new CA is issued at once",
        ),
    ],
)
def test_a_remembered_ca_that_has_left_the_bundles_is_not_restored(
    secret: ParsedSecret, missing_for: float, reason: RotationReason | None
) -> None:
    """A replica was cut off while its CA was replaced or declared compromised."""
    step = decision(secret, configurations((NEW,)), memory=STEADY, missing_for=missing_for)
    assert step.reason is reason
    if reason:
        assert names(step.content_to_write) == ("issued", None, None)


def test_memory_is_restored_if_the_bundles_are_lost_as_well() -> None:
    """No bundle holds a CA of ours, so nothing shows that the memory is out of date."""
    assert (
        decision(ParsedSecret(), configurations(()), memory=STEADY).reason
        is RotationReason.RESTORED
    )


def test_an_expired_ca_is_not_restored_from_memory() -> None:
    """Nor is an expired next or previous CA."""
    late = EXPIRY + DAY
    assert (
        decision(ParsedSecret(), ObservedConfigurations(), late, memory=STEADY).reason
        is RotationReason.FIRST
    )
    longer = issue_ca(NAME, now=NOW + 20 * DAY, lifetime=SETTINGS.ca_lifetime, backdating=0)
    known = CASecret(longer, next=NEW, previous=OLD.certificate, retire_at=EXPIRY)
    step = decision(ParsedSecret(), ObservedConfigurations(), late, memory=known).content_to_write
    assert step
    assert (step.ca, step.next, step.previous) == (longer, None, None)


def test_a_starting_replica_lets_the_others_restore_the_secret() -> None:
    """For five seconds, if the bundles hold a valid CA of ours."""
    waiting = decision(ParsedSecret(), configurations((OLD,)), missing_for=4)
    assert waiting.content_to_write is None
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


RETIRE = CASecret(NEW, retired={fingerprint(OLD.certificate): EXPIRY})


@pytest.mark.parametrize(
    ("secret", "now", "reason"),
    [
        pytest.param(requested(PROMOTE, COMPROMISED), NOW, RotationReason.COMPROMISED, id="any"),
        pytest.param(requested(STEADY, "yes"), NOW, RotationReason.PUBLISHED, id="STEADY"),
        pytest.param(parsed(PUBLISH), NOW, RotationReason.PROMOTED, id="PUBLISH"),
        pytest.param(parsed(PROMOTE), NOW + 7 * DAY, RotationReason.RETIRED, id="PROMOTE"),
        pytest.param(requested(RETIRE, "yes"), NOW, RotationReason.PUBLISHED, id="RETIRE"),
    ],
)
def test_a_step_leads_to_the_phase_in_its_row_of_the_table(
    secret: ParsedSecret, now: dt.datetime, reason: RotationReason
) -> None:
    step = decision(secret, BOTH, now)
    assert step.content_to_write
    rows = [row for row in TRANSITIONS if row.phase in (step.phase, None) and row.reason is reason]
    assert {row.next_phase for row in rows} == {phase_of(step.content_to_write, BOTH)}


def test_every_disaster_in_the_documentation_has_the_tests_that_it_names() -> None:
    """A test that is renamed is renamed there as well."""
    defined = {
        name
        for file in Path(__file__).parent.glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    named = set(re.findall(r"``(test_\w+)``", rotation.__doc__ or ""))
    assert len(named) >= 9
    assert named <= defined
