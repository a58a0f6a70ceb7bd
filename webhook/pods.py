"""Pods: the value of ``cni`` judged and normalised, the default filled in, affinity added.

CREATE is where a pod gets its networks. On UPDATE they are kept: the stored value stays
whatever spelling of it is applied again, and every other value is refused (the policies in
the API server refuse it too, also while we are down; our words are easier to read).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dispatcher import keys
from dispatcher.annotation import BLANKS, INVALID, InvalidAnnotationError, normalise, quote
from webhook import affinity
from webhook.annotation_check import ValidationResult, networks_of, validate_annotation
from webhook.decision import ALLOWED, FORBIDDEN, Cause, Decision, NoDecisionError, deny, warning
from webhook.ignored_keys import pod_warnings
from webhook.limits import CLUSTER, OVER_LIMIT, pod_cause, pod_excesses, pod_warning
from webhook.review import child, string_map

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from webhook.limits import Limits
    from webhook.review import Review
    from webhook.snapshot import ClusterNetworks, Namespace

FIELD = f"metadata.annotations[{keys.ANNOTATION}]"


class Choice(NamedTuple):
    """The value that a new pod gets, and where it came from: ``annotation``, ``namespace``."""

    value: str
    source: str


def admit_pod(
    review: Review,
    namespace: Namespace,
    networks: ClusterNetworks,
    scheduling: str,
    limits: Limits = CLUSTER,
) -> Decision:
    """Return the decision on a Pod; *scheduling* is the setting of that name, *limits* likewise.

    Raises NoDecisionError when the pod names networks and none is known.
    """
    if review.subresource or is_excluded(review.object):
        return ALLOWED
    if review.operation == "CREATE":
        return _created(review, namespace, networks, namespace.scheduling_or(scheduling), limits)
    if review.operation == "UPDATE":
        return _updated(review, namespace)
    return ALLOWED


def is_excluded(pod: Mapping[str, Any]) -> bool:
    """Tell whether *pod* is of a kind that Genie never attaches, like the policies do.

    Those with the node's own network, the API server's images of static pods, Windows pods.
    """
    spec = child(pod, "spec")
    return (
        spec.get("hostNetwork") is True
        or keys.MIRROR in string_map(child(pod, "metadata"), "annotations")
        or child(spec, "os").get("name") == "windows"
        or child(spec, "nodeSelector").get("kubernetes.io/os") == "windows"
    )


def may_get_default(review: Review) -> bool:
    """Tell whether this new pod may have been sent because its namespace has a default.

    A pod with a key of another product is sent from every namespace, and may need a default too.
    """
    annotations = string_map(child(review.object, "metadata"), "annotations")
    return review.operation == "CREATE" and keys.ANNOTATION not in annotations


def _created(
    review: Review, namespace: Namespace, networks: ClusterNetworks, scheduling: str, limits: Limits
) -> Decision:
    metadata = child(review.object, "metadata")
    written = string_map(metadata, "annotations").get(keys.ANNOTATION)
    choice = _choose(written, namespace)
    if choice is None:
        return ALLOWED._replace(warnings=tuple(pod_warnings(metadata)))
    verdict = validate_annotation(choice.value, namespace, networks, FIELD)
    has_multus = networks.have_multus(verdict.networks)
    warnings = list(pod_warnings(metadata, has_multus=has_multus))
    audit = {"networks": verdict.normal, "source": choice.source}
    spec = child(review.object, "spec")
    causes = list(_explain(verdict, choice, review.namespace))
    excesses = pod_excesses(verdict.normal, namespace, limits)
    over_limit = OVER_LIMIT if excesses and not causes else ""
    if excesses:
        audit[OVER_LIMIT] = "; ".join(excess.brief for excess in excesses)
    if limits.are_enforced:
        causes += (pod_cause(excess, review.namespace, FIELD) for excess in excesses)
    else:
        warnings += (pod_warning(excess, FIELD) for excess in excesses)
    unschedulable = affinity.refusal(spec, verdict.networks, scheduling)
    if unschedulable:
        causes.append(unschedulable)
    if causes:
        return deny(causes, audit, over_limit if limits.are_enforced else "")
    if verdict.networks and not networks.known:
        raise NoDecisionError("no network is known yet: no agent has labelled a node")
    warnings += _absent(verdict.networks, networks, scheduling, spec)
    warnings += map(warning, verdict.warnings)
    value_patch = _set(metadata, verdict.normal)
    patch = [*value_patch, *affinity.add(spec, verdict.networks, scheduling)]
    return Decision(
        reason=over_limit or _reason(choice, changed=bool(value_patch), patched=bool(patch)),
        patch=patch,
        warnings=tuple(warnings),
        audit=audit,
    )


def _choose(written: str | None, namespace: Namespace) -> Choice | None:
    if written is not None and written.strip(BLANKS):
        return Choice(written, "annotation")
    if namespace.default:
        return Choice(namespace.default, "namespace")
    return None if written is None else Choice("", "node")


def _reason(choice: Choice, *, changed: bool, patched: bool) -> str:
    if choice.source == "namespace":
        return "defaulted"
    if changed:
        return "normalised"
    return "scheduled" if patched else "valid"


def _explain(verdict: ValidationResult, choice: Choice, namespace_name: str) -> Iterator[Cause]:
    """Yield the causes; those of a default are the administrator's to mend, and say so."""
    where = f" (the default of namespace {quote(namespace_name)})"
    for finding in verdict.findings:
        cause = finding.cause
        if choice.source != "namespace":
            yield cause
        elif finding.is_doubtful:
            yield cause._replace(message=cause.message + where)
        else:
            message = f"Forbidden: {cause.message}{where}; ask an administrator to correct it"
            yield Cause(FORBIDDEN, message, FIELD)


