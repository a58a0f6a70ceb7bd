"""Reconciliations of whole replicas against a stand-in API server."""

from __future__ import annotations

from base64 import b64decode

import pytest

from certs.authority import to_pem
from certs.ca_secret import COMPROMISED, REQUEST, parse
from certs.kube_store import SecretStore
from certs.transitions import RotationReason
from certs.webhook_configs import API, KINDS
from dispatcher.kube.errors import KubeError
from tests.unit.apiserver import Api, configuration, fail
from tests.unit.certs.builders import (
    MUTATING,
    NAME,
    SECRET,
    SECRETS,
    SETTINGS,
    ca_bundle,
    make_manager,
    metric,
    request_rotation,
)


def test_a_first_reconciliation_creates_everything(api: Api) -> None:
    """The Secret, the bundle of each entry of ours and a leaf; other configurations stay."""
    manager = make_manager(api)
    assert manager.reason() == "no certificate yet"
    assert manager.reconcile()
    assert manager.wait_for_leaf(0)
    assert SECRET in api.objects
    assert all("caBundle" in entry["clientConfig"] for entry in api.objects[MUTATING]["webhooks"])
    assert ca_bundle(api, f"{API}{KINDS[0]}/foreign") is None
    assert metric(manager, "secret_writes_total", cause=RotationReason.FIRST.name.lower()) == 1
    assert metric(manager, "rotation_phase", phase="STEADY") == 1
    assert metric(manager, "uncovered_entries") == 0


def test_a_second_reconciliation_writes_nothing(api: Api) -> None:
    """Nothing differs, so no object gets a new version."""
    manager = make_manager(api)
    manager.reconcile()
    versions = {path: one["metadata"]["resourceVersion"] for path, one in api.objects.items()}
    assert manager.reconcile()
    assert versions == {p: one["metadata"]["resourceVersion"] for p, one in api.objects.items()}


def test_of_two_replicas_one_creates_the_secret(api: Api) -> None:
    """The other gets a conflict, and adopts the CA in its next reconciliation."""
    first, second = make_manager(api), make_manager(api)

    def overtake(method: str, _path: str) -> None:
        if method == "POST":
            api.before = lambda *_: None
            second.reconcile()

    api.before = overtake
    assert not first.reconcile()
    assert first.reconcile()
    assert first.leaf
    assert second.leaf
    assert first.leaf.ca == second.leaf.ca
    assert metric(first, "failures_total") == 0


def test_a_configuration_that_cannot_be_written_does_not_stop_the_rest(api: Api) -> None:
    """The other configurations get their bundles, and the leaf is served."""
    other = f"{API}{KINDS[1]}/zz"
    api.store(other, configuration("zz", "z"))

    api.before = fail(KubeError(403, "Forbidden", "not allowed"), "PATCH", path=MUTATING)
    manager = make_manager(api)
    assert not manager.reconcile()
    assert manager.leaf
    assert ca_bundle(api, other)
    assert metric(manager, "failures_total") == 1
    assert metric(manager, "uncovered_entries") == 2


def test_lost_races_are_errors_only_in_a_row(api: Api) -> None:
    """Three are bad luck; the fourth is counted."""
    manager = make_manager(api)
    api.before = fail(KubeError(422, "Invalid", "the test fails"), "PATCH")
    for _ in range(3):
        manager.reconcile()
    assert metric(manager, "failures_total") == 0
    manager.reconcile()
    assert metric(manager, "failures_total") == 1


def test_without_an_api_server_the_leaf_is_renewed_at_the_last(api: Api) -> None:
    """By the CA in memory, when a tenth of its life is left; readiness gives the error."""
    manager = make_manager(api)
    unreachable = fail(KubeError(0, "NoAnswer", "no answer"))
    api.before = unreachable
    assert not manager.reconcile()
    assert "no answer" in manager.reason()
    api.before = lambda *_: None
    manager.reconcile()
    api.before = unreachable
    before = manager.leaf
    api.seconds = 0.8 * SETTINGS.leaf_lifetime
    manager.reconcile()
    assert manager.leaf is before
    api.seconds = 0.95 * SETTINGS.leaf_lifetime
    manager.reconcile()
    assert manager.leaf is not before
    api.seconds = 2 * SETTINGS.ca_lifetime
    last = manager.leaf
    manager.reconcile()
    assert manager.leaf is last


@pytest.mark.parametrize("status", [403, 409, 422])
@pytest.mark.parametrize("lost", [False, True], ids=["due for rotation", "deleted"])
def test_a_secret_that_cannot_be_written_does_not_stop_the_rest(
    api: Api, *, lost: bool, status: int
) -> None:
    """Bundles are repaired and the leaf is renewed, by the CA as read or from memory."""
    manager = make_manager(api)
    manager.reconcile()
    before = manager.leaf
    assert before
    if lost:
        api.remove(SECRET)
    else:
        request_rotation(api, "requested")
    api.before = fail(KubeError(status, "Refused", "refused"), "PUT", "POST", path=SECRETS)
    for _ in range(4):
        assert not manager.reconcile()
    assert "refused" in manager._error
    api.store(MUTATING, configuration("cni-genie", "a", "b"))
    api.seconds = SETTINGS.leaf_lifetime * 0.7
    manager.reconcile()
    assert ca_bundle(api)
    assert manager.leaf is not before
    assert manager.leaf
    assert manager.leaf.ca == before.ca


