"""Reviews as the API server sends them, and the plain facts that decisions are made from."""

from __future__ import annotations

import json
import ssl
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import jsonpatch
import trustme

from webhook.limits import CLUSTER, Limits
from webhook.objects import TEMPLATE_PATHS, parse_pod, template_of
from webhook.pods import PodRules, admit_pod
from webhook.review_parser import parse_review
from webhook.snapshot import ClusterNetworks, Namespace
from webhook.templates import admit_workload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prometheus_client import CollectorRegistry

    from webhook.decision import Decision
    from webhook.informer_caches import InformerCaches
    from webhook.review import Review
    from webhook.settings import Scheduling

NETWORKS = ClusterNetworks(
    known=frozenset({"canal", "weave"}), present=frozenset({"canal", "weave"})
)
NOTHING_KNOWN = ClusterNetworks()
UNSYNCED = cast("InformerCaches", SimpleNamespace(synced=False))
"""Informer caches that have not listed yet."""
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
    own_metadata: dict[str, Any] = {"name": "web", "namespace": "team-a"}
    if cni is not None:
        own_metadata["annotations"] = {"cni": cni}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**own_metadata, **(metadata or {})},
        "spec": {"containers": [{"name": "c", "image": "nginx:latest"}], **(spec or {})},
    }


def envelope(
    manifest: Mapping[str, Any] | None,
    old: Mapping[str, Any] | None = None,
    **request: Any,
) -> dict[str, Any]:
    """Return an AdmissionReview for *found*: an UPDATE if there is an *old* object."""
    reviewed = manifest or old or {}
    metadata = reviewed.get("metadata", {})
    group, _, version = str(reviewed.get("apiVersion", "v1")).rpartition("/")
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": group, "version": version, "kind": reviewed.get("kind", "Pod")},
            "operation": "UPDATE" if old else "CREATE",
            **({"name": metadata["name"]} if "name" in metadata else {}),
            "namespace": metadata.get("namespace", ""),
            "userInfo": {"username": "alice"},
            "object": manifest,
            "oldObject": old,
            "dryRun": False,
            **request,
        },
    }


def review(
    manifest: Mapping[str, Any] | None, old: Mapping[str, Any] | None = None, **request: Any
) -> Review:
    """Return what is read from such an AdmissionReview."""
    return parse_review(json.dumps(envelope(manifest, old, **request)).encode())


def admit_template(request_review: Review, *args: Any, **more: Any) -> Decision:
    """Return the decision on a workload; the other arguments are those of the rule."""
    template = parse_pod(template_of(request_review.object, request_review.kind))
    return admit_workload(request_review, template, *args, **more)


def admit(
    manifest: Mapping[str, Any] | None,
    namespace: Namespace = PLAIN,
    networks: ClusterNetworks = NETWORKS,
    scheduling: str = "off",
    limits: Limits = CLUSTER,
    *,
    old: Mapping[str, Any] | None = None,
    **request: Any,
) -> Decision:
    """Return the decision on the pod *found*: an UPDATE if there is an *old* one."""
    request_review = review(manifest, old, **request)
    rules = PodRules(cast("Scheduling", scheduling), limits)
    return admit_pod(request_review, parse_pod(request_review.object), namespace, networks, rules)


def patched(manifest: Mapping[str, Any], decision: Decision) -> Any:
    """Return *found* with the decision's patch applied, by a library that is not ours."""
    return jsonpatch.apply_patch(json.loads(json.dumps(manifest)), list(decision.patch))


def messages(decision: Decision) -> list[str]:
    """Return the causes as kubectl prints them."""
    return [f"{cause.field}: {cause.message}" for cause in decision.causes]


GROUPS = {"Job": "batch/v1", "CronJob": "batch/v1", "ReplicationController": "v1"}


def workload(
    cni: str | None,
    kind: str = "Deployment",
    *,
    spec: dict[str, Any] | None = None,
    template: dict[str, Any] | None = None,
    **metadata: Any,
) -> dict[str, Any]:
    template_metadata = {} if cni is None else {"annotations": {"cni": cni}}
    manifest: dict[str, Any] = {
        "metadata": template_metadata,
        "spec": spec or {},
        **(template or {}),
    }
    for key in reversed(TEMPLATE_PATHS[kind]):
        manifest = {key: manifest}
    return {
        "apiVersion": GROUPS.get(kind, "apps/v1"),
        "kind": kind,
        "metadata": {"name": "web", "namespace": "team-a", **metadata},
        **manifest,
    }


def namespace_object(
    cni: str | None = None, allowed: str | None = None, **metadata: Any
) -> dict[str, Any]:
    annotations: dict[str, str | None] = {
        "cni": cni,
        "cni-genie.io/allowed": allowed,
        **metadata.pop("annotations", {}),
    }
    written = {key: value for key, value in annotations.items() if value is not None}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "team-a", "annotations": written, "labels": {}, **metadata},
    }


class FakeCertificates:
    """Certificates that are there at once; ``missing`` says why they are not trusted yet."""

    def __init__(self) -> None:
        self.authority = trustme.CA()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert("localhost").configure_cert(self.context)
        self.missing = ""
        self.calls: list[str] = []

    def start(self) -> None:
        """Begin."""
        self.calls.append("start")

    def stop(self) -> None:
        """End."""
        self.calls.append("stop")

    def ssl_context(self) -> ssl.SSLContext:
        """Return the context."""
        return self.context

    def ready(self) -> bool:
        """Tell whether nothing is missing."""
        return not self.missing

    def reason(self) -> str:
        """Return what is missing."""
        return self.missing

    def register_metrics(self, registry: CollectorRegistry) -> None:
        """Have none."""
