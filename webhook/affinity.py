"""Node affinity: a pod goes only to nodes that have its networks, as a JSON patch.

``In ["true"]`` on ``network.cni-genie.io/<name>`` is added for every network of the pod. The
terms of a node selector are alternatives, so each one gets it; the expressions of a term are
joined, so nothing the author wrote is weakened. Three cases are left alone:

- a term without any requirement matches no node, and would match some if we added to it;
- a pod whose ``spec.nodeName`` is set passes the scheduler by, and kubelet ends a pod whose
  affinity does not fit its node;
- what is there already is not added again.

A pod may have 100,000 terms, and each would cost us, and then the API server, an operation for
each network: one with more than :data:`MAX_TERMS` is refused, and never patched.

On UPDATE the author's manifest comes without our part (``nodeSelectorTerms`` is one atomic
value), so :func:`restore` puts back what the stored pod has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dispatcher import keys
from dispatcher.annotation import TOO_MANY
from webhook.decision import Cause
from webhook.review import child, object_list

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Patch = list[dict[str, Any]]

AFFINITY = "/spec/affinity"
NODE_AFFINITY = f"{AFFINITY}/nodeAffinity"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"

TERMS = f"affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms"
"""Where the alternatives are in a pod's spec, as messages name it."""

MAX_TERMS = 100
"""Alternatives that a node selector may have where we add to each; people write a handful."""

WEIGHT = 100
"""The weight of our preference, the most there is: it outweighs those for speed or cost."""


def add(spec: Mapping[str, Any], networks: Sequence[str], mode: str) -> Patch:
    """Return the patch that gives a new pod with *spec* the affinity for *networks*.

    *mode* is ``required``, ``preferred`` or ``off``.
    """
    if not networks or spec.get("nodeName"):
        return []
    return _merge(spec, networks, mode)


def refusal(spec: Mapping[str, Any], networks: Sequence[str], mode: str) -> Cause | None:
    """Return why :func:`add` cannot be asked for this: too many alternatives to add to each."""
    found = len(_terms(spec))
    if mode != "required" or not networks or spec.get("nodeName") or found <= MAX_TERMS:
        return None
    message = f"Too many: {found}: must have at most {MAX_TERMS} items in a pod that has networks"
    return Cause(TOO_MANY, message, f"spec.{TERMS}")


def restore(spec: Mapping[str, Any], old_spec: Mapping[str, Any], networks: Sequence[str]) -> Patch:
    """Return the patch that gives *spec* the affinity that we once gave the stored pod."""
    if not networks:
        return []
    return _merge(spec, networks, _mode_of(old_spec, networks))


def covers(spec: Mapping[str, Any], networks: Sequence[str]) -> bool:
    """Tell whether *spec* asks for nodes with all of *networks*, in every alternative."""
    ours = expressions(networks)
    terms = [term for term in _terms(spec) if _matches_some(term)]
    return bool(terms) and all(
        one in object_list(term, "matchExpressions") for term in terms for one in ours
    )


def expressions(networks: Sequence[str]) -> list[dict[str, Any]]:
    """Return the requirements that a node must meet, one for each network."""
    return [
        {"key": keys.network_label(name), "operator": "In", "values": ["true"]} for name in networks
    ]


def _preference(networks: Sequence[str]) -> dict[str, Any]:
    return {"weight": WEIGHT, "preference": {"matchExpressions": expressions(networks)}}


def _mode_of(spec: Mapping[str, Any], networks: Sequence[str]) -> str:
    # A term of ours beside one without is its author's: we would have added to both.
    if covers(spec, networks):
        return "required"
    if _preference(networks) in object_list(_node_affinity(spec), PREFERRED):
        return "preferred"
    return "off"


def _merge(spec: Mapping[str, Any], networks: Sequence[str], mode: str) -> Patch:
    node_affinity = _node_affinity(spec)
    if mode == "required" and node_affinity.get(REQUIRED) is not None:
        terms = _terms(spec)
        return list(_into_terms(terms, expressions(networks))) if len(terms) <= MAX_TERMS else []
    if mode == "required":
        ours: Any = {"nodeSelectorTerms": [{"matchExpressions": expressions(networks)}]}
        return _new(spec, REQUIRED, ours)
    if mode == "preferred":
        preferences, ours = object_list(node_affinity, PREFERRED), _preference(networks)
        if ours in preferences:
            return []
        if preferences:
            return [{"op": "add", "path": f"{NODE_AFFINITY}/{PREFERRED}/-", "value": ours}]
        return _new(spec, PREFERRED, [ours])
    return []


def _node_affinity(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    return child(child(spec, "affinity"), "nodeAffinity")


def _terms(spec: Mapping[str, Any]) -> list[Any]:
    return object_list(child(_node_affinity(spec), REQUIRED), "nodeSelectorTerms")


def _matches_some(term: Mapping[str, Any]) -> bool:
    return bool(object_list(term, "matchExpressions") or object_list(term, "matchFields"))


def _new(spec: Mapping[str, Any], key: str, value: Any) -> Patch:
    """Add *value* at *key* of the node affinity, with whatever above it is missing."""
    if not spec.get("affinity"):
        return [{"op": "add", "path": AFFINITY, "value": {"nodeAffinity": {key: value}}}]
    if not _node_affinity(spec):
        return [{"op": "add", "path": NODE_AFFINITY, "value": {key: value}}]
    return [{"op": "add", "path": f"{NODE_AFFINITY}/{key}", "value": value}]


def _into_terms(
    terms: Sequence[Mapping[str, Any]], ours: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    for index, term in enumerate(terms):
        if not _matches_some(term):
            continue
        path = f"{NODE_AFFINITY}/{REQUIRED}/nodeSelectorTerms/{index}/matchExpressions"
        there = object_list(term, "matchExpressions")
        missing = [one for one in ours if one not in there]
        if missing and not there:
            yield {"op": "add", "path": path, "value": missing}
            continue
        for one in missing:
            yield {"op": "add", "path": f"{path}/-", "value": one}