def test_an_unexpected_error_does_not_let_the_leaf_expire(api: Api) -> None:
    """The CA in memory signs a new one when a tenth of the life is left."""
    manager = make_manager(api)
    manager.reconcile()
    before = manager.leaf

    def broken(_method: str, _path: str) -> None:
        raise ZeroDivisionError

    api.before = broken
    api.seconds = SETTINGS.leaf_lifetime * 0.95
    assert not manager.reconcile()
    assert manager.leaf is not before


def test_offline_no_leaf_is_made_that_would_not_live_longer(api: Api) -> None:
    """In the last days of a CA its leaves expire with it."""
    manager = make_manager(api)
    manager.reconcile()
    api.before = fail(KubeError(0, "NoAnswer", "no answer"), "GET")
    for part in (0.24, 0.48, 0.72, 0.95, 0.99, 0.999):
        api.seconds = SETTINGS.ca_lifetime * part
        manager.reconcile()
        last = manager.leaf
        manager.reconcile()
        assert manager.leaf is last
    assert manager.leaf
    assert manager.leaf.ca
    assert manager.leaf.certificate.not_valid_after_utc == manager.leaf.ca.not_valid_after_utc
    assert metric(manager, "leaves_total") == 5


def test_a_replica_that_was_cut_off_brings_no_compromised_ca_back(api: Api) -> None:
    """No other replica is left and the Secret is deleted: it issues a new CA after 5 seconds."""
    first, second = make_manager(api), make_manager(api)
    for manager in (first, second):
        manager.reconcile()
    assert second.leaf
    assert second.leaf.ca
    bad = second.leaf.ca
    request_rotation(api, COMPROMISED)
    first.reconcile()
    api.remove(SECRET)
    second.reconcile()
    assert second._seconds_to_next() <= SETTINGS.restore_grace
    api.seconds = 6
    second.reconcile()
    stored = parse(api.objects[SECRET], NAME, api.now).content
    assert stored
    assert stored.ca.certificate != bad
    assert ca_bundle(api)
    assert to_pem(bad) not in b64decode(ca_bundle(api) or "")


def test_the_ca_of_a_leaf_in_use_is_published_whatever_the_secret_says(api: Api) -> None:
    """After another Secret was restored, both CAs are trusted until the leaf is replaced."""
    manager = make_manager(api)
    manager.reconcile()
    assert manager.leaf
    assert manager.leaf.ca
    before = to_pem(manager.leaf.ca)
    elsewhere = Api()
    make_manager(elsewhere).reconcile()
    api.store(SECRET, elsewhere.objects[SECRET])
    api.store(MUTATING, configuration("cni-genie", "a", "b"))
    manager.reconcile()
    assert before in b64decode(ca_bundle(api) or "")
    assert to_pem(manager.leaf.ca) == before


def test_a_secret_is_written_over_no_other_version_than_was_read(api: Api) -> None:
    """Of two replicas that read it, one writes; the other gets a conflict."""
    manager = make_manager(api)
    manager.reconcile()
    store = SecretStore(api.client(), SETTINGS)
    secret = store.read()
    content = parse(secret, NAME, api.now).content
    assert content
    store.write(content, secret)
    with pytest.raises(KubeError) as refused:
        store.write(content, secret)
    assert refused.value.status == 409


def test_after_all_configurations_are_deleted_a_new_ca_still_waits(api: Api) -> None:
    """An API server that lags may still have them, with the old CA alone."""
    manager = make_manager(api)
    manager.reconcile()
    request_rotation(api, "requested")
    manager.reconcile()
    api.remove(MUTATING)
    api.seconds = 1
    manager.reconcile()
    assert metric(manager, "rotation_phase", phase="PUBLISH") == 1
    api.seconds = 62
    manager.reconcile()
    assert metric(manager, "rotation_phase", phase="PROMOTE") == 1


def test_an_unexpected_error_ends_a_reconciliation_and_not_the_replica(api: Api) -> None:
    """It is logged and counted, and the next reconciliation succeeds."""
    manager = make_manager(api)

    def broken(_method: str, _path: str) -> None:
        raise ZeroDivisionError

    api.before = broken
    assert not manager.reconcile()
    assert manager.reason() == "an unexpected error; see the log"
    api.before = lambda *_: None
    assert manager.reconcile()


def test_a_request_starts_a_rotation_and_is_removed(api: Api) -> None:
    """PUBLISH follows in the same reconciliation, PROMOTE when the bundles have settled."""
    manager = make_manager(api)
    manager.reconcile()
    request_rotation(api, "requested")
    manager.reconcile()
    assert REQUEST not in api.objects[SECRET]["metadata"]["annotations"]
    assert metric(manager, "rotation_phase", phase="PUBLISH") == 1
    api.seconds = 61
    manager.reconcile()
    assert metric(manager, "rotation_phase", phase="PROMOTE") == 1
    assert metric(manager, "leaves_total") == 2
