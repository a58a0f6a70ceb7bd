"""When a new mounted pair takes over from the one in use."""

from __future__ import annotations

import datetime as dt
from base64 import b64encode
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from certs.authority import KeyPair, issue_ca
from certs.file_source import FileSource
from certs.leaf import Leaf, make_leaf
from certs.settings import DAY
from certs.webhook_configs import ObservedConfigurations, WebhookConfiguration
from tests.unit.apiserver import configuration
from tests.unit.certs.conftest import NAME, NOW, SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

OLD = issue_ca(NAME, now=NOW, lifetime=30 * DAY, backdating=300)
NEW = issue_ca(NAME, now=NOW, lifetime=60 * DAY, backdating=300)
LEAF = make_leaf(OLD, NOW, SETTINGS, early=0)
"""The pair in use: seven days from day 0."""

LAG = 10.0
"""Less than ``propagation``: an API server may not yet have read the bundles."""


def at(day: float) -> dt.datetime:
    return NOW + dt.timedelta(days=day)


def configurations(
    *bundles: tuple[KeyPair, ...], steady_for: float = 1000
) -> ObservedConfigurations:
    """Return one configuration, of one entry, for each bundle."""
    found = []
    for number, bundle in enumerate(bundles):
        encoded = b64encode(b"".join(ca.certificate_pem for ca in bundle)).decode()
        item = configuration(f"c{number}", "entry", bundle=encoded)
        item["metadata"] |= {"uid": str(number), "resourceVersion": "1"}
        found.append(WebhookConfiguration.parse("mutating", item, steady_for))
    return ObservedConfigurations(tuple(found), lost_for=steady_for)


class Mounted:
    """A source with its folder, on a day that the test chooses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.day = 5.0
        self.source = FileSource(folder, SETTINGS, lambda: at(self.day))

    def put(self, pair: Leaf) -> None:
        """Write *pair* into the folder."""
        (self.folder / "tls.crt").write_bytes(pair.chain_pem)
        (self.folder / "tls.key").write_bytes(pair.key_pem)

    def why(self, observed: ObservedConfigurations) -> str | None:
        """Run a round with LEAF in use; returns why it is replaced, None: it stays."""
        self.source.reconcile(observed, LEAF)
        chosen = self.source.next_leaf(LEAF, observed)
        return chosen[1] if chosen else None


@pytest.fixture
def mounted(tmp_path: Path) -> Mounted:
    """Give a folder."""
    return Mounted(tmp_path)


def renewed(ca: KeyPair) -> Leaf:
    return make_leaf(ca, at(4.7), SETTINGS, early=0)


COVERED = "every bundle that covers the old leaf covers the new one"
SOON = "the old leaf expires soon"


@pytest.mark.parametrize(
    ("ca", "observed", "day", "why"),
    [
        pytest.param(
            OLD, configurations((OLD,), ()), 5, COVERED,
            id="a bundle that nobody fills covers neither and holds nothing up",
        ),
        pytest.param(
            NEW, configurations((OLD, NEW), (OLD,)), 5, None,
            id="a bundle that covers only the one in use is waited for",
        ),
        pytest.param(
            NEW, configurations((NEW,), (), steady_for=LAG), 5, "no bundle covers the old leaf",
            id="a pair in use that nobody trusts is given up at once",
        ),
        pytest.param(
            NEW, configurations(steady_for=LAG), 5, None,
            id="API servers that lag may have what was deleted just now",
        ),
        pytest.param(
            NEW, configurations((OLD, NEW), steady_for=LAG), 5, None,
            id="bundles that have just changed are given time",
        ),
        pytest.param(
            NEW, configurations((OLD, NEW), steady_for=LAG), 6.5, SOON,
            id="but not in the last tenth of a life",
        ),
        pytest.param(
            NEW, configurations((OLD, NEW), (OLD,)), 6.5, None,
            id="in the last tenth a bundle that would lose is still waited for",
        ),
        pytest.param(
            NEW, configurations((OLD, NEW), (OLD,)), 7 - 20 / DAY, "the old leaf expires now",
            id="nothing is waited for when an expired pair is the alternative",
        ),
        pytest.param(
            NEW, configurations((OLD,)), 8, "the old leaf is not valid at the API server's time",
            id="a pair that has expired in use is given up",
        ),
    ],
)  # fmt: skip
def test_a_new_pair_takes_over(
    mounted: Mounted, ca: KeyPair, observed: ObservedConfigurations, day: float, why: str | None
) -> None:
    mounted.day = day
    mounted.put(renewed(ca))
    assert mounted.why(observed) == why


def test_a_pair_that_expires_earlier_never_cuts_waiting_short(mounted: Mounted) -> None:
    """Somebody put an old Secret back: it would be no gain."""
    mounted.put(make_leaf(NEW, at(-1), SETTINGS, early=0))
    mounted.day = 5.99999
    earlier = mounted.why(configurations((OLD, NEW), (OLD,)))
    mounted.day = 7 - 20 / DAY
    assert (earlier, mounted.why(configurations((OLD, NEW), (OLD,)))) == (None, None)


def test_of_a_pair_of_an_hour_the_last_tenth_is_six_minutes(mounted: Mounted) -> None:
    """The life of a mounted pair is its maker's choice; that of our leaves says nothing of it."""
    short = SETTINGS.model_copy(update={"leaf_lifetime": 3300.0})
    in_use = make_leaf(OLD, at(5), short, early=0)
    mounted.put(make_leaf(NEW, at(5) + dt.timedelta(minutes=30), short, early=0))
    observed = configurations((OLD, NEW), steady_for=LAG)
    taken = {}
    for minute in (45, 50):
        mounted.day = 5 + minute / 1440
        mounted.source.reconcile(observed, in_use)
        taken[minute] = mounted.source.next_leaf(in_use, observed) is not None
    assert taken == {45: False, 50: True}


def test_what_a_new_pair_waits_for_is_said_once(mounted: Mounted) -> None:
    """The log names the configuration that lacks its CA; the next renewal is told anew."""
    mounted.put(renewed(NEW))
    with capture_logs() as logs:
        for _ in range(3):
            assert mounted.why(configurations((OLD, NEW), (OLD,))) is None
        assert mounted.why(configurations((OLD, NEW), (OLD, NEW)))
        assert mounted.why(configurations((OLD, NEW), (OLD,))) is None
    waits = (
        f"caBundle of mutating/c1/entry to have covered the new {mounted.folder}/tls.crt for 60 s"
    )
    assert [one["waits_for"] for one in logs] == [waits, waits]
    assert mounted.source.state.waits_for == waits


@pytest.mark.parametrize(
    ("day", "taken"),
    [
        pytest.param(5, False, id="a pair with a third of its life left stays"),
        pytest.param(6.5, True, id="in its last tenth it is given up for the renewed one"),
    ],
)
def test_while_the_api_server_does_not_answer(
    mounted: Mounted,
    day: float,
    taken: bool,  # noqa: FBT001
) -> None:
    mounted.day = day
    mounted.put(renewed(OLD))
    assert (mounted.source.offline_leaf(LEAF) is not None) == taken
