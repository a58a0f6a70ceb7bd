"""Pods: validate and normalise ``cni``, fill in the namespace's default, add node affinity.

CREATE is where a pod gets its networks. UPDATE keeps them: a different spelling of the stored
value is replaced by the stored value, and every other value is refused. (The policies in the API
server refuse it too, also while no webhook runs; the message here is easier to read.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dispatcher import keys
from dispatcher.annotation import BLANKS, INVALID, InvalidAnnotationError, normalise, quote
from dispatcher.kube import json_patch
from webhook import affinity
from webhook.annotation_check import ValidationResult, networks_of, validate_annotation
from webhook.decision import ALLOWED, FORBIDDEN, Cause, Decision, NoDecisionError, deny, warning
from webhook.definition_check import DefinitionRules, check_definitions
from webhook.definition_snapshot import NO_DEFINITIONS
from webhook.ignored_keys import pod_warnings
from webhook.limits import CLUSTER, OVER_LIMIT, pod_cause, pod_excesses, pod_warning
from webhook.network_choice import SCHEDULING as CHOICE_SCHEDULING
from webhook.objects import parse_pod
from webhook.pod_definitions import (
    enforce_definitions,
    keep_attachments,
    observe_definitions,
    set_attachments,
)
from webhook.selections import NO_SELECTIONS, chooses_primary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dispatcher.kube.json_patch import Patch
    from webhook.affinity import Expression
    from webhook.definition_snapshot import Definitions
    from webhook.limits import Limits
    from webhook.objects import Pod
    from webhook.review import Review
    from webhook.selections import PodSelections
    from webhook.settings import DefinitionsMode, Scheduling
    from webhook.snapshot import ClusterNetworks, Namespace

FIELD = f"metadata.annotations[{keys.ANNOTATION}]"

_ANNOTATIONS = json_patch.pointer("metadata", "annotations")
_VALUE = json_patch.pointer("metadata", "annotations", keys.ANNOTATION)


_ORIGINS = {
    "namespace": "the default of namespace",
    "choice": f"from {quote(keys.CHOOSE)} of namespace",
}
"""Where a value comes from that the pod's author did not write, by the source of the choice."""


class PodRules(NamedTuple):
    """The settings that matter for pods."""

    scheduling: Scheduling = "required"
    limits: Limits = CLUSTER
    definitions: DefinitionsMode = "off"
    shared_namespaces: frozenset[str] = frozenset()
    allows_cni_args: bool = False

    @property
    def of_definitions(self) -> DefinitionRules:
        """Those of them that matter for definitions."""
        return DefinitionRules(self.shared_namespaces, self.limits, self.allows_cni_args)


class Choice(NamedTuple):
    """The value that a new pod gets.

    ``source`` is ``annotation``, ``namespace`` (its default), ``choice`` (from its list) or
    ``node``.
    """

    value: str
    source: str


def admit_pod(
    review: Review,
    pod: Pod,
    namespace: Namespace,
    networks: ClusterNetworks,
    rules: PodRules,
    *,
    selections: PodSelections = NO_SELECTIONS,
    definitions: Definitions = NO_DEFINITIONS,
) -> Decision:
    """Return the decision on *pod*, the object of *review*.

    *selections* is what its annotations select; without the mode ``off`` it must be given. Raises
    :class:`NoDecisionError` if the pod names networks and the webhook knows of none.
    """
    if review.subresource or pod.is_excluded or review.operation not in {"CREATE", "UPDATE"}:
        return ALLOWED
    if review.operation == "UPDATE":
        stored = parse_pod(review.old_object)
        decision = _update(pod, stored, namespace)
        if rules.definitions == "off":
            return set_attachments(decision, pod, stored.annotations.get(keys.ATTACHMENTS))
        return keep_attachments(decision, pod, stored, is_enforced=rules.definitions == "enforce")
    if rules.definitions == "off":
        decision = _create(review.namespace, pod, namespace, networks, rules)
        return set_attachments(decision, pod, None)

    result = check_definitions(selections, namespace, networks, definitions, rules.of_definitions)
    if rules.definitions == "enforce":
        required = result.requirements
        decision = _create(review.namespace, pod, namespace, networks, rules, required=required)
        return enforce_definitions(decision, pod, selections, result)
    decision = _create(review.namespace, pod, namespace, networks, rules)
    return observe_definitions(decision, pod, selections, result)


