"""When a leaf is replaced, and when it is renewed."""

from __future__ import annotations

import datetime as dt

import pytest

from certs.authority import KeyPair, fingerprint, issue_ca
from certs.leaf import make_leaf, replacement_reason
from certs.rotation import RotationDecision
from certs.transitions import Phase
from certs.webhook_configs import ObservedConfigurations
from tests.unit.certs.builders import NAME, NOW, SETTINGS, configurations

DAY = dt.timedelta(days=1)
OLD, NEW = (
    issue_ca(NAME, now=NOW, lifetime=SETTINGS.ca_lifetime, backdating=300) for _ in range(2)
)
EXPIRY = OLD.certificate.not_valid_after_utc
BOTH = configurations((OLD, NEW), (NEW, OLD))

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
            id="a leaf that is not yet valid is replaced",
        ),
        pytest.param(
            NEW, (), BOTH, NOW, "another CA signs now", id="a CA in every bundle takes over"
        ),
        pytest.param(
            NEW,
            (),
            configurations((OLD, NEW), steady_for=59),
            NOW,
            None,
            id="a CA that an API server may not know yet does not",
        ),
        pytest.param(
            NEW,
            (),
            configurations((OLD, NEW), (OLD,)),
            NOW,
            None,
            id="a CA that a bundle lacks does not",
        ),
        pytest.param(
            NEW,
            (OLD,),
            configurations((OLD,)),
            NOW,
            "the CA of the old leaf was retired",
            id="a leaf of a retired CA is replaced at once",
        ),
        pytest.param(
            NEW,
            (),
            configurations((NEW,), steady_for=0),
            NOW,
            "no bundle covers the old leaf",
            id="a leaf that no bundle covers is replaced at once",
        ),
        pytest.param(
            NEW,
            (),
            ObservedConfigurations(lost_for=59),
            NOW,
            None,
            id="but not if the configurations were deleted a moment ago",
        ),
        pytest.param(
            NEW,
            (),
            configurations((OLD, NEW), steady_for=0),
            END - 0.5 * DAY,
            "the old leaf expires soon",
            id="a leaf that expires soon needs a CA in every bundle",
        ),
        pytest.param(
            NEW,
            (),
            configurations((OLD,)),
            END - 0.5 * DAY,
            None,
            id="a leaf that expires soon is not replaced by one of a CA that a bundle lacks",
        ),
        pytest.param(
            NEW,
            (),
            configurations((OLD,)),
            END - dt.timedelta(seconds=20),
            "the old leaf expires now",
            id="a leaf that expires now is replaced by one of any CA",
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
    decision = RotationDecision(Phase.STEADY, signer, retired=gone)
    assert replacement_reason(LEAF, decision, observed, now, SETTINGS) == why


def test_the_first_leaf_needs_a_ca_only() -> None:
    """It does not wait for bundles."""
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
