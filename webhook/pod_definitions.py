"""Pods that select definitions: faults, and the annotation ``cni-genie.io/attachments``.

The annotation says which definitions were validated. It is written over whatever the author wrote
there, and removed where nothing was validated, as in the mode ``off``: the nodes believe it after a
change to ``enforce``. The author's own annotations are never changed: other programs compare them
with what they wrote.

In the mode ``observe`` every fault is a warning, with the words of the refusal in ``enforce``.
A pod on a network of Multus gets an empty ``cni-genie.io/attachments``: Genie attaches none of its
definitions. In ``observe``, too: at the change to ``enforce`` the policies are in force before the
last replica that observes has ended, and they refuse a pod without the annotation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher import keys
from dispatcher.annotation import INVALID
from dispatcher.kube import json_patch
from webhook.annotation_check import Finding
from webhook.decision import Cause, Decision, deny, warning

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dispatcher.kube.json_patch import Patch
    from webhook.definition_check import DefinitionResult
    from webhook.objects import Pod
    from webhook.selections import PodSelections, SelectionFinding

MAX_WARNINGS = 5
"""Limit of the warnings of one object; ``kubectl genie lint`` lists all faults."""

MAX_CAUSES = 32
"""Limit of the causes of one refusal: one for each item that a value may have."""

MAX_AUDITED = 1024
"""Limit of the attachments in an audit annotation, in characters."""

_LINT = "to list all: kubectl genie lint -f FILE"
_ANNOTATIONS = json_patch.pointer("metadata", "annotations")
_VALUE = json_patch.pointer("metadata", "annotations", keys.ATTACHMENTS)


def observe_definitions(
    decision: Decision, pod: Pod, selections: PodSelections, result: DefinitionResult
) -> Decision:
    """Return *decision* on a new pod with what its definitions add to it: warnings."""
    if not decision.allowed:
        return decision
    warned = finding_warnings(result.findings, "metadata.")
    decision = set_attachments(decision, pod, _value(selections, result))
    return decision._replace(warnings=(*decision.warnings, *warned))


def enforce_definitions(
    decision: Decision, pod: Pod, selections: PodSelections, result: DefinitionResult
) -> Decision:
    """Return *decision* on a new pod with what its definitions add to it: causes of a refusal."""
    causes = [each.refusal() for each in refusals(result.findings, "metadata.")]
    if causes:
        reason = "" if decision.allowed else decision.reason
        audit = {key: value for key, value in decision.audit.items() if key != "reason"}
        return deny((*decision.causes, *causes), audit, reason)
    if not decision.allowed:
        return decision

    if result.attachments:
        decision = decision._replace(
            audit={**decision.audit, "attachments": result.attachments[:MAX_AUDITED]}
        )
    decision = set_attachments(decision, pod, _value(selections, result))
    warned = finding_warnings(result.findings, "metadata.")
    return decision._replace(warnings=(*decision.warnings, *warned))


def keep_attachments(decision: Decision, pod: Pod, stored: Pod, *, is_enforced: bool) -> Decision:
    """Return *decision* on a change of a pod, with the stored annotation.

    A manifest that is applied or replaced again does not have it. A changed selection is refused if
    *is_enforced*, and gives a warning otherwise.
    """
    changed = [
        key
        for key in keys.SELECTION_KEYS
        if pod.annotations.get(key) != stored.annotations.get(key)
    ]
    if changed and is_enforced:
        causes = (Cause(INVALID, _immutable(stored, key), _field(key)) for key in changed)
        return deny((*decision.causes, *causes))
    if not decision.allowed:
        return decision

    decision = set_attachments(decision, pod, stored.annotations.get(keys.ATTACHMENTS))
    warned = (
        warning(
            f"{_field(key)}: a change has no effect on a pod that exists; "
            "create a new pod to change its networks"
        )
        for key in changed
    )
    return decision._replace(warnings=(*decision.warnings, *warned))


def set_attachments(decision: Decision, pod: Pod, value: str | None) -> Decision:
    """Return *decision* with a patch that makes *value* the pod's annotation; None removes it.

    A refusal stays as it is.
    """
    patch = _value_patch(pod, value, decision) if decision.allowed else []
    if not patch:
        return decision
    reason = "attachments" if decision.outcome == "allowed" else decision.reason
    return decision._replace(reason=reason, patch=[*decision.patch, *patch])


def finding_warnings(findings: Iterable[SelectionFinding], path: str) -> Iterator[str]:
    """Yield a warning for each of the first findings; *path* is the metadata's, with a dot."""
    findings = list(findings)
    for each in findings[:MAX_WARNINGS]:
        yield warning(f"{path}annotations[{each.key}]: {each.warning}")
    more = len(findings) - MAX_WARNINGS
    if more > 0:
        yield warning(f"{path}annotations: more faults: {more}; {_LINT}")


def refusals(findings: Iterable[SelectionFinding], path: str) -> Iterator[Finding]:
    """Yield the first findings that refuse a pod, with their causes; *path* is as above."""
    refusing = [each for each in findings if each.reason]
    for each in refusing[:MAX_CAUSES]:
        cause = Cause(each.reason, each.message, f"{path}annotations[{each.key}]")
        yield Finding(0, cause, is_doubtful=each.is_doubtful, brief=each.warning)
    more = len(refusing) - MAX_CAUSES
    if more > 0:
        text = f"more faults: {more}; {_LINT}"
        cause = Cause(INVALID, f"Invalid value: {text}", f"{path}annotations")
        yield Finding(0, cause, is_doubtful=False, brief=text)


def _immutable(stored: Pod, key: str) -> str:
    has = (
        "was created with another value" if key in stored.annotations else "was created without it"
    )
    return f"Invalid value: field is immutable: the pod {has}; create a new pod to change it"


def _field(key: str) -> str:
    return f"metadata.annotations[{key}]"


def _value(selections: PodSelections, result: DefinitionResult) -> str | None:
    """Return what the pod's annotation must be; None: it must not have one."""
    return "" if selections.is_multus else result.attachments or None


def _value_patch(pod: Pod, value: str | None, decision: Decision) -> Patch:
    """Return the patch that makes *value* the pod's annotation; None removes it."""
    present = pod.annotations.get(keys.ATTACHMENTS)
    if value == present:
        return []
    if value is None:
        return [json_patch.remove(_VALUE)]
    has_map = pod.has_annotations or any(each["path"] == _ANNOTATIONS for each in decision.patch)
    if not has_map:
        return [json_patch.add(_ANNOTATIONS, {keys.ATTACHMENTS: value})]
    return [json_patch.add(_VALUE, value)]
