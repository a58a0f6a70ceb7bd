"""The custom resource of NetworkAttachmentDefinitions, as its users have it, and objects of it."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from tests.devcluster.helm import PLAIN, render

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster

OBSERVE = "observe"

CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "network-attachment-definitions.k8s.cni.cncf.io"},
    "spec": {
        "group": "k8s.cni.cncf.io",
        "scope": "Namespaced",
        "names": {
            "plural": "network-attachment-definitions",
            "singular": "network-attachment-definition",
            "kind": "NetworkAttachmentDefinition",
            "shortNames": ["net-attach-def"],
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {"config": {"type": "string"}},
                            }
                        },
                    }
                },
            }
        ],
    },
}
"""As in the specification of the NPWG, in the form that today's API server takes."""


def definition(namespace: str, name: str, config: Any) -> dict[str, Any]:
    """Return a definition with *config* as its JSON."""
    return {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"config": json.dumps(config)},
    }


@contextlib.contextmanager
def definitions_untouched(cluster: Cluster, namespace: str) -> Iterator[None]:
    """Check that the block changes no byte of the custom resource and of an object of it."""
    name = CRD["metadata"]["name"]
    objects = (("crd", name), ("net-attach-def", "blue", "-n", namespace))
    cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(CRD))
    cluster.kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=30s")
    blue = definition(namespace, "blue", {"type": "bridge"})
    cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(blue))
    try:
        before = [cluster.kubectl("get", *each, "-o", "json").stdout for each in objects]
        yield
        assert [cluster.kubectl("get", *each, "-o", "json").stdout for each in objects] == before
    finally:
        cluster.kubectl("delete", "crd", name)


def definitions_rights() -> list[Any]:
    """Return a JSON patch of the agent's ClusterRole: the rules of the mode observe."""
    [rules] = [
        each["rules"]
        for each in render({**PLAIN, "attachmentDefinitions": {"mode": OBSERVE}})
        if (each["kind"], each["metadata"]["name"]) == ("ClusterRole", "genie-agent")
    ]
    return [{"op": "replace", "path": "/rules", "value": rules}]
