"""Node affinity: a pod goes only to nodes that have its networks, as a JSON patch.

``In ["true"]`` on ``network.cni-genie.io/<name>`` is added for every network of the pod. The
terms of a node selector are alternatives, so each one gets it; the expressions of a term are
joined, so nothing the author wrote is weakened. Three cases are left alone:

- a term without any requirement matches no node, and would match some if we added to it;
- a pod whose ``spec.nodeName`` is set passes the scheduler by, and kubelet ends a pod whose
  affinity does not fit its node;
- what is there already is not added again.

On UPDATE the author's manifest comes without our part (``nodeSelectorTerms`` is one atomic
value), so :func:`restore` puts back what the stored pod has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dispatcher import keys
from webhook.review import child, elements

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Patch = list[dict[str, Any]]

AFFINITY = "/spec/affinity"
NODE_AFFINITY = f"{AFFINITY}/nodeAffinity"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"

WEIGHT = 100
"""The weight of our preference, the most there is: it outweighs those for speed or cost."""


def add(spec: Mapping[str, Any], networks: Sequence[str], mode: str) -> Patch:
    """Return the patch that gives a new pod with *spec* the affinity for *networks*.

    *mode* is ``required``, ``preferred`` or ``off``.
    """
    if not networks or spec.get("nodeName"):
        return []
    return _merge(spec, networks, mode)


def restore(spec: Mapping[str, Any], old_spec: Mapping[str, Any], networks: Sequence[str]) -> Patch:
    """Return the patch that gives *spec* the affinity that we once gave the stored pod."""
    if not networks:
        return []
    return _merge(spec, networks, _mode_of(old_spec, networks))


def covers(spec: Mapping[str, Any], network: str) -> bool:
    """Tell whether *spec* asks for nodes with *network* already, in every alternative."""
    required = child(child(spec, "affinity"), "nodeAffinity").get(REQUIRED)
    return required is not None and not _merge(spec, (network,), "required")


def expressions(networks: Sequence[str]) -> list[dict[str, Any]]:
    """Return the requirements that a node must meet, one for each network."""
    return [
        {"key": keys.network_label(name), "operator": "In", "values": ["true"]} for name in networks
    ]


def _preference(networks: Sequence[str]) -> dict[str, Any]:
    return {"weight": WEIGHT, "preference": {"matchExpressions": expressions(networks)}}


def _mode_of(spec: Mapping[str, Any], networks: Sequence[str]) -> str:
    node_affinity = child(child(spec, "affinity"), "nodeAffinity")
    ours = expressions(networks)
    for term in elements(child(node_affinity, REQUIRED), "nodeSelectorTerms"):
        if all(one in elements(term, "matchExpressions") for one in ours):
            return "required"
    if _preference(networks) in elements(node_affinity, PREFERRED):
        return "preferred"
    return "off"


def _merge(spec: Mapping[str, Any], networks: Sequence[str], mode: str) -> Patch:
    node_affinity = child(child(spec, "affinity"), "nodeAffinity")
    if mode == "required":
        if node_affinity.get(REQUIRED) is not None:
            terms = elements(child(node_affinity, REQUIRED), "nodeSelectorTerms")
            return list(_into_terms(terms, expressions(networks)))
        return _new(
            spec, REQUIRED, {"nodeSelectorTerms": [{"matchExpressions": expressions(networks)}]}
        )
    if mode == "preferred":
        preferences, ours = elements(node_affinity, PREFERRED), _preference(networks)
        if ours in preferences:
            return []
        if preferences:
            return [{"op": "add", "path": f"{NODE_AFFINITY}/{PREFERRED}/-", "value": ours}]
        return _new(spec, PREFERRED, [ours])
    return []


def _new(spec: Mapping[str, Any], key: str, value: Any) -> Patch:
    """Add *value* at *key* of the node affinity, with whatever above it is missing."""
    if not spec.get("affinity"):
        return [{"op": "add", "path": AFFINITY, "value": {"nodeAffinity": {key: value}}}]
    if not child(spec, "affinity").get("nodeAffinity"):
        return [{"op": "add", "path": NODE_AFFINITY, "value": {key: value}}]
    return [{"op": "add", "path": f"{NODE_AFFINITY}/{key}", "value": value}]


def _into_terms(
    terms: Sequence[Mapping[str, Any]], ours: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    for index, term in enumerate(terms):
        path = f"{NODE_AFFINITY}/{REQUIRED}/nodeSelectorTerms/{index}/matchExpressions"
        there = elements(term, "matchExpressions")
        if not there and not elements(term, "matchFields"):
            continue
        missing = [one for one in ours if one not in there]
        if missing and not there:
            yield {"op": "add", "path": path, "value": missing}
            continue
        for one in missing:
            yield {"op": "add", "path": f"{path}/-", "value": one}
