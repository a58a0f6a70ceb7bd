"""Workloads: validate the pod template, so that its author sees the fault at ``kubectl apply``.

When a controller's pod is refused, the refusal is an event on a ReplicaSet, perhaps hours after
``kubectl apply`` printed "created". A template that can never give a valid pod is refused. A
template that may, once the network or the permission is there, gives a warning. Two settings turn
either into ``deny``, ``warn`` or ``off``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dispatcher import keys
from webhook import affinity
from webhook.annotation_check import Finding, validate_annotation
from webhook.decision import ALLOWED, Decision, deny, warning
from webhook.definition_check import NOTHING_SELECTED, check_definitions
from webhook.definition_snapshot import NO_DEFINITIONS
from webhook.ignored_keys import pod_warnings
from webhook.limits import pod_cause, pod_excesses, pod_warning
from webhook.objects import TEMPLATE_PATHS, has_controller, parse_pod, template_of
from webhook.pod_definitions import MAX_WARNINGS, finding_warnings, refusals
from webhook.pods import PodRules, choose
from webhook.selections import NO_SELECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from webhook.affinity import Expression
    from webhook.annotation_check import ValidationResult
    from webhook.decision import Cause
    from webhook.definition_check import DefinitionResult
    from webhook.definition_snapshot import Definitions
    from webhook.limits import Excess
    from webhook.objects import Pod
    from webhook.review import Review
    from webhook.selections import PodSelections
    from webhook.settings import Severity
    from webhook.snapshot import ClusterNetworks, Namespace


class TemplateRules(NamedTuple):
    """The settings that matter for templates: their severity, and the rules for their pods."""

    invalid: Severity = "deny"
    doubtful: Severity = "warn"
    pods: PodRules = PodRules()


def admit_workload(
    review: Review,
    pod: Pod,
    namespace: Namespace,
    networks: ClusterNetworks,
    rules: TemplateRules,
    *,
    selections: PodSelections = NO_SELECTIONS,
    definitions: Definitions = NO_DEFINITIONS,
) -> Decision:
    """Return the decision on a workload, by *pod*, the pod template of its object.

    *selections* and *definitions* are as for a pod (:func:`webhook.pods.admit_pod`).
    """
    if review.subresource or review.operation not in {"CREATE", "UPDATE"}:
        return ALLOWED
    # The template of a controller's object (a Deployment's ReplicaSet) was validated at its owner.
    if pod.is_excluded or has_controller(review.object):
        return ALLOWED

    checks = _check(
        review, pod, namespace, networks, rules, selections=selections, definitions=definitions
    )
    denied, warnings = _faults(checks, review, pod, rules)
    if denied:
        return deny(denied)

    warnings += _doubts(checks, review, pod, namespace, rules)
    return Decision(
        reason="template", warnings=(*_ignored(checks, pod, networks, rules), *warnings)
    )


class _Checks(NamedTuple):
    """The results of all rules for one template; ``metadata`` is its path, with a dot."""

    metadata: str
    is_written: bool
    """Whether the author wrote the networks; otherwise they are the namespace's default."""
    annotation: ValidationResult
    excesses: Sequence[Excess]
    definitions: DefinitionResult

    @property
    def field(self) -> str:
        """The path of the annotation ``cni``."""
        return f"{self.metadata}annotations[{keys.ANNOTATION}]"


def _check(
    review: Review,
    pod: Pod,
    namespace: Namespace,
    networks: ClusterNetworks,
    rules: TemplateRules,
    *,
    selections: PodSelections,
    definitions: Definitions,
) -> _Checks:
    metadata = ".".join((*TEMPLATE_PATHS[review.kind], "metadata."))
    field = f"{metadata}annotations[{keys.ANNOTATION}]"
    choice = choose(pod, namespace, reads_selections=rules.pods.definitions == "enforce")
    result = validate_annotation(choice.value if choice else "", namespace, networks, field)
    checked = NOTHING_SELECTED
    if rules.pods.definitions != "off":
        checked = check_definitions(
            selections, namespace, networks, definitions, rules.pods.of_definitions
        )
    excesses = pod_excesses(result.normal, namespace, rules.pods.limits)
    is_written = choice is not None and choice.source == "annotation"
    return _Checks(metadata, is_written, result, excesses, checked)


def _faults(
    checks: _Checks, review: Review, pod: Pod, rules: TemplateRules
) -> tuple[list[Cause], list[str]]:
    """Return what the workload is refused for, and the faults that it is only warned of."""
    findings = list(checks.annotation.findings if checks.is_written else ())
    if rules.pods.limits.are_enforced:
        findings += _limit_findings(checks.excesses, review.namespace, checks.field)
    unchanged = _is_unchanged(review, pod, keys.ANNOTATION)
    denied, warnings = _weigh(findings, rules, unchanged=unchanged)

    if rules.pods.definitions == "enforce":
        findings = list(refusals(checks.definitions.findings, checks.metadata))
        unchanged = _is_unchanged(review, pod, keys.ANNOTATION, *keys.SELECTION_KEYS)
        more_denied, more_warnings = _weigh(findings, rules, unchanged=unchanged)
        denied += more_denied
        warnings += more_warnings[:MAX_WARNINGS]
    return denied, warnings


