"""Node affinity: a pod goes only to nodes that have its networks, as a JSON patch.

The webhook adds ``network.cni-genie.io/<name> In ["true"]`` for every network of the pod. The
terms of a node selector are alternatives, so each term gets it. The expressions of one term must
all match, so nothing that the author wrote is weakened.

A pod with NetworkAttachmentDefinitions has further requirements, in every scheduling mode: a node
that ignores definitions would start it without them. They come last in a term and begin with that
for the label of :data:`dispatcher.keys.ATTACHMENTS_LABEL`, so that an update finds them again.

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

    Expression = dict[str, Any]
    """A requirement of a node selector term."""
    Term = Mapping[str, Any]

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


def patch_new(
    pod: Pod, networks: Sequence[str], mode: str, always: Sequence[Expression] = ()
) -> Patch:
    """Return the patch that gives a new pod the affinity for *networks*.

    *mode* is ``required``, ``preferred`` or ``off``. *always* is required in every mode.
    """
    return [] if pod.node_name else _merge(pod, networks, mode, always)


def check_terms(
    pod: Pod, networks: Sequence[str], mode: str, always: Sequence[Expression] = ()
) -> Cause | None:
    """Return the fault of a pod that has too many terms for :func:`patch_new`."""
    count = len(_terms(pod))
    is_patched = always or (networks and mode == "required")
    if not is_patched or pod.node_name or count <= MAX_TERMS:
        return None
    rule = f"must have at most {MAX_TERMS} node selector terms in a pod that has networks"
    return Cause(TOO_MANY, f"Too many: {rule} (has {count}); use fewer", f"spec.{TERMS}")


def patch_updated(pod: Pod, stored: Pod, networks: Sequence[str]) -> Patch:
    """Return the patch that gives *pod* the affinity that the webhook gave the *stored* pod.

    The author's manifest comes without it: ``nodeSelectorTerms`` is one atomic value.
    """
    own, always = _split(stored)
    return _merge(pod, networks, _mode_of(stored, own, networks), always)


def requires(pod: Pod, required: Sequence[Expression]) -> bool:
    """Tell whether every term of *pod* has all of *required*."""
    return _all_have(_terms(pod), required)


def prefers(pod: Pod, networks: Sequence[str]) -> bool:
    """Tell whether *pod* has the preference that the webhook adds for *networks*."""
    return _preference(networks) in object_list(pod.node_affinity, PREFERRED)


def _all_have(terms: Sequence[Term], required: Sequence[Expression]) -> bool:
    terms = [term for term in terms if _matches_some(term)]
    return bool(terms) and all(
        expression in object_list(term, "matchExpressions")
        for term in terms
        for expression in required
    )


def expressions(networks: Sequence[str]) -> list[Expression]:
    """Return the requirements that a node must meet, one for each network."""
    return [expression(keys.network_label(name), "true") for name in networks]


def expression(key: str, value: str) -> Expression:
    """Return the requirement that a node has a label."""
    return {"key": key, "operator": "In", "values": [value]}


def _preference(networks: Sequence[str]) -> dict[str, Any]:
    return {"weight": WEIGHT, "preference": {"matchExpressions": expressions(networks)}}


def _mode_of(stored: Pod, own: Sequence[Term], networks: Sequence[str]) -> str:
    if not networks:
        return "off"
    # The webhook adds to every term. If only some have the requirement, the author wrote it.
    if _all_have(own, expressions(networks)):
        return "required"
    if prefers(stored, networks):
        return "preferred"
    return "off"


def _split(stored: Pod) -> tuple[list[Term], list[Expression]]:
    """Return the terms of the *stored* pod without what its definitions require, and that."""
    has_definitions = keys.ATTACHMENTS in stored.annotations
    marker = expression(keys.ATTACHMENTS_LABEL, "true")
    own: list[Term] = []
    always: list[Expression] = []
    for term in _terms(stored):
        present = object_list(term, "matchExpressions")
        end = present.index(marker) if has_definitions and marker in present else len(present)
        own.append({**term, "matchExpressions": present[:end]})
        # A term where the author wrote one of them has fewer that were added.
        always += [each for each in present[end:] if each not in always]
    return own, always


def _merge(
    pod: Pod, networks: Sequence[str], mode: str, always: Sequence[Expression] = ()
) -> Patch:
    missing: dict[str, Any] = {}
    patch: list[Operation] = []
    required = expressions(networks) if mode == "required" else []
    required += [each for each in always if each not in required]
    if required and pod.node_affinity.get(REQUIRED) is None:
        missing[REQUIRED] = {"nodeSelectorTerms": [{"matchExpressions": required}]}
    elif required and len(terms := _terms(pod)) <= MAX_TERMS:
        patch += _add_to_terms(terms, required)

    preferences = object_list(pod.node_affinity, PREFERRED)
    if mode == "preferred" and networks and not prefers(pod, networks):
        preference = _preference(networks)
        if preferences:
            patch.append(json_patch.add(f"{_NODE_AFFINITY}/{PREFERRED}/-", preference))
        else:
            missing[PREFERRED] = [preference]
    return [*patch, *_add(pod, missing)]


def _terms(pod: Pod) -> list[Any]:
    return object_list(child(pod.node_affinity, REQUIRED), "nodeSelectorTerms")


def _matches_some(term: Mapping[str, Any]) -> bool:
    return bool(object_list(term, "matchExpressions") or object_list(term, "matchFields"))


def _add(pod: Pod, values: Mapping[str, Any]) -> Patch:
    """Add *values* by their keys to the node affinity, with the missing objects around it."""
    if not values:
        return []
    if not pod.affinity:
        return [json_patch.add(_AFFINITY, {"nodeAffinity": values})]
    if not pod.node_affinity:
        return [json_patch.add(_NODE_AFFINITY, values)]
    return [json_patch.add(f"{_NODE_AFFINITY}/{key}", value) for key, value in values.items()]


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
