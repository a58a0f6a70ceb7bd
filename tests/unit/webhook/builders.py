"""Reviews as the API server sends them, and the plain facts that decisions are made from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import jsonpatch

from webhook.limits import CLUSTER, Limits
from webhook.objects import parse_pod
from webhook.pods import PodRules, admit_pod
from webhook.review import Review, parse_review
from webhook.snapshot import ClusterNetworks, Namespace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from webhook.decision import Decision
    from webhook.settings import Scheduling

NETWORKS = ClusterNetworks(
    known=frozenset({"canal", "weave"}), present=frozenset({"canal", "weave"})
)
NOTHING_KNOWN = ClusterNetworks()
PLAIN = Namespace("team-a")


def annotated(value: str | None, **more: str) -> dict[str, str]:
    """Return annotations: ``cni`` with *value* unless it is None, and *more*."""
    return more if value is None else {"cni": value, **more}


def pod(
    cni: str | None = None,
    *,
    metadata: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a Pod as the API server would hand it over."""
    about: dict[str, Any] = {"name": "web", "namespace": "team-a"}
    if cni is not None:
        about["annotations"] = {"cni": cni}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**about, **(metadata or {})},
        "spec": {"containers": [{"name": "c", "image": "nginx:latest"}], **(spec or {})},
    }


def envelope(
    found: Mapping[str, Any] | None,
    old: Mapping[str, Any] | None = None,
    **request: Any,
) -> dict[str, Any]:
    """Return an AdmissionReview for *found*: an UPDATE if there is an *old* object."""
    about = found or old or {}
    metadata = about.get("metadata", {})
    group, _, version = str(about.get("apiVersion", "v1")).rpartition("/")
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": group, "version": version, "kind": about.get("kind", "Pod")},
            "operation": "UPDATE" if old else "CREATE",
            **({"name": metadata["name"]} if "name" in metadata else {}),
            "namespace": metadata.get("namespace", ""),
            "userInfo": {"username": "alice"},
            "object": found,
            "oldObject": old,
            "dryRun": False,
            **request,
        },
    }


def review(
    found: Mapping[str, Any] | None, old: Mapping[str, Any] | None = None, **request: Any
) -> Review:
    """Return what is read from such an AdmissionReview."""
    return parse_review(json.dumps(envelope(found, old, **request)).encode())


def admit(
    found: Mapping[str, Any] | None,
    namespace: Namespace = PLAIN,
    networks: ClusterNetworks = NETWORKS,
    scheduling: str = "off",
    limits: Limits = CLUSTER,
    *,
    old: Mapping[str, Any] | None = None,
    **request: Any,
) -> Decision:
    """Return the decision on the pod *found*: an UPDATE if there is an *old* one."""
    about = review(found, old, **request)
    rules = PodRules(cast("Scheduling", scheduling), limits)
    return admit_pod(about, parse_pod(about.object), namespace, networks, rules)


def patched(found: Mapping[str, Any], decision: Decision) -> Any:
    """Return *found* with the decision's patch applied, by a library that is not ours."""
    return jsonpatch.apply_patch(json.loads(json.dumps(found)), list(decision.patch))


def messages(decision: Decision) -> list[str]:
    """Return the causes as kubectl prints them."""
    return [f"{cause.field}: {cause.message}" for cause in decision.causes]
