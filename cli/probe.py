"""Asks the API server whether a pod with an annotation would be attached, and changes nothing.

Two questions for each network:

- Would the API server admit a pod that names it? A server-side dry-run of a pod answers that, with
  the webhook's decision and all policies. The pod's value begins with a blank, which the webhook
  removes: if the blank stays, or a policy refuses it, the API server could not call the webhook,
  and the pod is tried again without it.
- Is there a node that could run the pod? Among the nodes whose label says that they attach the
  network, one must be Ready, neither cordoned nor tainted, and have a ready agent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dispatcher import keys
from dispatcher.kube.errors import KubeError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from cli.reader import Client, Reader

MAX_NODES = 20
"""Nodes of a network that are examined for one that can run pods."""

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class Admission(NamedTuple):
    """The answer for one network; ``refusal`` is empty if the pod was admitted."""

    network: str
    refusal: str
    is_normalised: bool
    """Whether the webhook has changed the pod."""


def may_create_pods(client: Client, namespace: str) -> bool:
    """Tell whether the user may create pods in *namespace*. Raises KubeError."""
    wanted = {"namespace": namespace, "verb": "create", "resource": "pods"}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": wanted},
    }
    answer = client.create(REVIEWS, review)
    return (answer.get("status") or {}).get("allowed") is True


def ask(client: Client, namespace: str, network: str) -> Admission:
    """Return whether a pod that names *network* would be admitted in *namespace*.

    Raises KubeError if the API server does not answer.
    """
    path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
    refusal = ""
    for value in (f" {network}", network):
        try:
            pod = client.create(path, probe_pod(value))
        except KubeError as error:
            if not error.status:
                raise
            refusal = error.message.removeprefix(f"POST {path}: ")
            continue
        stored = ((pod.get("metadata") or {}).get("annotations") or {}).get(keys.ANNOTATION)
        return Admission(network, "", is_normalised=value != stored)
    return Admission(network, refusal, is_normalised=False)


def probe_pod(value: str) -> dict[str, Any]:
    """Return a pod with the annotation *value* that Pod Security and most quotas admit."""
    container = {
        "name": "probe",
        "image": "example.invalid/probe",
        "resources": {key: {"cpu": "10m", "memory": "16Mi"} for key in ("requests", "limits")},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    metadata = {"generateName": "genie-probe-", "annotations": {keys.ANNOTATION: value}}
    spec = {"containers": [container], "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def find_node(
    names: Iterable[str], with_agent: Collection[str] | None, read: Callable[[str], Any]
) -> tuple[str, str]:
    """Return the first of *names* that can run pods, else "" and what hinders the last.

    *with_agent* are the nodes with a ready agent; None: not known. *read* returns a Node object.
    """
    reason = "no node can attach it"
    for name in list(names)[:MAX_NODES]:
        if with_agent is not None and name not in with_agent:
            reason = f"the agent on {name} is not ready"
            continue
        reason = hindrance(name, read(name) or {})
        if not reason:
            return name, ""
    return "", reason


def hindrance(name: str, node: dict[str, Any]) -> str:
    """Say why no pod without tolerations is scheduled to *node*; empty if one may be."""
    spec, status = node.get("spec") or {}, node.get("status") or {}
    if spec.get("unschedulable"):
        return f"{name} is cordoned"
    effects = {"NoSchedule", "NoExecute"}
    taints = [each["key"] for each in spec.get("taints") or () if each.get("effect") in effects]
    if taints:
        return f"{name} has the taint {taints[0]}"
    conditions = {each["type"]: each["status"] for each in status.get("conditions") or ()}
    return "" if conditions.get("Ready") == "True" else f"{name} is not Ready"


def nodes_with_agent(reader: Reader, genie: str, selector: str) -> frozenset[str] | None:
    """Return the nodes with a ready pod of *selector* in *genie*; None if listing is forbidden."""
    items = reader.list_all("pods", namespace=genie, selector=selector)
    if items is None:
        return None
    return frozenset(each["spec"].get("nodeName", "") for each in items if _is_ready(each))


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
