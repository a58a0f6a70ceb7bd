"""When a new mounted leaf takes over from the served one."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from certs.authority import KeyPair, issue_ca
from certs.file_source import FileSource
from certs.leaf import Leaf, make_leaf
from certs.settings import DAY
from certs.webhook_configs import KINDS
from tests.unit.certs.builders import NAME, NOW, SETTINGS, configurations, write_files

if TYPE_CHECKING:
    from pathlib import Path

    from certs.webhook_configs import ObservedConfigurations

OLD = issue_ca(NAME, now=NOW, lifetime=30 * DAY, backdating=300)
NEW = issue_ca(NAME, now=NOW, lifetime=60 * DAY, backdating=300)
LEAF = make_leaf(OLD, NOW, SETTINGS, early=0)
"""The served leaf: seven days from day 0."""

LAG = 10.0
"""Less than ``propagation``: an API server may not yet have read the bundles."""


def at(day: float) -> dt.datetime:
    return NOW + dt.timedelta(days=day)


class Mounted:
    """A source with its folder, on a day that the test chooses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.day = 5.0
        self.source = FileSource(folder, SETTINGS, lambda: at(self.day))

    def put(self, leaf: Leaf) -> None:
        """Write *leaf* into the folder."""
        write_files(self.folder, leaf)

    def takeover_reason(self, observed: ObservedConfigurations) -> str | None:
        """Reconcile while LEAF is served; return why it is replaced, None: it stays."""
        self.source.reconcile(observed, LEAF)
        choice = self.source.next_leaf(LEAF, observed)
        return choice[1] if choice else None


@pytest.fixture
def mounted(tmp_path: Path) -> Mounted:
    """Give a source with an empty folder."""
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
            id="an empty bundle covers neither and is not waited for",
        ),
        pytest.param(
            NEW, configurations((OLD, NEW), (OLD,)), 5, None,
            id="a bundle that covers only the old leaf is waited for",
        ),
        pytest.param(
            NEW, configurations((NEW,), (), steady_for=LAG), 5, "no bundle covers the old leaf",
            id="an old leaf that no bundle covers is replaced at once",
        ),
        pytest.param(
            NEW, configurations(steady_for=LAG), 5, None,
            id="API servers that lag may have a configuration that was just deleted",
        ),
        pytest.param(
            NEW, configurations((OLD, NEW), steady_for=LAG), 5, None,
            id="bundles that have just changed are waited for",
        ),
        pytest.param(
            NEW, configurations((OLD, NEW), steady_for=LAG), 6.5, SOON,
            id="but not in the last tenth of a life",
        ),
        pytest.param(
            NEW, configurations((OLD, NEW), (OLD,)), 6.5, None,
            id="in the last tenth a bundle without the new CA is still waited for",
        ),
        pytest.param(
            NEW, configurations((OLD, NEW), (OLD,)), 7 - 20 / DAY, "the old leaf expires now",
            id="nothing is waited for when the old leaf expires otherwise",
        ),
        pytest.param(
            NEW, configurations((OLD,)), 8, "the old leaf is not valid at the API server's time",
            id="an expired old leaf is replaced",
        ),
    ],
)  # fmt: skip
def test_a_new_leaf_takes_over(
    mounted: Mounted, ca: KeyPair, observed: ObservedConfigurations, day: float, why: str | None
) -> None:
    mounted.day = day
    mounted.put(renewed(ca))
    assert mounted.takeover_reason(observed) == why


def test_a_leaf_that_expires_earlier_never_ends_the_wait(mounted: Mounted) -> None:
    """After an old Secret was mounted again, a takeover would be no gain."""
    mounted.put(make_leaf(NEW, at(-1), SETTINGS, early=0))
    mounted.day = 5.99999
    earlier = mounted.takeover_reason(configurations((OLD, NEW), (OLD,)))
    mounted.day = 7 - 20 / DAY
    assert (earlier, mounted.takeover_reason(configurations((OLD, NEW), (OLD,)))) == (None, None)


def test_the_last_tenth_of_a_leaf_of_an_hour_is_six_minutes(mounted: Mounted) -> None:
    """The life of a mounted leaf is its issuer's choice, not that of our leaves."""
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


def test_what_a_new_leaf_waits_for_is_logged_once(mounted: Mounted) -> None:
    """The log names the entries that lack its CA; the wait of the next renewal is logged again."""
    mounted.put(renewed(NEW))
    with capture_logs() as logs:
        for _ in range(3):
            assert mounted.takeover_reason(configurations((OLD, NEW), (OLD,))) is None
        assert mounted.takeover_reason(configurations((OLD, NEW), (OLD, NEW)))
        assert mounted.takeover_reason(configurations((OLD, NEW), (OLD,))) is None
    entries = f"{KINDS[0]}/c1/a, {KINDS[0]}/c1/b"
    waits = f"caBundle of {entries} to have covered the new {mounted.folder}/tls.crt for 60 s"
    assert [one["waits_for"] for one in logs] == [waits, waits]
    assert mounted.source.state.waits_for == waits


@pytest.mark.parametrize(
    ("day", "taken"),
    [
        pytest.param(5, False, id="a leaf with a third of its life left stays"),
        pytest.param(6.5, True, id="in its last tenth it is replaced by the renewed one"),
    ],
)
def test_while_the_api_server_does_not_answer(
    mounted: Mounted,
    day: float,
    taken: bool,  # noqa: FBT001 - a column of the table
) -> None:
    mounted.day = day
    mounted.put(renewed(OLD))
    assert (mounted.source.offline_leaf(LEAF) is not None) == taken
