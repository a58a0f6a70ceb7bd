"""Certificates of what manifests/ install: two pods, their own ServiceAccount and network."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.cluster.support.admission import NAME, NAMESPACE, api, spaces
from tests.cluster.support.certs_manager import CertManagerStandIn
from tests.cluster.support.certs_site import SHORTENED
from tests.cluster.support.load import PODS, Load
from tests.devcluster.build import imagebuild
from tests.devcluster.genie import DEFAULT_NETWORK, overlay

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
    cluster.kubectl("rollout", "status", *DEPLOYMENT, "--timeout=100s")


def _certs(cluster: Cluster, *arguments: str) -> str:
    return cluster.kubectl("exec", *DEPLOYMENT, "--", "python", "-m", "certs", *arguments).stdout


def test_a_rotation_asked_for_in_a_pod_costs_no_call(short_lived: Cluster) -> None:
    """``python -m certs rotate --wait`` in a pod, and the rest of the rotation, under load."""

    def is_steady() -> bool:
        return "STEADY" in _certs(short_lived, "status")

    # On a cluster that was used before, the short-lived CA of another run may be due just now.
    short_lived.wait_for(is_steady, 90, "no rotation to be under way")
    with Load(short_lived, pause=0.05) as load:
        before = json.loads(_certs(short_lived, "status", "--output", "json"))
        after = json.loads(_certs(short_lived, "rotate", "--wait", "--output", "json"))
        assert after["phase"] in {"PROMOTE", "RETIRE"}
        short_lived.wait_for(is_steady, 60, "the rotation to be over")
    old, new = ({a["fingerprint"] for a in s["certificateAuthorities"]} for s in (before, after))
    assert old < new
    assert load.faults == []
    assert load.calls > 0


OVERLAY = imagebuild.PROJECT / "manifests/overlays/cert-manager"


def environment(values: dict[str, str]) -> dict[str, Any]:
    """Return the patch of the Deployment that sets variables."""
    variables = [{"name": name, "value": value} for name, value in values.items()]
    containers = [{"name": "webhook", "env": variables}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {"template": {"spec": {"containers": containers}}},
    }


def apply_overlay(cluster: Cluster) -> None:
    """Apply the overlay for cert-manager without cert-manager's own kinds."""
    folder = cluster.layout.state / "cert-manager"
    folder.mkdir(exist_ok=True)
    archive = imagebuild.build_genie()
    base = os.path.relpath(OVERLAY, folder)
    content = overlay(base, imagebuild.GENIE_IMAGE, archive.parent.name, DEFAULT_NETWORK)
    any_object = {"apiVersion": "cert-manager.io/v1", "kind": "any", "metadata": {"name": "any"}}
    content["patches"] += [
        {
            "target": {"group": "cert-manager.io"},
            "patch": json.dumps({"$patch": "delete", **any_object}),
        },
        {"patch": json.dumps(environment(SHORTENED))},
    ]
    (folder / "kustomization.yaml").write_text(json.dumps(content))
    cluster.kubectl("apply", "-k", os.fspath(folder))


@pytest.fixture
def cert_manager(cluster: Cluster) -> Iterator[CertManagerStandIn]:
    """Give the stand-in for cert-manager; both replicas serve its certificate."""
    objects = yaml.safe_load_all((OVERLAY / "certificates.yaml").read_text())
    (certificate,) = (item for item in objects if "dnsNames" in item["spec"])
    admin = api(cluster)
    stand_in = CertManagerStandIn(admin, certificate)
    stand_in.issue()
    apply_overlay(cluster)
    entries = stand_in.inject()
    assert entries == 8
    cluster.kubectl("rollout", "status", *DEPLOYMENT, "--timeout=100s")
    # Again, as cert-manager would: the old replicas wrote their CA beside the new one.
    stand_in.inject()
    with spaces(cluster, {"busy": {}}, force=True):
        yield stand_in
        admin.delete(f"{PODS}?gracePeriodSeconds=0", timeout=100)
    stand_in.withdraw()
    cluster.kubectl("apply", "-k", os.fspath(cluster.layout.state / "genie"))
    cluster.kubectl("rollout", "status", *DEPLOYMENT, "--timeout=100s")
    cluster.kubectl("delete", "secret", stand_in.secret, "-n", NAMESPACE)


def served_leaves(cluster: Cluster) -> list[float]:
    """Return how many certificates each replica has begun to serve."""
    pods = cluster.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=webhook")
    counts = []
    for item in pods["items"]:
        if "deletionTimestamp" not in item["metadata"]:
            name = f"{item['metadata']['name']}:8080"
            path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/proxy/metrics"
            lines = cluster.kubectl("get", "--raw", path).stdout.splitlines()
            name = "genie_certificate_leaves_total "
            counts += [float(line.removeprefix(name)) for line in lines if line.startswith(name)]
    return counts


def test_a_certificate_renewed_by_cert_manager_costs_no_call(
    cluster: Cluster, cert_manager: CertManagerStandIn
) -> None:
    """Two replicas that may read no Secret serve it from the volume that kubelet updates."""
    assert served_leaves(cluster) == [1, 1]
    with Load(cluster, pause=0.05) as load:
        cert_manager.issue()
        # After a change of the pod, kubelet updates its volumes now, not within a minute.
        label = ("-n", NAMESPACE, "-l", "app.kubernetes.io/component=webhook")
        cluster.kubectl("annotate", "pods", *label, "tests.cni-genie.io/renewed=yes")
        cluster.wait_for(
            lambda: served_leaves(cluster) == [2, 2],
            100,
            "both replicas to serve the new certificate",
        )
        calls = load.calls
        cluster.wait_for(lambda: load.calls >= calls + 100, 60, "the load to go on")
    assert load.faults == []
