"""Pods that select definitions: warnings, and the annotation ``cni-genie.io/attachments``.

The annotation says which definitions were validated. It is written over whatever the author wrote
there, and removed where nothing was validated. The author's own annotations are never changed:
other programs compare them with what they wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher import keys
from dispatcher.kube import json_patch
from webhook.decision import Decision, warning
from webhook.definition_check import check_definitions
from webhook.selections import selection_warnings

if TYPE_CHECKING:
    from dispatcher.kube.json_patch import Patch
    from webhook.definition_check import DefinitionRules
    from webhook.definition_snapshot import Definitions
    from webhook.objects import Pod
    from webhook.snapshot import ClusterNetworks, Namespace

_ANNOTATIONS = json_patch.pointer("metadata", "annotations")
_VALUE = json_patch.pointer("metadata", "annotations", keys.ATTACHMENTS)


def add_definitions(
    decision: Decision,
    pod: Pod,
    namespace: Namespace,
    networks: ClusterNetworks,
    *,
    definitions: Definitions,
    rules: DefinitionRules,
) -> Decision:
    """Return *decision*, which admits a new pod, with what its definitions add to it."""
    result = check_definitions(pod.annotations, namespace, networks, definitions, rules)
    warned = selection_warnings(
        pod.annotations, namespace.default, networks, "metadata.", result.findings
    )
    decision = _with_patch(decision, _value_patch(pod, result.attachments or None, decision))
    return decision._replace(warnings=(*decision.warnings, *warned))


def keep_attachments(decision: Decision, pod: Pod, stored: Pod) -> Decision:
    """Return *decision*, which admits a change of a pod, with the stored annotation.

    A manifest that is applied or replaced again does not have it.
    """
    old = stored.annotations.get(keys.ATTACHMENTS)
    decision = _with_patch(decision, _value_patch(pod, old, decision))
    warned = tuple(
        warning(
            f"metadata.annotations[{key}]: a change has no effect on a pod that exists; "
            "create a new pod to change its networks"
        )
        for key in keys.SELECTION_KEYS
        if pod.annotations.get(key) != stored.annotations.get(key)
    )
    return decision._replace(warnings=(*decision.warnings, *warned))


def _with_patch(decision: Decision, patch: Patch) -> Decision:
    if not patch:
        return decision
    reason = "attachments" if decision.outcome == "allowed" else decision.reason
    return decision._replace(reason=reason, patch=[*decision.patch, *patch])


def _value_patch(pod: Pod, value: str | None, decision: Decision) -> Patch:
    """Return the patch that makes *value* the pod's annotation; None removes it."""
    present = pod.annotations.get(keys.ATTACHMENTS)
    if value == present:
        return []
    if value is None:
        return [json_patch.remove(_VALUE)]
    has_map = pod.annotations or any(each["path"] == _ANNOTATIONS for each in decision.patch)
    if not has_map:
        return [json_patch.add(_ANNOTATIONS, {keys.ATTACHMENTS: value})]
    return [json_patch.add(_VALUE, value)]
