"""Node affinity: a pod goes only to nodes that have its networks, as a JSON patch.

The webhook adds ``network.cni-genie.io/<name> In ["true"]`` for every network of the pod. The
terms of a node selector are alternatives, so each term gets it. The expressions of one term must
all match, so nothing that the author wrote is weakened.

Unchanged are

- a term without any requirement: it matches no node, and would match some with our addition;
- a pod whose ``spec.nodeName`` is set: it bypasses the scheduler, and kubelet rejects a pod whose
  affinity does not fit its node;
- a requirement that is there already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dispatcher import keys
from dispatcher.annotation import TOO_MANY
from dispatcher.kube import json_patch
from webhook.decision import Cause
from webhook.review import child, object_list

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dispatcher.kube.json_patch import Operation, Patch
    from webhook.objects import Pod

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"

TERMS = f"affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms"
"""Path of the terms in a pod's spec, as messages show it."""

MAX_TERMS = 100
"""Terms that a node selector may have where the webhook adds to each; people write a handful.

A pod may have 100,000. Each would cost the webhook, and then the API server, one operation for
each network. A pod with more terms than this is refused, and never patched.
"""

WEIGHT = 100
"""Weight of the preference: the maximum, so that it outweighs those for speed or cost."""

_AFFINITY = json_patch.pointer("spec", "affinity")
_NODE_AFFINITY = json_patch.pointer("spec", "affinity", "nodeAffinity")


def patch_new(pod: Pod, networks: Sequence[str], mode: str) -> Patch:
    """Return the patch that gives a new pod the affinity for *networks*.

    *mode* is ``required``, ``preferred`` or ``off``.
    """
    if not networks or pod.node_name:
        return []
    return _merge(pod, networks, mode)


def check_terms(pod: Pod, networks: Sequence[str], mode: str) -> Cause | None:
    """Return the fault of a pod that has too many terms for :func:`patch_new`."""
    count = len(_terms(pod))
    if mode != "required" or not networks or pod.node_name or count <= MAX_TERMS:
        return None
    rule = f"must have at most {MAX_TERMS} node selector terms in a pod that has networks"
    return Cause(TOO_MANY, f"Too many: {rule} (has {count}); use fewer", f"spec.{TERMS}")


def patch_updated(pod: Pod, stored: Pod, networks: Sequence[str]) -> Patch:
    """Return the patch that gives *pod* the affinity that the webhook gave the *stored* pod.

    The author's manifest comes without it: ``nodeSelectorTerms`` is one atomic value.
    """
    if not networks:
        return []
    return _merge(pod, networks, _mode_of(stored, networks))


def requires(pod: Pod, networks: Sequence[str]) -> bool:
    """Tell whether every term of *pod* requires nodes that have all of *networks*."""
    terms = [term for term in _terms(pod) if _matches_some(term)]
    required = expressions(networks)
    return bool(terms) and all(
        expression in object_list(term, "matchExpressions")
        for term in terms
        for expression in required
    )


def expressions(networks: Sequence[str]) -> list[dict[str, Any]]:
    """Return the requirements that a node must meet, one for each network."""
    return [
        {"key": keys.network_label(name), "operator": "In", "values": ["true"]} for name in networks
    ]


def _preference(networks: Sequence[str]) -> dict[str, Any]:
    return {"weight": WEIGHT, "preference": {"matchExpressions": expressions(networks)}}


def _mode_of(stored: Pod, networks: Sequence[str]) -> str:
    # The webhook adds to every term. If only some have the requirement, the author wrote it.
    if requires(stored, networks):
        return "required"
    if _preference(networks) in object_list(stored.node_affinity, PREFERRED):
        return "preferred"
    return "off"


def _merge(pod: Pod, networks: Sequence[str], mode: str) -> Patch:
    if mode == "required":
        return _merge_required(pod, expressions(networks))
    if mode == "preferred":
        return _merge_preferred(pod, _preference(networks))
    return []


def _merge_required(pod: Pod, required: list[dict[str, Any]]) -> Patch:
    if pod.node_affinity.get(REQUIRED) is None:
        return [_add(pod, REQUIRED, {"nodeSelectorTerms": [{"matchExpressions": required}]})]

    terms = _terms(pod)
    return list(_add_to_terms(terms, required)) if len(terms) <= MAX_TERMS else []


def _merge_preferred(pod: Pod, preference: dict[str, Any]) -> Patch:
    preferences = object_list(pod.node_affinity, PREFERRED)
    if preference in preferences:
        return []
    if preferences:
        return [json_patch.add(f"{_NODE_AFFINITY}/{PREFERRED}/-", preference)]
    return [_add(pod, PREFERRED, [preference])]


def _terms(pod: Pod) -> list[Any]:
    return object_list(child(pod.node_affinity, REQUIRED), "nodeSelectorTerms")


def _matches_some(term: Mapping[str, Any]) -> bool:
    return bool(object_list(term, "matchExpressions") or object_list(term, "matchFields"))


def _add(pod: Pod, key: str, value: Any) -> Operation:
    """Add *value* at *key* of the node affinity, with the missing objects around it."""
    if not pod.affinity:
        return json_patch.add(_AFFINITY, {"nodeAffinity": {key: value}})
    if not pod.node_affinity:
        return json_patch.add(_NODE_AFFINITY, {key: value})
    return json_patch.add(f"{_NODE_AFFINITY}/{key}", value)


def _add_to_terms(
    terms: Sequence[Mapping[str, Any]], required: Sequence[Mapping[str, Any]]
) -> Iterator[Operation]:
    for index, term in enumerate(terms):
        if not _matches_some(term):
            continue

        path = f"{_NODE_AFFINITY}/{REQUIRED}/nodeSelectorTerms/{index}/matchExpressions"
        present = object_list(term, "matchExpressions")
        missing = [expression for expression in required if expression not in present]
        if missing and not present:
            yield json_patch.add(path, missing)
            continue
        for expression in missing:
            yield json_patch.add(f"{path}/-", expression)
