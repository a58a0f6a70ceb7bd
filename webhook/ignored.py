"""Annotations that Genie ignores although their author probably meant it: each gives a warning.

A pod with such a key starts, on other networks than its author wanted; a namespace whose
allow-list is misspelt has none. Nothing but a warning at admission would point that out.

The matchConditions of the webhook configurations send exactly these objects, so that no other
object is sent for the sake of a warning; a test holds the lists there against the ones here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher import keys
from dispatcher.annotation import BLANKS, nearest, quote
from webhook.decision import warning
from webhook.review import texts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from typing import Any

NEAR_MISSES = ("CNI", "Cni", "cnis", "cni-genie", "cni-genie.io/cni")
"""What someone may have written instead of ``cni``."""

PREFIX = "cni-genie.io/"

_MULTI_IP = "multi-ip-preferences"
_USE_CNI = f"not used by Genie; name networks in the annotation {quote(keys.ANNOTATION)}"
_ON_NAMESPACE = "not used on a pod; it is an annotation of namespaces"
_OTHERS = {
    "k8s.v1.cni.cncf.io/networks": _USE_CNI,
    "v1.multus-cni.io/default-network": _USE_CNI,
    "networks": f"{_USE_CNI} (there are no logical networks)",
    _MULTI_IP: f"not used by Genie; the pod's addresses will be in {quote(keys.NETWORK_STATUS)}",
    keys.ALLOWED: _ON_NAMESPACE,
    keys.SCHEDULING: _ON_NAMESPACE,
    keys.MAX_ATTACHMENTS: _ON_NAMESPACE,
    keys.MAX_PER_NETWORK: _ON_NAMESPACE,
}

IGNORED_ON_PODS = (*NEAR_MISSES, *_OTHERS)
"""Annotations for which a pod, or a workload for its template, is sent to the webhook."""

NAMESPACE_NEAR_MISSES = (*NEAR_MISSES, "cni-genie/allowed", "genie.io/allowed")
"""Annotations for which a namespace is sent, besides our own and all others with our prefix."""

LABELS = (
    keys.ANNOTATION,
    keys.ALLOWED,
    keys.SCHEDULING,
    keys.MAX_ATTACHMENTS,
    keys.MAX_PER_NETWORK,
)
"""Labels of namespaces that should have been annotations. On pods only ``cni`` counts as one."""


def is_sent(metadata: Mapping[str, Any]) -> bool:
    """Tell whether a pod with *metadata* is sent for a key of its own, whatever its namespace."""
    annotations = texts(metadata, "annotations")
    return (
        keys.ANNOTATION in annotations
        or keys.ANNOTATION in texts(metadata, "labels")
        or any(key in annotations for key in IGNORED_ON_PODS)
    )


def pod_warnings(metadata: Mapping[str, Any], field: str = "metadata.") -> Iterator[str]:
    """Yield a warning for each key that is ignored on a pod; *field* leads to its metadata."""
    annotations = texts(metadata, "annotations")
    yield from _near_misses(annotations, texts(metadata, "labels"), field)
    for key, words in _OTHERS.items():
        # An empty one asked CNI-Genie to fill it in: it names no address that would be lost.
        if key in annotations and (key != _MULTI_IP or annotations[key].strip(BLANKS)):
            yield warning(f"{field}annotations[{key}]: {words}")


def namespace_warnings(
    metadata: Mapping[str, Any], old_metadata: Mapping[str, Any], ours: Collection[str]
) -> Iterator[str]:
    """Yield a warning for each key that is ignored on a namespace, if it was just written.

    *ours* are the annotations that are not ignored.
    """
    annotations = _changed(metadata, old_metadata, "annotations")
    labels = _changed(metadata, old_metadata, "labels")
    if keys.ANNOTATION not in texts(metadata, "annotations"):
        yield from _near_misses(annotations, labels, "metadata.")
    for key in annotations:
        if key in NEAR_MISSES or key in ours:
            continue
        if key in NAMESPACE_NEAR_MISSES or key.startswith(PREFIX):
            near = nearest(key.rpartition("/")[2], [one.removeprefix(PREFIX) for one in ours])
            hint = f"; did you mean {quote(_full(near, ours))}?" if near else ""
            yield warning(f"metadata.annotations[{key}]: not used{hint}")
    for key in LABELS[1:]:
        if key in labels:
            yield warning(f"metadata.labels[{key}]: not used; it is an annotation")


def _near_misses(
    annotations: Mapping[str, str], labels: Mapping[str, str], field: str
) -> Iterator[str]:
    if keys.ANNOTATION in annotations:  # its author knows it
        return
    for key in NEAR_MISSES:
        if key in annotations:
            yield warning(f'{field}annotations[{key}]: not used; did you mean "cni"?')
    if keys.ANNOTATION in labels:
        yield warning(f'{field}labels[cni]: not used; did you mean the annotation "cni"?')


def _changed(
    metadata: Mapping[str, Any], old_metadata: Mapping[str, Any], key: str
) -> dict[str, str]:
    old = texts(old_metadata, key)
    return {name: value for name, value in texts(metadata, key).items() if old.get(name) != value}


def _full(name: str, ours: Collection[str]) -> str:
    return next(key for key in ours if key.removeprefix(PREFIX) == name)
