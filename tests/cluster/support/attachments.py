"""Pods with forged ``cni-genie.io/attachments``, and ways to write them, for admission tests."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from dispatcher.kube.client import MERGE_PATCH, KubeError
from tests.cluster.support.admission import api, make_spaces, own_cluster, pod
from tests.cluster.support.outside_webhook import apply_chart

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dispatcher.kube.client import Kube
    from tests.devcluster.cluster import Cluster

NETWORKS = "k8s.v1.cni.cncf.io/networks"
DEFAULT_NETWORK = "v1.multus-cni.io/default-network"
ATTACHMENTS = "cni-genie.io/attachments"
SHARED = {"attachmentDefinitions": {"mode": "enforce", "sharedNamespaces": ["common", "infra"]}}
"""Values of the chart."""

ESCAPED = r'[{"name":"a","port\u004dappings":[{"hostPort":80,"containerPort":80}]}]'
"""A selection that asks for a port of the node, with a key that only a JSON parser recognises."""

CROWDED = {
    "cni-genie.io/allowed": ",".join(["a/b"] * 2048),
    "cni-genie.io/max-attachments": "32",
    "cni-genie.io/max-per-network": "32",
}
"""A namespace in which the policies have most to compare."""

FOREIGN = "is in another namespace than the pod"
PORTS = "may not take ports of the node"


@contextlib.contextmanager
def policies_alone(
    name: str,
    api_server: str,
    values: Mapping[str, Any],
    spaces: Mapping[str, Mapping[str, str]],
    refused: Mapping[str, str],
) -> Iterator[Cluster]:
    """Yield an API server with the chart's policies and the namespaces *spaces*, and no webhook.

    *values* are the chart's; the policies are in force when a pod of ``shop`` with the annotations
    *refused* is refused.
    """
    with own_cluster(f"{name}-{api_server}", api_server=api_server) as cluster:
        apply_chart(cluster, values=values)
        make_spaces(cluster, spaces)
        cluster.wait_for(
            lambda: refusal(api(cluster), "shop", refused), 120, "the policies to be in force"
        )
        yield cluster


def selecting(annotations: Mapping[str, str], **spec: Any) -> dict[str, Any]:
    """Return a pod with these annotations that is never scheduled."""
    body = pod(None, **spec)
    body["metadata"]["annotations"] = dict(annotations)
    return body


def refusal(admin: Kube, namespace: str, annotations: Mapping[str, str], **spec: Any) -> str:
    """Return the message of the API server about a pod; "" if it accepts the pod."""
    path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
    try:
        admin.create(path, selecting(annotations, **spec), timeout=15)
    except KubeError as error:
        return error.message
    return ""


def items(*names: str, marks: str = "") -> str:
    """Return the value of ``cni-genie.io/attachments`` for definitions, all with these marks."""
    return ",".join(f"{name}:3f9c2a{marks}" for name in names)


CHANGES: Mapping[str, dict[str, str | None]] = {
    "another selection": {NETWORKS: "b"},
    "no selection": {NETWORKS: None},
    "another primary": {DEFAULT_NETWORK: "a"},
    "other attachments": {ATTACHMENTS: items("shop/b")},
    "no attachments": {ATTACHMENTS: None},
    "all of it": {NETWORKS: "b", ATTACHMENTS: items("shop/b")},
}


def patched(admin: Kube, path: str, changes: dict[str, str | None]) -> None:
    admin.patch(path, {"metadata": {"annotations": changes}}, MERGE_PATCH)


def replaced(admin: Kube, path: str, changes: dict[str, str | None]) -> None:
    body = admin.get(path)
    after = body["metadata"]["annotations"] | changes
    body["metadata"]["annotations"] = {k: v for k, v in after.items() if v is not None}
    admin.update(path, body)
