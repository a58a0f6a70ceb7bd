"""Reviewed objects: what the rules need of a pod or a workload, parsed once.

Everything else of a pod is ignored. So pods of different workloads are often equal here, and the
decision on them is made once (:mod:`webhook.equal_pods`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dispatcher import keys
from webhook.ignored_keys import IGNORED_ON_PODS
from webhook.review import child, object_list, string_map

if TYPE_CHECKING:
    from collections.abc import Mapping

TEMPLATE_PATHS = {
    **dict.fromkeys(
        (
            "Deployment",
            "StatefulSet",
            "DaemonSet",
            "ReplicaSet",
            "ReplicationController",
            "Job",
        ),
        ("spec", "template"),
    ),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
"""Where the pod template is, for each kind of workload."""

POD_ANNOTATIONS = frozenset({*keys.POD_KEYS, keys.MIRROR, *IGNORED_ON_PODS})
"""The annotations of a pod that the rules read."""

POD_LABELS = frozenset({keys.ANNOTATION})
"""The labels of a pod that the rules read."""


class Pod(NamedTuple):
    """A pod, or the template of a workload's pods.

    ``annotations`` and ``labels`` are those that the rules read; ``has_annotations`` says whether
    the pod has any at all. ``node_name`` is empty until a node is chosen. ``affinity`` and
    ``node_affinity`` stay JSON: the webhook adds to them and leaves the rest as it is.
    """

    annotations: Mapping[str, str]
    has_annotations: bool
    labels: Mapping[str, str]
    node_name: str
    node_selector: Mapping[str, str]
    affinity: Mapping[str, Any]
    node_affinity: Mapping[str, Any]
    has_host_network: bool
    is_windows: bool

    @property
    def is_excluded(self) -> bool:
        """Whether Genie never attaches networks to such a pod; the policies exclude the same.

        Pods on the node's own network, mirror pods (the API server's copies of static pods) and
        Windows pods.
        """
        return self.has_host_network or self.is_windows or keys.MIRROR in self.annotations


def parse_pod(pod: Mapping[str, Any]) -> Pod:
    """Return what the rules need of *pod*: metadata and spec, as JSON.

    Raises :class:`~webhook.review.MalformedReviewError` for a field of the wrong type.
    """
    metadata, spec = child(pod, "metadata"), child(pod, "spec")
    annotations, labels = string_map(metadata, "annotations"), string_map(metadata, "labels")
    node_selector, affinity = string_map(spec, "nodeSelector"), child(spec, "affinity")
    return Pod(
        annotations={key: annotations[key] for key in annotations if key in POD_ANNOTATIONS},
        has_annotations=bool(annotations),
        labels={key: labels[key] for key in labels if key in POD_LABELS},
        node_name=spec.get("nodeName") or "",
        node_selector=node_selector,
        affinity=affinity,
        node_affinity=child(affinity, "nodeAffinity"),
        has_host_network=spec.get("hostNetwork") is True,
        is_windows="windows"
        in (child(spec, "os").get("name"), node_selector.get("kubernetes.io/os")),
    )


def template_of(workload: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return the pod template of *workload*, as JSON; empty if it has none."""
    for key in TEMPLATE_PATHS[kind]:
        workload = child(workload, key)
    return workload


def has_controller(workload: Mapping[str, Any]) -> bool:
    """Tell whether a controller made *workload*, as a Deployment makes its ReplicaSets."""
    owners = object_list(child(workload, "metadata"), "ownerReferences")
    return any(owner.get("controller") is True for owner in owners)
