"""Backing off from configurations that another program writes."""

from __future__ import annotations

from structlog.testing import capture_logs

from certs.webhook_configs import API, KINDS
from certs.write_backoff import WriteBackoff
from tests.unit.apiserver import Api, configuration
from tests.unit.certs.builders import MUTATING, ca_bundle, make_manager, metric


def test_a_bundle_that_is_overwritten_again_and_again_is_written_back_ever_later(api: Api) -> None:
    """In ten seconds a handful of writes instead of a hundred; other configurations do not wait."""
    manager = make_manager(api)
    manager.reconcile()
    other = f"{API}{KINDS[1]}/other"
    with capture_logs() as logs:
        for tenth in range(100):
            api.seconds = tenth / 10
            api.store(MUTATING, configuration("cni-genie", "a", "b"))
            manager.reconcile()
    assert 4 <= metric(manager, "bundle_writes_total") <= 10
    assert metric(manager, "contested_writes_total") >= 2
    assert sum("keeps overwriting" in one["event"] for one in logs) == 1
    assert 0 < manager._seconds_to_next() <= 15
    api.store(other, configuration("other", "o"))
    manager.reconcile()
    assert ca_bundle(api, other)
    api.seconds += 15
    manager.reconcile()
    assert ca_bundle(api)


def test_a_series_of_writes_ends_after_a_minute_without_one() -> None:
    """The next write is the first of a series again, without a delay."""
    now = [0.0]
    backoff = WriteBackoff(lambda: now[0], lambda: None)
    for _ in range(3):
        backoff.record_write("a")
    assert not backoff.may_write("a")
    assert backoff.may_write("b")
    now[0] = 61
    backoff.record_write("a")
    assert backoff.may_write("a")