def may_get_default(review: Review, pod: Pod) -> bool:
    """Tell whether the API server may have sent this pod because its namespace has a default.

    A pod with a key of another product is sent from every namespace, and may need a default too.
    """
    return review.operation == "CREATE" and keys.ANNOTATION not in pod.annotations


def _create(
    namespace_name: str,
    pod: Pod,
    namespace: Namespace,
    networks: ClusterNetworks,
    rules: PodRules,
    *,
    required: Sequence[Expression] = (),
) -> Decision:
    """Return the decision by ``cni``; the definitions of the pod have *required* more of a node."""
    reads_selections = rules.definitions == "enforce"
    choice = choose(pod, namespace, reads_selections=reads_selections)
    if choice is None:
        return _without_choice(pod, required, reads_selections=reads_selections)

    result = validate_annotation(choice.value, namespace, networks, FIELD)
    scheduling = _scheduling_mode(pod, result, namespace, rules.scheduling)
    causes = list(_causes(result, choice, namespace_name))
    has_reader = reads_selections or networks.have_multus(result.networks)
    warnings = list(pod_warnings(pod, has_reader=has_reader))
    audit = {"networks": result.normal, "source": choice.source}

    excesses = pod_excesses(result.normal, namespace, rules.limits)
    over_limit = OVER_LIMIT if excesses and not causes else ""
    if excesses:
        audit[OVER_LIMIT] = "; ".join(excess.brief(namespace_name) for excess in excesses)
    if rules.limits.are_enforced:
        causes += (pod_cause(excess, namespace_name, FIELD) for excess in excesses)
    else:
        warnings += (pod_warning(excess, namespace_name, FIELD) for excess in excesses)

    too_many_terms = affinity.check_terms(pod, result.networks, scheduling, required)
    if too_many_terms:
        causes.append(too_many_terms)

    if causes:
        return deny(causes, audit, over_limit if rules.limits.are_enforced else "")
    if result.networks and not networks.known:
        raise NoDecisionError(
            "no network is known yet: wait until a Genie agent has labelled a node, "
            "or set GENIE_NETWORKS of the webhook"
        )

    if choice.source == "choice" and namespace.choice_warning:
        warnings.append(warning(f"{FIELD}: {namespace.choice_warning}"))
    warnings += _absence_warnings(pod, result.networks, networks, scheduling)
    warnings += map(warning, result.warnings)
    value_patch = _patch_value(pod, result.normal)
    patch = value_patch + affinity.patch_new(pod, result.networks, scheduling, required)
    return Decision(
        reason=over_limit or _reason(choice, changed=bool(value_patch), patched=bool(patch)),
        patch=patch,
        warnings=tuple(warnings),
        audit=audit,
    )


def _without_choice(
    pod: Pod, required: Sequence[Expression], *, reads_selections: bool
) -> Decision:
    """Return the decision on a pod that names no network and gets none."""
    too_many_terms = affinity.check_terms(pod, (), "off", required)
    if too_many_terms:
        return deny([too_many_terms])
    patch = affinity.patch_new(pod, (), "off", required)
    warnings = tuple(pod_warnings(pod, has_reader=reads_selections))
    reason = "scheduled" if patch else ALLOWED.reason
    return ALLOWED._replace(reason=reason, patch=patch, warnings=warnings)


def choose(pod: Pod, namespace: Namespace, *, reads_selections: bool) -> Choice | None:
    """Return the value of ``cni`` that *pod* gets in *namespace*; None if it gets none."""
    written = pod.annotations.get(keys.ANNOTATION)
    if written is not None and written.strip(BLANKS):
        return Choice(written, "annotation")
    has_primary = reads_selections and chooses_primary(pod.annotations)
    if namespace.default and not has_primary:
        return Choice(namespace.default, "choice" if namespace.is_choice else "namespace")
    return None if written is None else Choice("", "node")


