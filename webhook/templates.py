"""Workload templates: the pods of a Deployment are refused out of its author's sight.

A denied pod of a controller is an event on a ReplicaSet, hours after ``kubectl apply`` said
"created". So the template is judged when it is written. What can never give a valid pod is
refused; what might, once the network or the permission is there, is a warning. Two settings
turn either into ``deny``, ``warn`` or ``off``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dispatcher import keys
from dispatcher.annotation import BLANKS
from webhook import affinity
from webhook.annotation_check import Finding, validate_annotation
from webhook.decision import ALLOWED, Decision, deny, warning
from webhook.ignored_keys import pod_warnings
from webhook.limits import CLUSTER, pod_cause, pod_excesses, pod_warning
from webhook.pods import is_excluded
from webhook.review import child, object_list, string_map

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from webhook.decision import Cause
    from webhook.limits import Limits
    from webhook.review import Review
    from webhook.settings import Scheduling, Severity
    from webhook.snapshot import ClusterNetworks, Namespace

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


class TemplateRules(NamedTuple):
    """The settings that matter here."""

    invalid: Severity = "deny"
    doubtful: Severity = "warn"
    scheduling: Scheduling = "required"
    limits: Limits = CLUSTER


def admit_workload(
    review: Review, namespace: Namespace, networks: ClusterNetworks, rules: TemplateRules
) -> Decision:
    """Return the decision on a workload, by its template."""
    if review.subresource or review.operation not in {"CREATE", "UPDATE"}:
        return ALLOWED
    path = PATHS[review.kind]
    template = _at(review.object, path)
    if is_excluded(template) or _is_managed(review.object):
        return ALLOWED
    field = ".".join(path)
    value = _value(template)
    unchanged = review.operation == "UPDATE" and _value(_at(review.old_object, path)) == value
    written = value.strip(BLANKS)
    where = f"{field}.metadata.annotations[{keys.ANNOTATION}]"
    verdict = validate_annotation(
        value if written else namespace.default, namespace, networks, where
    )
    excesses = pod_excesses(verdict.normal, namespace, rules.limits)
    findings = list(verdict.findings if written else ())
    if rules.limits.are_enforced:
        # An administrator may raise the limit, as an allow-list may be extended.
        findings += (
            Finding(
                0, pod_cause(excess, review.namespace, where), is_doubtful=True, brief=excess.brief
            )
            for excess in excesses
        )
    denied, told = _weigh(findings, rules, unchanged=unchanged)
    if not rules.limits.are_enforced:
        told += (pod_warning(excess, where) for excess in excesses)
    if denied:
        return deny(denied)
    if written and rules.doubtful != "off":
        told += (warning(f"{where}: {each}") for each in verdict.warnings)
    metadata, has_multus = child(template, "metadata"), networks.have_multus(verdict.networks)
    warnings = [*pod_warnings(metadata, f"{field}.metadata.", has_multus=has_multus), *told]
    if namespace.scheduling_or(rules.scheduling) == "required":
        spec = child(template, "spec")
        warnings += _scheduling(review.kind, spec, verdict.networks, f"{field}.spec.")
    return Decision(reason="template", warnings=tuple(warnings))


def _at(found: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any]:
    for key in path:
        found = child(found, key)
    return found


def _value(template: Mapping[str, Any]) -> str:
    return string_map(child(template, "metadata"), "annotations").get(keys.ANNOTATION, "")


def _is_managed(workload: Mapping[str, Any]) -> bool:
    """Tell whether a controller made this (a Deployment's ReplicaSet): it was judged there."""
    owners = object_list(child(workload, "metadata"), "ownerReferences")
    return any(owner.get("controller") is True for owner in owners)


def _weigh(
    findings: Iterable[Finding], rules: TemplateRules, *, unchanged: bool
) -> tuple[list[Cause], list[str]]:
    """Return what the workload is refused for, and what is only said.

    A value that is stored already is no reason to refuse a change of something else.
    """
    denied: list[Cause] = []
    told: list[str] = []
    for finding in findings:
        severity = rules.doubtful if finding.is_doubtful else rules.invalid
        if severity == "deny" and not unchanged:
            denied.append(finding.cause)
        elif severity != "off":
            told.append(_will_be_refused(finding.cause.field, finding.brief))
    return denied, told


def _will_be_refused(field: str, why: str) -> str:
    return warning(f"{field}: pods will be refused: {why}")


def _scheduling(
    kind: str, spec: Mapping[str, Any], networks: tuple[str, ...], field: str
) -> Iterator[str]:
    """Yield what is wrong with the nodes that the pods may go to. The namespace may change that.

    *field* leads to the pods' spec.
    """
    refusal = affinity.refusal(spec, networks, "required")
    if refusal:
        yield _will_be_refused(f"{field}{affinity.TERMS}", refusal.message)
    elif kind == "DaemonSet":
        yield from _selector_hints(spec, networks, field)


def _selector_hints(
    spec: Mapping[str, Any], networks: tuple[str, ...], field: str
) -> Iterator[str]:
    selector = string_map(spec, "nodeSelector")
    for name in networks:
        label = keys.network_label(name)
        if selector.get(label) != "true" and not affinity.covers(spec, (name,)):
            yield warning(
                f'{field}nodeSelector: lacks {label}: "true"; on other nodes the pods stay Pending'
            )
