"""A whole rotation of what manifests/ install: two pods, their own ServiceAccount and network."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cluster.admission import NAME, NAMESPACE, api, spaces
from tests.cluster.certs_site import SHORTENED
from tests.cluster.load import PODS, Load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster

DEPLOYMENT = ("-n", NAMESPACE, f"deployment/{NAME}")


@pytest.fixture
def short_lived(cluster: Cluster) -> Iterator[Cluster]:
    """Give the cluster with the webhook's times shortened, and put them back."""
    _set(cluster, *(f"{name}={value}" for name, value in SHORTENED.items()))
    with spaces(cluster, {"busy": {}}, force=True):
        yield cluster
        # At once: there are thousands, and kubectl deletes one after another.
        api(cluster).delete(f"{PODS}?gracePeriodSeconds=0")
    _set(cluster, *(f"{name}-" for name in SHORTENED))


def _set(cluster: Cluster, *variables: str) -> None:
    cluster.kubectl("set", "env", *DEPLOYMENT, *variables)
    cluster.kubectl("rollout", "status", *DEPLOYMENT, "--timeout=100s")


def _certs(cluster: Cluster, *arguments: str) -> str:
    return cluster.kubectl("exec", *DEPLOYMENT, "--", "python", "-m", "certs", *arguments).stdout


def test_a_rotation_asked_for_in_a_pod_costs_no_call(short_lived: Cluster) -> None:
    """``python -m certs rotate --wait`` in a pod, to its end, while pods are created."""
    with Load(short_lived) as load:
        before = json.loads(_certs(short_lived, "status", "--output", "json"))
        assert before["phase"] == "STEADY"
        after = json.loads(_certs(short_lived, "rotate", "--wait", "--output", "json"))
        assert after["phase"] in {"PROMOTE", "RETIRE"}

        def is_over() -> bool:
            return "STEADY" in _certs(short_lived, "status")

        short_lived.wait_for(is_over, 60, "the rotation to be over")
    old, new = ({a["fingerprint"] for a in s["certificateAuthorities"]} for s in (before, after))
    assert old < new
    assert load.faults == []
    assert load.calls > 0
