"""Certificates on a real API server: rotations, repairs and failures while pods are created.

Two replicas run as processes with shortened times. Every call of the API server is a TLS connection
of its own, and a client that trusts the bundles of some seconds ago connects all the time.
"""

from __future__ import annotations

import json
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from certs.webhook_configs import API, KINDS
from tests.cluster.support.admission import NAME, NAMESPACE, make_spaces, node, own_cluster
from tests.cluster.support.certs_site import WITHOUT_PODS, CertificateSite, StrictClient, bundles
from tests.cluster.support.load import Load
from tests.cluster.support.outside_webhook import apply_chart
from tests.devcluster.helm import PLAIN, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/genie-webhook-ca"
NAMED = f"{KINDS[0]}/cni-genie"
MUTATING = f"{API}{NAMED}"
ENOUGH = 2000
PAUSE = 0.02
"""Seconds between the calls of a client: the replicas and the API server share the processors."""


@pytest.fixture(scope="module")
def site() -> Iterator[CertificateSite]:
    """Give an API server with the chart and two replicas that started at the same time."""
    with own_cluster("certs") as cluster:
        cluster.apply(node("node1"))
        apply_chart(cluster, *WITHOUT_PODS)
        # The namespace is removed with the cluster: to delete thousands of pods would take longer.
        make_spaces(cluster, {"busy": {}})
        new_site = CertificateSite(cluster)
        try:
            new_site.start()
            yield new_site
        finally:
            for replica in new_site.replicas:
                replica.kill()


@pytest.fixture(autouse=True)
def _fresh(site: CertificateSite) -> None:
    """Begin each test with one CA."""
    site.wait_steady()


def configuration(site: CertificateSite) -> dict[str, Any]:
    return site.admin.get(MUTATING)


def rendered() -> dict[str, Any]:
    """Return the MutatingWebhookConfiguration as the chart has it."""
    objects = render(PLAIN)
    return next(one for one in objects if one["kind"] == "MutatingWebhookConfiguration")


def test_two_replicas_that_start_at_once_share_one_ca(site: CertificateSite) -> None:
    """One of them created the Secret; both serve leaves that every bundle covers."""
    assert set(bundles(site.admin).values()) == {site.secret()["ca.crt"]}
    for replica in site.replicas:
        # Ready means that one bundle covers its leaf; a replica sees the other's writes later.
        replica.wait_for_metric("genie_certificate_uncovered_entries", 0)
        replica.wait_for_metric("genie_certificate_self_check_ok", 1)


def test_a_whole_rotation_costs_no_call(site: CertificateSite) -> None:
    """From STEADY through all phases to STEADY: at least 2,000 pods are created and normalised.

    In the middle the manifests are applied again, which does not change caBundle.
    """
    old = site.secret()["ca.crt"]
    with Load(site.cluster, pause=PAUSE) as load, StrictClient(site) as strict:
        site.certs("rotate")
        site.wait_for_key("next.crt")
        site.wait_for_key("previous.crt")
        status = json.loads(site.certs("status", "--output", "json").stdout)
        assert status["phase"] == "PROMOTE"
        # Not earlier: PROMOTE lasts 20 seconds, and on a busy machine kubectl takes longer.
        apply_chart(site.cluster, *WITHOUT_PODS)
        site.wait_steady()
        site.cluster.wait_for(lambda: load.calls >= ENOUGH, 120, f"{ENOUGH} calls")
        strict.catch_up()
    assert site.secret()["ca.crt"] != old
    assert load.faults == []
    assert strict.faults == []
    assert load.calls >= ENOUGH
    assert strict.handshakes > 100


def test_the_secret_may_be_deleted_under_load(site: CertificateSite) -> None:
    """The replicas restore it from memory, with the same CA, and no call fails."""
    before = site.secret()
    with Load(site.cluster, pause=PAUSE) as load, StrictClient(site) as strict:
        for _ in range(3):
            site.admin.delete(SECRET)
            site.wait_for_key("ca.crt")
        calls = load.calls
        site.cluster.wait_for(lambda: load.calls >= calls + 100, 120, "the load to go on")
        strict.catch_up()
    assert site.secret()["ca.crt"] == before["ca.crt"]
    assert load.faults == []
    assert strict.faults == []


def test_both_replicas_may_be_killed_in_a_rotation(site: CertificateSite) -> None:
    """Killed in PUBLISH and again in PROMOTE, they finish the rotation without a failed call."""
    old = site.secret()["ca.crt"]
    handshakes = []
    with StrictClient(site) as strict:
        site.certs("rotate")
        for key in ("next.crt", "previous.crt"):
            site.wait_for_key(key)
            handshakes.append(strict.handshakes)
            for replica in site.replicas:
                replica.kill()
            site.start()
        with Load(site.cluster, clients=1, pause=PAUSE) as load:
            site.wait_steady()
            site.cluster.wait_for(lambda: load.calls >= 100, 120, "some calls")
        strict.catch_up()
        handshakes.append(strict.handshakes)
    assert site.secret()["ca.crt"] != old
    assert load.faults == []
    assert strict.faults == []
    assert handshakes == sorted(set(handshakes)), "no handshake in one of the phases"