def _absent(
    named: Sequence[str], networks: ClusterNetworks, scheduling: str, spec: Mapping[str, Any]
) -> Iterator[str]:
    waits = scheduling == "required" and not spec.get("nodeName")
    then = "the pod stays Pending until one has" if waits else "the pod may not start"
    for name in named:
        if name not in networks.present:
            yield warning(f"no node has network {quote(name)} at present: {then}")


def _set(metadata: Mapping[str, Any], value: str) -> list[dict[str, Any]]:
    """Return the smallest patch that makes *value* the pod's annotation."""
    annotations = metadata.get("annotations")
    path = "/metadata/annotations"
    if annotations is None:
        return [{"op": "add", "path": path, "value": {keys.ANNOTATION: value}}]
    if keys.ANNOTATION not in annotations:
        return [{"op": "add", "path": f"{path}/{keys.ANNOTATION}", "value": value}]
    if annotations[keys.ANNOTATION] != value:
        return [{"op": "replace", "path": f"{path}/{keys.ANNOTATION}", "value": value}]
    return []


def _updated(review: Review, namespace: Namespace) -> Decision:
    metadata, old_metadata = child(review.object, "metadata"), child(review.old_object, "metadata")
    new = string_map(metadata, "annotations").get(keys.ANNOTATION)
    old = string_map(old_metadata, "annotations").get(keys.ANNOTATION)
    if not _same(new, old, namespace):
        return deny([Cause(INVALID, _immutable(new, old), FIELD)])
    patch = [] if old is None else _set(metadata, old)
    spec, old_spec = child(review.object, "spec"), child(review.old_object, "spec")
    patch += affinity.restore(spec, old_spec, networks_of(old or ""))
    return Decision(reason="kept", patch=patch)


def _same(new: str | None, old: str | None, namespace: Namespace) -> bool:
    """Tell whether *new* asks for what the pod has: the same value, or a spelling of it.

    A blank value asks for what was chosen; a missing one does where the choice was the
    namespace's, so that a manifest without the annotation can be applied or replaced again.
    """
    if new == old:
        return True
    if old is None:
        return False
    if new is None:
        return bool(namespace.default) and _normal(namespace.default) == _normal(old)
    return not new.strip(BLANKS) or _normal(new) == _normal(old)


def _normal(value: str) -> str:
    try:
        return normalise(value)
    except InvalidAnnotationError:
        return value


def _immutable(new: str | None, old: str | None) -> str:
    found = "" if new is None else f"{quote(new)}: "
    had = "was created without it" if old is None else f"has {quote(old)}"
    return f"Invalid value: {found}field is immutable: the pod {had}; create a new pod to change it"