def _scheduling_mode(
    pod: Pod, result: ValidationResult, namespace: Namespace, setting: Scheduling
) -> str:
    """Return the scheduling mode of a new pod with the value of *result*.

    A network that was chosen for the pod is preferred. The API server calls again if another
    webhook changes the pod after this one. The choice then looks like a value of the pod's author,
    but the pod has the preference already.
    """
    was_chosen = result.normal in namespace.choices and affinity.prefers(pod, result.networks)
    return namespace.scheduling_or(CHOICE_SCHEDULING if was_chosen else setting)


def _reason(choice: Choice, *, changed: bool, patched: bool) -> str:
    if choice.source in _ORIGINS:
        return "defaulted"
    if changed:
        return "normalised"
    return "scheduled" if patched else "valid"


def _causes(result: ValidationResult, choice: Choice, namespace_name: str) -> Iterator[Cause]:
    """Yield the causes of a refusal; only a cluster administrator can correct a default."""
    if not result.findings:
        return
    origin = f" ({_ORIGINS.get(choice.source)} {quote(namespace_name)})"
    for finding in result.findings:
        if choice.source not in _ORIGINS:
            yield finding.refusal()
        elif finding.is_doubtful:
            yield finding.refusal(origin)
        else:
            fix = "ask a cluster administrator to correct it"
            message = f"Forbidden: {finding.cause.message}{origin}; {fix}"
            yield Cause(FORBIDDEN, message, FIELD)


def _absence_warnings(
    pod: Pod, named: Sequence[str], networks: ClusterNetworks, scheduling: str
) -> Iterator[str]:
    """Yield a warning for each network that no node has; the scheduler's message names none."""
    is_pending = scheduling == "required" and not pod.node_name
    effect = "stays Pending until one has it" if is_pending else "cannot start until a node has it"
    for name in named:
        if name not in networks.present:
            yield warning(
                f"{FIELD}: no node has network {quote(name)} at present; the pod {effect}"
            )


def _patch_value(pod: Pod, value: str) -> Patch:
    """Return the smallest patch that makes *value* the pod's annotation."""
    if not pod.has_annotations:
        return [json_patch.add(_ANNOTATIONS, {keys.ANNOTATION: value})]
    if keys.ANNOTATION not in pod.annotations:
        return [json_patch.add(_VALUE, value)]
    if pod.annotations[keys.ANNOTATION] != value:
        return [json_patch.replace(_VALUE, value)]
    return []


def _update(pod: Pod, stored: Pod, namespace: Namespace) -> Decision:
    new = pod.annotations.get(keys.ANNOTATION)
    old = stored.annotations.get(keys.ANNOTATION)
    if not _keeps(new, old, namespace):
        return deny([Cause(INVALID, _immutable(new, old), FIELD)])

    patch = [] if old is None else _patch_value(pod, old)
    patch += affinity.patch_updated(pod, stored, networks_of(old or ""))
    return Decision(reason="kept", patch=patch)


def _keeps(new: str | None, old: str | None, namespace: Namespace) -> bool:
    """Tell whether *new* asks for what the pod has: the same value, or a spelling of it.

    A blank value asks for what was chosen. So does a missing one if the namespace chose: a
    manifest without the annotation can then be applied or replaced again.
    """
    if new == old:
        return True
    if old is None:
        return False
    if new is None:
        is_default = bool(namespace.default) and _normal(namespace.default) == _normal(old)
        return is_default or old in namespace.choices
    return not new.strip(BLANKS) or _normal(new) == _normal(old)


def _normal(value: str) -> str:
    try:
        return normalise(value)
    except InvalidAnnotationError:
        return value


def _immutable(new: str | None, old: str | None) -> str:
    value = "" if new is None else f"{quote(new)}: "
    has = "was created without it" if old is None else f"has {quote(old)}"
    return f"Invalid value: {value}field is immutable: the pod {has}; create a new pod to change it"