def empty(site: CertificateSite) -> float:
    item = configuration(site)
    for entry in item["webhooks"]:
        entry["clientConfig"]["caBundle"] = ""
    removed_at = time.time()
    site.admin.update(MUTATING, item)
    return removed_at


def replace(site: CertificateSite) -> float:
    manifest = rendered()
    manifest["metadata"]["resourceVersion"] = configuration(site)["metadata"]["resourceVersion"]
    removed_at = time.time()
    site.admin.update(MUTATING, manifest)
    return removed_at


def recreate(site: CertificateSite) -> float:
    manifest = rendered()
    site.admin.delete(MUTATING)
    removed_at = time.time()
    site.admin.create(API + KINDS[0], manifest)
    return removed_at


def seconds_until_written(
    site: CertificateSite, remove: Callable[[CertificateSite], float]
) -> float:
    """Remove a bundle; return the seconds until a replica wrote it, according to its log."""
    removed_at = remove(site)

    def writes() -> list[float]:
        times = [at for replica in site.replicas for at in replica.write_times(NAMED)]
        return [at for at in times if at > removed_at]

    site.cluster.wait_for(writes, 120, "a replica to write the bundle")
    site.wait_steady()
    return min(writes()) - removed_at


@pytest.mark.parametrize("remove", [empty, replace, recreate])
def test_a_bundle_that_is_removed_is_written_back_within_a_second(
    site: CertificateSite, remove: Callable[[CertificateSite], float]
) -> None:
    """Emptied, replaced by the manifest, deleted and created again.

    The times are those of the replicas' logs. The median of three counts, because on a busy machine
    a replica may be starved for a second at any time; a replica that reconciled only every few
    seconds would be late at least twice.
    """
    durations = [seconds_until_written(site, remove) for _ in range(3)]
    print(durations)
    assert median(durations) < 1


@pytest.mark.parametrize("how", [(), ("--server-side", "--force-conflicts")], ids=["client", "SSA"])
def test_the_next_release_may_drop_and_rename_entries(
    site: CertificateSite, how: tuple[str, ...]
) -> None:
    """No part of a dropped entry stays, the renamed one is covered, and a rollback works."""
    first = rendered()
    second = json.loads(json.dumps(first))
    dropped = second["webhooks"].pop(0)["name"]
    second["webhooks"][0]["name"] = "renamed.cni-genie.io"
    site.admin.delete(MUTATING)
    for release in (first, second, first):
        site.cluster.apply(release, *how)
        names = [entry["name"] for entry in release["webhooks"]]
        assert sorted(e["name"] for e in configuration(site)["webhooks"]) == sorted(names)
        site.wait_steady()
    assert dropped in [entry["name"] for entry in configuration(site)["webhooks"]]


def test_the_chart_with_cert_manager_is_accepted(site: CertificateSite) -> None:
    """By a real API server, except cert-manager's own kinds; it requests the injection."""
    objects = render({**PLAIN, "certificates": "cert-manager"})
    ours = [one for one in objects if one["apiVersion"] != "cert-manager.io/v1"]
    site.cluster.apply(yaml.safe_dump_all(ours), "--dry-run=server")
    marked = [
        one["metadata"]["annotations"]["cert-manager.io/inject-ca-from"]
        for one in ours
        if one["kind"].endswith("WebhookConfiguration")
    ]
    assert marked == ["genie-system/genie-webhook"] * 2
    (role,) = (one for one in ours if one["kind"] == "Role" and one["metadata"]["name"] == NAME)
    resources = {resource for rule in role["rules"] for resource in rule["resources"]}
    assert resources == {"configmaps", "leases"}, (
        "the Role stays, without Secrets: an apply takes away the rights of the installed one"
    )


def test_a_compromised_ca_is_distrusted_at_once(site: CertificateSite) -> None:
    """The command warns of the cost, and returns when no bundle holds the old CA."""
    old = site.secret()["ca.crt"]
    result = site.certs("rotate", "--compromised", "--wait", "--timeout", "120")
    assert "calls of the webhook fail" in result.stderr
    assert old not in bundles(site.admin).values()
    assert all(old not in bundle for bundle in bundles(site.admin).values())
    for replica in site.replicas:
        replica.wait_for_metric("genie_certificate_uncovered_entries", 0)