def _doubts(
    checks: _Checks, review: Review, pod: Pod, namespace: Namespace, rules: TemplateRules
) -> Iterator[str]:
    """Yield warnings about pods that are valid, but perhaps not what the author wants."""
    field = checks.field
    if not rules.pods.limits.are_enforced:
        for excess in checks.excesses:
            yield pod_warning(excess, review.namespace, field)
    if checks.is_written and rules.doubtful != "off":
        for each in checks.annotation.warnings:
            yield warning(f"{field}: {each}")

    required: list[Expression] = []
    if namespace.scheduling_or(rules.pods.scheduling) == "required":
        required += affinity.expressions(checks.annotation.networks)
    if rules.pods.definitions == "enforce":
        required += checks.definitions.requirements
    spec_field = f"{'.'.join(TEMPLATE_PATHS[review.kind])}.spec."
    yield from _scheduling_warnings(review.kind, pod, required, spec_field)


def _ignored(
    checks: _Checks, pod: Pod, networks: ClusterNetworks, rules: TemplateRules
) -> Iterator[str]:
    """Yield a warning for each annotation that has no effect, or less than it seems to have."""
    is_enforced = rules.pods.definitions == "enforce"
    has_reader = is_enforced or networks.have_multus(checks.annotation.networks)
    yield from pod_warnings(pod, checks.metadata, has_reader=has_reader)
    findings = checks.definitions.findings
    reported = (each for each in findings if not (is_enforced and each.reason))
    yield from finding_warnings(reported, checks.metadata)


def _is_unchanged(review: Review, template: Pod, *names: str) -> bool:
    """Tell whether an update leaves these annotations of the *template* as they are stored."""
    if review.operation != "UPDATE":
        return False
    stored = parse_pod(template_of(review.old_object, review.kind))
    return all(
        stored.annotations.get(each, "") == template.annotations.get(each, "") for each in names
    )


def _limit_findings(
    excesses: Iterable[Excess], namespace_name: str, field: str
) -> Iterator[Finding]:
    # Doubtful: a cluster administrator may raise the limit, as an allow-list may be extended.
    for excess in excesses:
        cause = pod_cause(excess, namespace_name, field)
        yield Finding(0, cause, is_doubtful=True, brief=excess.brief(namespace_name))


def _weigh(
    findings: Iterable[Finding], rules: TemplateRules, *, unchanged: bool
) -> tuple[list[Cause], list[str]]:
    """Return what the workload is refused for, and what it is only warned of.

    A value that is stored already is no reason to refuse a change of something else.
    """
    denied: list[Cause] = []
    warnings: list[str] = []
    for finding in findings:
        severity = rules.doubtful if finding.is_doubtful else rules.invalid
        if severity == "deny" and not unchanged:
            denied.append(finding.refusal())
        elif severity != "off":
            warnings.append(_refusal_warning(finding.cause.field, finding.brief))
    return denied, warnings


def _refusal_warning(field: str, why: str) -> str:
    return warning(f"{field}: pods will be refused: {why}")


def _scheduling_warnings(
    kind: str, pod: Pod, required: Sequence[Expression], spec_field: str
) -> Iterator[str]:
    """Yield a warning for what keeps the pods from the nodes that have what is *required*.

    Never a refusal, because the namespace's scheduling may change. *spec_field* is the path of the
    pods' spec, with a dot.
    """
    too_many_terms = affinity.check_terms(pod, (), "required", required)
    if too_many_terms:
        yield _refusal_warning(f"{spec_field}{affinity.TERMS}", too_many_terms.message)
    elif kind == "DaemonSet":
        yield from _selector_warnings(pod, required, spec_field)


def _selector_warnings(pod: Pod, required: Sequence[Expression], spec_field: str) -> Iterator[str]:
    """Yield a warning for each required label that no selector of a DaemonSet has."""
    for each in required:
        label, (value,) = each["key"], each["values"]
        if pod.node_selector.get(label) != value and not affinity.requires(pod, (each,)):
            is_network = label.startswith(keys.NETWORK_LABEL)
            nodes = "without this network" if is_network else "without this label"
            yield warning(
                f'{spec_field}nodeSelector: add {label}: "{value}"; '
                f"otherwise the DaemonSet creates pods for nodes {nodes}, and they stay Pending"
            )
