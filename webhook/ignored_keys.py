"""Keys that Genie ignores although their author probably meant them for Genie: warnings.

A pod with such a key starts on other networks than its author wanted, and a namespace whose
allow-list is misspelt has none. Only a warning at admission shows that.

The matchConditions of the webhook configurations select objects with exactly these keys. A test
compares the lists there with these.
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
"""Likely misspellings of ``cni``."""

PREFIX = "cni-genie.io/"

_MULTI_IP = "multi-ip-preferences"
_NAME_IN_CNI = f"name the networks in {quote(keys.ANNOTATION)}"
_ON_NAMESPACE = (
    "Genie reads this annotation on namespaces only, and ignores it on pods; "
    "ask a cluster administrator to set it on the namespace"
)
_OTHERS = {
    "networks": f"Genie ignores this annotation; {_NAME_IN_CNI} (Genie has no logical networks)",
    _MULTI_IP: (
        "Genie ignores this annotation; "
        f"the pod's addresses will be in {quote(keys.NETWORK_STATUS)}"
    ),
    **{key: _ON_NAMESPACE for key in keys.NAMESPACE_KEYS if key not in keys.POD_KEYS},
}

IGNORED_ON_PODS = (*NEAR_MISSES, *keys.SELECTION_KEYS, *_OTHERS)
"""Annotations of a pod, or of a workload's template, that the matchConditions select."""

NAMESPACE_NEAR_MISSES = (*NEAR_MISSES, "cni-genie/allowed", "genie.io/allowed")
"""Annotations of a namespace that the matchConditions select, besides all with our prefix."""

_SHORT_NAMES = {key.removeprefix(PREFIX): key for key in keys.NAMESPACE_KEYS}


def pod_warnings(pod: Pod, field: str = "metadata.", *, has_reader: bool = False) -> Iterator[str]:
    """Yield a warning for each key of *pod* that Genie ignores; *field* leads to its metadata.

    *has_reader*: Genie reads the keys of Multus, or Multus does, on a network of its own.
    """
    annotations = pod.annotations
    if annotations.keys() <= {keys.ANNOTATION} and not pod.labels:
        return  # so it is with nearly every pod, and the rest takes longer than to parse a pod
    yield from _near_misses(annotations, pod.labels, field)
    if not has_reader:
        yield from _selection_warnings(annotations, field)
    for key, advice in _OTHERS.items():
        # An empty value asked CNI-Genie to fill it in: no address is lost.
        if key in annotations and (key != _MULTI_IP or annotations[key].strip(BLANKS)):
            yield warning(f"{field}annotations[{key}]: {advice}")


def _selection_warnings(annotations: Mapping[str, str], field: str) -> Iterator[str]:
    """Yield one warning for all keys that select NetworkAttachmentDefinitions.

    Not one for each, because a cluster that comes from Multus has them on many pods. A blank value
    selects nothing.
    """
    ignored = [key for key in keys.SELECTION_KEYS if annotations.get(key, "").strip(BLANKS)]
    if ignored:
        others = "".join(f" and {quote(key)}" for key in ignored[1:])
        text = f"Genie ignores this annotation{others}; {_NAME_IN_CNI}"
        yield warning(f"{field}annotations[{ignored[0]}]: {text}")


def namespace_warnings(
    metadata: Mapping[str, Any], old_metadata: Mapping[str, Any]
) -> Iterator[str]:
    """Yield a warning for each key of a namespace that Genie ignores and that has changed."""
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
            yield warning(f"metadata.annotations[{key}]: Genie ignores this annotation{hint}")
    for key in keys.NAMESPACE_KEYS:
        if key in labels and key != keys.ANNOTATION:  # _near_misses() has that one
            yield warning(
                f"metadata.labels[{key}]: Genie ignores this label; set it as an annotation"
            )


def _near_misses(
    annotations: Mapping[str, str], labels: Mapping[str, str], field: str
) -> Iterator[str]:
    if keys.ANNOTATION in annotations:  # the author knows the right key
        return
    for key in NEAR_MISSES:
        if key in annotations:
            yield warning(
                f'{field}annotations[{key}]: Genie ignores this annotation; did you mean "cni"?'
            )
    if keys.ANNOTATION in labels:
        yield warning(
            f'{field}labels[cni]: Genie ignores this label; did you mean the annotation "cni"?'
        )


def _changed(
    metadata: Mapping[str, Any], old_metadata: Mapping[str, Any], key: str
) -> dict[str, str]:
    old = string_map(old_metadata, key)
    return {
        name: value for name, value in string_map(metadata, key).items() if old.get(name) != value
    }
