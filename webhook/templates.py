"""Workload templates: the pods of a Deployment are refused out of its author's sight.

A denied pod of a controller is an event on a ReplicaSet, hours after ``kubectl apply`` said
"created". So the template is judged when it is written. What can never give a valid pod is
refused; what might, once the network or the permission is there, is a warning. Two settings
turn either into ``deny``, ``warn`` or ``off``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dispatcher import keys
from dispatcher.annotation import BLANKS, quote
from webhook import affinity
from webhook.decision import ALLOWED, Decision, deny, warning
from webhook.pods import excluded, near_misses
from webhook.review import child, elements, texts
from webhook.value import Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from webhook.decision import Cause
    from webhook.review import Review
    from webhook.settings import Scheduling, Severity
    from webhook.snapshot import Namespace, Networks

_TEMPLATE = ("spec", "template")
PATHS = {
    "Deployment": _TEMPLATE,
    "StatefulSet": _TEMPLATE,
    "DaemonSet": _TEMPLATE,
    "ReplicaSet": _TEMPLATE,
    "ReplicationController": _TEMPLATE,
    "Job": _TEMPLATE,
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}


class Rules(NamedTuple):
    """The settings that matter here."""

    invalid: Severity = "deny"
    doubtful: Severity = "warn"
    scheduling: Scheduling = "required"


def judge_template(
    review: Review, namespace: Namespace, networks: Networks, rules: Rules
) -> Decision:
    """Return the decision on a workload, by its template."""
    if review.subresource or review.operation not in {"CREATE", "UPDATE"}:
        return ALLOWED
    path = PATHS[review.kind]
    template = _at(review.object, path)
    if excluded(template) or _is_managed(review.object):
        return ALLOWED
    field = ".".join(path) + ".metadata."
    warnings = list(near_misses(template, field))
    value = _value(template)
    if value.strip(BLANKS):
        where = f"{field}annotations[{keys.ANNOTATION}]"
        verdict = judge(value, namespace, networks, where)
        unchanged = review.operation == "UPDATE" and _value(_at(review.old_object, path)) == value
        denied, told = _weigh(verdict, where, rules, unchanged=unchanged)
        if denied:
            return deny(denied)
        warnings += told
    else:
        verdict = judge(namespace.default, namespace, networks, "")
    if review.kind == "DaemonSet" and namespace.scheduling_or(rules.scheduling) == "required":
        warnings += _selector_hints(child(template, "spec"), verdict.networks)
    return Decision(reason="template", warnings=tuple(warnings))


def _at(found: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any]:
    for key in path:
        found = child(found, key)
    return found


def _value(template: Mapping[str, Any]) -> str:
    return texts(child(template, "metadata"), "annotations").get(keys.ANNOTATION, "")


def _is_managed(workload: Mapping[str, Any]) -> bool:
    """Tell whether a controller made this (a Deployment's ReplicaSet): it was judged there."""
    owners = elements(child(workload, "metadata"), "ownerReferences")
    return any(owner.get("controller") is True for owner in owners)


def _weigh(
    verdict: Verdict, field: str, rules: Rules, *, unchanged: bool
) -> tuple[list[Cause], list[str]]:
    """Return what the workload is refused for, and what is only said.

    A value that is stored already is no reason to refuse a change of something else.
    """
    denied: list[Cause] = []
    told: list[str] = []
    for finding in verdict.findings:
        severity = rules.doubtful if finding.doubtful else rules.invalid
        if severity == "deny" and not unchanged:
            denied.append(finding.cause)
        elif severity != "off":
            told.append(warning(f"{field}: {finding.brief}: pods will be refused"))
    return denied, told


def _selector_hints(spec: Mapping[str, Any], networks: tuple[str, ...]) -> Iterator[str]:
    selector = texts(spec, "nodeSelector")
    for name in networks:
        label = keys.network_label(name)
        if selector.get(label) != "true" and not affinity.covers(spec, name):
            yield warning(
                f'nodeSelector {label}: "true" is missing: pods on nodes without '
                f"{quote(name)} stay Pending"
            )
