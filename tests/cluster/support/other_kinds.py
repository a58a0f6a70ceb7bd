"""Kinds of cert-manager and of the Prometheus operator, as no more than names.

The server checks where such an object is put and what it is called, not what it contains.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.devcluster.cluster import Cluster

CERT_MANAGER = {
    ("cert-manager.io", "v1", "Certificate"),
    ("cert-manager.io", "v1", "Issuer"),
}
PROMETHEUS = {
    ("monitoring.coreos.com", "v1", "PodMonitor"),
    ("monitoring.coreos.com", "v1", "PrometheusRule"),
    ("monitoring.coreos.com", "v1", "ServiceMonitor"),
}


def definition(group: str, version: str, kind: str) -> dict[str, Any]:
    """Return a CustomResourceDefinition that accepts any content."""
    plural = f"{kind.lower()}s"
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": anything},
                }
            ],
        },
    }


@contextlib.contextmanager
def defined(cluster: Cluster, kinds: Iterable[tuple[str, str, str]]) -> Iterator[None]:
    """Define *kinds* (group, version, kind) for a block; their objects go with them."""
    definitions = [definition(*each) for each in sorted(kinds)]
    names = [each["metadata"]["name"] for each in definitions]
    cluster.apply({"apiVersion": "v1", "kind": "List", "items": definitions})
    cluster.wait_until_served(*names)
    try:
        yield
    finally:
        cluster.kubectl("delete", "customresourcedefinition", *names)
