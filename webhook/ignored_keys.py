"""Annotations that Genie ignores although their author probably meant it: each gives a warning.

A pod with such a key starts, on other networks than its author wanted; a namespace whose
allow-list is misspelt has none. Nothing but a warning at admission would point that out.

The matchConditions of the webhook configurations send exactly these objects, so that no other
object is sent for the sake of a warning; a test holds the lists there against the ones here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher import keys
from dispatcher.annotation import BLANKS, closest_name, quote
from webhook.decision import warning
from webhook.review import string_map

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from webhook.objects import Pod

NEAR_MISSES = ("CNI", "Cni", "cnis", "cni-genie", "cni-genie.io/cni")
"""What someone may have written instead of ``cni``."""

PREFIX = "cni-genie.io/"

_MULTI_IP = "multi-ip-preferences"
_USE_CNI = f"not used by Genie; name networks in the annotation {quote(keys.ANNOTATION)}"
_ON_NAMESPACE = "not used on a pod; it is an annotation of namespaces"
_MULTUS_KEYS = ("k8s.v1.cni.cncf.io/networks", "v1.multus-cni.io/default-network")
_OTHERS = {
    **dict.fromkeys(_MULTUS_KEYS, _USE_CNI),
    "networks": f"{_USE_CNI} (there are no logical networks)",
    _MULTI_IP: f"not used by Genie; the pod's addresses will be in {quote(keys.NETWORK_STATUS)}",
    **{key: _ON_NAMESPACE for key in keys.NAMESPACE_KEYS if key not in keys.POD_KEYS},
}

IGNORED_ON_PODS = (*NEAR_MISSES, *_OTHERS)
"""Annotations for which a pod, or a workload for its template, is sent to the webhook."""

NAMESPACE_NEAR_MISSES = (*NEAR_MISSES, "cni-genie/allowed", "genie.io/allowed")
"""Annotations for which a namespace is sent, besides our own and all others with our prefix."""

_SHORT_NAMES = {key.removeprefix(PREFIX): key for key in keys.NAMESPACE_KEYS}


def pod_warnings(pod: Pod, field: str = "metadata.", *, has_multus: bool = False) -> Iterator[str]:
    """Yield a warning for each key of *pod* that Genie ignores; *field* leads to its metadata.

    On a network of Multus, Multus reads its own keys.
    """
    annotations = pod.annotations
    yield from _near_misses(annotations, pod.labels, field)
    for key, words in _OTHERS.items():
        if has_multus and key in _MULTUS_KEYS:
            continue
        # An empty one asked CNI-Genie to fill it in: it names no address that would be lost.
        if key in annotations and (key != _MULTI_IP or annotations[key].strip(BLANKS)):
            yield warning(f"{field}annotations[{key}]: {words}")


def namespace_warnings(
    metadata: Mapping[str, Any], old_metadata: Mapping[str, Any]
) -> Iterator[str]:
    """Yield a warning for each key that is ignored on a namespace, if it was just written."""
    annotations = _changed(metadata, old_metadata, "annotations")
    labels = _changed(metadata, old_metadata, "labels")
    if keys.ANNOTATION not in string_map(metadata, "annotations"):
        yield from _near_misses(annotations, labels, "metadata.")
    for key in annotations:
        if key in NEAR_MISSES or key in keys.NAMESPACE_KEYS:
            continue
        if key in NAMESPACE_NEAR_MISSES or key.startswith(PREFIX):
            near = closest_name(key.rpartition("/")[2], _SHORT_NAMES)
            hint = f"; did you mean {quote(_SHORT_NAMES[near])}?" if near else ""
            yield warning(f"metadata.annotations[{key}]: not used{hint}")
    for key in keys.NAMESPACE_KEYS:
        if key in labels and key != keys.ANNOTATION:  # which is a near miss
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
    old = string_map(old_metadata, key)
    return {
        name: value for name, value in string_map(metadata, key).items() if old.get(name) != value
    }
