"""Certificates of what the chart installs: two pods, their own ServiceAccount and network."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cluster.support.admission import NAME, NAMESPACE, api, replicas, spaces
from tests.cluster.support.certs_manager import CertManagerStandIn
from tests.cluster.support.certs_site import SHORTENED
from tests.cluster.support.load import PODS, Load
from tests.cluster.support.other_kinds import CERT_MANAGER, defined
from tests.devcluster import helm
from tests.devcluster.genie import (
    DEFAULT_NETWORK,
    chart_values,
    import_genie,
    install_genie,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster

DEPLOYMENT = ("-n", NAMESPACE, f"deployment/{NAME}")


@pytest.fixture
def short_lived(cluster: Cluster) -> Iterator[Cluster]:
    """Give the cluster with the webhook's times shortened, and put them back."""
    _set(cluster, *(f"{name}={value}" for name, value in SHORTENED.items()))
    with spaces(cluster, {"busy": {}}, force=True):
        yield cluster
        # In one request: there are thousands, and kubectl deletes one after another.
        api(cluster).delete(f"{PODS}?gracePeriodSeconds=0", timeout=100)
    _set(cluster, *(f"{name}-" for name in SHORTENED))


def _set(cluster: Cluster, *variables: str) -> None:
    cluster.kubectl("set", "env", *DEPLOYMENT, *variables)
    cluster.kubectl("rollout", "status", *DEPLOYMENT, "--timeout=120s")


def names(cluster: Cluster) -> list[str]:
    """Return the names of the webhook's pods."""
    return [pod["metadata"]["name"] for pod in replicas(cluster)]


def _certs(cluster: Cluster, *arguments: str) -> str:
    pod = names(cluster)[0]
    command = ("--", "python", "-m", "certs", *arguments)
    return cluster.kubectl("exec", "-n", NAMESPACE, pod, *command).stdout


def test_a_rotation_asked_for_in_a_pod_costs_no_call(short_lived: Cluster) -> None:
    """``python -m certs rotate --wait`` in a pod, and the rest of the rotation, under load."""

    def is_steady() -> bool:
        return "STEADY" in _certs(short_lived, "status")

    # On a cluster that was used before, the short-lived CA of another run may be due just now.
    short_lived.wait_for(is_steady, 120, "no rotation to be under way")
    with Load(short_lived, pause=0.05) as load:
        before = json.loads(_certs(short_lived, "status", "--output", "json"))
        after = json.loads(_certs(short_lived, "rotate", "--wait", "--output", "json"))
        assert after["phase"] in {"PROMOTE", "RETIRE"}
        short_lived.wait_for(is_steady, 120, "the rotation to be over")
    old, new = ({a["fingerprint"] for a in s["certificateAuthorities"]} for s in (before, after))
    assert old < new
    assert load.faults == []
    assert load.calls > 0


WITH_CERT_MANAGER = {"certificates": "cert-manager", "webhook": {"settings": SHORTENED}}


@pytest.fixture
def cert_manager(cluster: Cluster) -> Iterator[CertManagerStandIn]:
    """Give the stand-in for cert-manager; both replicas serve its certificate."""
    image = import_genie(cluster)
    values = {**chart_values(image, DEFAULT_NETWORK), **WITH_CERT_MANAGER}
    (certificate,) = (item for item in helm.render(values) if "dnsNames" in item.get("spec", {}))
    admin = api(cluster)
    stand_in = CertManagerStandIn(admin, certificate)
    with defined(cluster, CERT_MANAGER):
        stand_in.issue()
        helm.install(cluster, values)
        entries = stand_in.inject()
        assert entries == 8
        cluster.kubectl("rollout", "status", *DEPLOYMENT, "--timeout=120s")
        # Again, as cert-manager would: the old replicas wrote their CA beside the new one.
        stand_in.inject()
        with spaces(cluster, {"busy": {}}, force=True):
            yield stand_in
            admin.delete(f"{PODS}?gracePeriodSeconds=0", timeout=100)
        stand_in.withdraw()
        install_genie(cluster)
    cluster.kubectl("delete", "secret", stand_in.secret, "-n", NAMESPACE)


def served_leaves(cluster: Cluster) -> list[float]:
    """Return how many certificates each replica has begun to serve."""
    counter = "genie_certificate_leaves_total "
    counts = []
    for pod in names(cluster):
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}:8080/proxy/metrics"
        lines = cluster.kubectl("get", "--raw", path).stdout.splitlines()
        counts += [float(line.removeprefix(counter)) for line in lines if line.startswith(counter)]
    return counts


def test_a_certificate_renewed_by_cert_manager_costs_no_call(
    cluster: Cluster, cert_manager: CertManagerStandIn
) -> None:
    """Two replicas that may read no Secret serve it from the volume that kubelet updates."""
    assert served_leaves(cluster) == [1, 1]
    with Load(cluster, pause=0.05) as load:
        cert_manager.issue()
        # After a change of the pod, kubelet updates its volumes now, not within a minute.
        renewed = "tests.cni-genie.io/renewed=yes"
        cluster.kubectl("annotate", "pods", "-n", NAMESPACE, *names(cluster), renewed)
        cluster.wait_for(
            lambda: served_leaves(cluster) == [2, 2],
            120,
            "both replicas to serve the new certificate",
        )
        calls = load.calls
        cluster.wait_for(lambda: load.calls >= calls + 100, 120, "the load to go on")
    assert load.faults == []
