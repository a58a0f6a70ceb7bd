"""The custom resource of NetworkAttachmentDefinitions, as its users have it, and objects of it."""

from __future__ import annotations

import contextlib
import functools
import json
from typing import TYPE_CHECKING, Any

from dispatcher import keys
from tests.cluster.support.admission import end_old_replicas
from tests.cluster.support.pods import pod_manifest
from tests.devcluster.genie import NAMESPACE, install_genie
from tests.devcluster.helm import PLAIN, render

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.devcluster.cluster import Cluster
    from tests.devcluster.node.node import Node

OBSERVE = "observe"
ENFORCE = "enforce"
LABEL = "node.cni-genie.io/attachments"

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


def define(cluster: Cluster) -> None:
    """Create the custom resource; wait until the API server serves it."""
    apply(cluster, CRD)
    cluster.wait_until_served(CRD["metadata"]["name"])


def definition(namespace: str, name: str, config: Any) -> dict[str, Any]:
    """Return a definition with *config* as its JSON."""
    return {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"config": json.dumps(config)},
    }


def bridge(name: str, subnet: int) -> dict[str, Any]:
    """Return a plugin with addresses of 10.*subnet*.0.0/24 on a bridge of this name."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": f"10.{subnet}.0.0/24"}]]}
    conf = {"cniVersion": "1.0.0", "type": "bridge", "bridge": name}
    return {**conf, "isGateway": True, "ipam": ipam}


def selecting(name: str, networks: Any, **annotations: str) -> dict[str, Any]:
    """Return a pod that selects definitions: a text, or the list of the JSON form."""
    text = networks if isinstance(networks, str) else json.dumps(networks)
    return pod_manifest(name, None, annotations={keys.NETWORKS: text, **annotations})


def apply(cluster: Cluster, *objects: dict[str, Any], namespace: str = "default") -> None:
    """Apply *objects* in one call of kubectl, in this order."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    cluster.kubectl("apply", "--server-side", "-n", namespace, "-f", "-", input=text)


def copy_of(node: Node, namespace: str, name: str) -> Path:
    """Return the file of a definition's copy on *node*."""
    return node.path(f"/var/lib/cni/genie/nad/{namespace}/{name}")


@contextlib.contextmanager
def definitions_enforced(cluster: Cluster) -> Iterator[None]:
    """Install Genie with the mode enforce, in a cluster with the custom resource; restore both."""
    define(cluster)
    try:
        install_genie(cluster, values={"attachmentDefinitions": {"mode": ENFORCE}})
        end_old_replicas(cluster)
        for node in cluster.nodes:
            cluster.wait_for(functools.partial(_attaches, cluster, node), 120, f"{node}'s label")
        yield
    finally:
        install_genie(cluster)
        cluster.kubectl("delete", "crd", CRD["metadata"]["name"])


def _attaches(cluster: Cluster, node: str) -> bool:
    return bool(cluster.get("node", node)["metadata"]["labels"].get(LABEL) == "true")


@contextlib.contextmanager
def definitions_untouched(cluster: Cluster, namespace: str) -> Iterator[None]:
    """Check that the block changes no byte of the custom resource and of an object of it."""
    name = CRD["metadata"]["name"]
    objects = (("crd", name), ("net-attach-def", "blue", "-n", namespace))
    define(cluster)
    blue = definition(namespace, "blue", {"type": "bridge"})
    cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(blue))
    try:
        before = [cluster.kubectl("get", *each, "-o", "json").stdout for each in objects]
        yield
        assert [cluster.kubectl("get", *each, "-o", "json").stdout for each in objects] == before
    finally:
        cluster.kubectl("delete", "crd", name)


@contextlib.contextmanager
def webhook_in_mode(cluster: Cluster, mode: str) -> Iterator[None]:
    """Let the webhook have *mode*, as the chart does; restore it after the block.

    Of the chart's objects only those of the webhook: an upgrade would restart all agents.
    """
    deployment = ("deployment/genie-webhook", "-n", NAMESPACE)
    changes = [
        ("clusterrole", "genie-webhook", "rules"),
        ("mutatingwebhookconfiguration", "cni-genie", "webhooks"),
        ("validatingwebhookconfiguration", "cni-genie", "webhooks"),
    ]
    rendered = {(each["kind"].lower(), each["metadata"]["name"]): each for each in _objects(mode)}
    before = [cluster.get(kind, name)[field] for kind, name, field in changes]
    bundle = before[1][0]["clientConfig"]["caBundle"]

    def change(values: list[Any], variable: str) -> None:
        for (kind, name, field), value in zip(changes, values, strict=True):
            patch = [{"op": "replace", "path": f"/{field}", "value": value}]
            cluster.kubectl("patch", kind, name, "--type=json", "-p", json.dumps(patch))
        cluster.kubectl("set", "env", *deployment, f"GENIE_ATTACHMENT_DEFINITIONS_MODE{variable}")
        cluster.kubectl("rollout", "status", *deployment, "--timeout=120s")
        end_old_replicas(cluster)

    after = [rendered[kind, name][field] for kind, name, field in changes]
    for entry in (*after[1], *after[2]):
        entry["clientConfig"]["caBundle"] = bundle
    change(after, f"={mode}")
    try:
        yield
    finally:
        change(before, "-")


def _objects(mode: str) -> list[dict[str, Any]]:
    return render({**PLAIN, "attachmentDefinitions": {"mode": mode}})


def definitions_rights() -> list[Any]:
    """Return a JSON patch of the agent's ClusterRole: the rules of the mode observe."""
    [rules] = [
        each["rules"]
        for each in _objects(OBSERVE)
        if (each["kind"], each["metadata"]["name"]) == ("ClusterRole", "genie-agent")
    ]
    return [{"op": "replace", "path": "/rules", "value": rules}]
