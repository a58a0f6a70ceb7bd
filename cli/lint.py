"""Checks manifests without a cluster, with the rules and the messages of the webhook.

:mod:`dispatcher.nad.validation` checks NetworkAttachmentDefinitions.

Each object is passed to the function that the webhook would call, as a review of its creation. The
caller gives what a file does not have (:class:`LintContext`): the networks of the cluster, and the
settings of its namespaces. Namespaces among the manifests are used, too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from cli.pod_selections import DefinitionContext, known_definitions
from dispatcher import keys
from dispatcher.nad import definition as definitions
from dispatcher.nad.validation import check, scheduling_faults
from webhook.annotation_check import names_in
from webhook.decision import ALLOWED
from webhook.limits import Limits
from webhook.namespaces import admit_namespace
from webhook.objects import TEMPLATE_PATHS, parse_pod, template_of
from webhook.pods import PodRules, admit_pod
from webhook.review import MalformedReviewError, Review
from webhook.snapshot import ClusterNetworks, Namespace, NodeCount, parse_namespace
from webhook.templates import TemplateRules, admit_workload

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from cli.documents import Document, Place
    from webhook.decision import Decision

ERROR, WARNING = "error", "warning"

EXCLUDED_NAMESPACES = frozenset({"kube-system"})
"""Namespaces whose pods the webhook configurations leave out; Genie's own is one, too."""

_FIELD = re.compile(r"((?:[\w-]+(?:\[[^\]]*\])?\.)*[\w-]+(?:\[[^\]]*\])?): ")


class LintContext(NamedTuple):
    """What the rules need besides the manifests.

    ``networks`` None: unknown, so that every well-formed name counts as a network.
    """

    networks: ClusterNetworks | None = None
    namespaces: Mapping[str, Namespace] = {}
    default_namespace: str = "default"
    excluded: frozenset[str] = EXCLUDED_NAMESPACES
    limits: Limits = Limits()
    definitions: DefinitionContext = DefinitionContext()

    @property
    def pod_rules(self) -> PodRules:
        """The webhook's rules for pods; their selections are checked apart, for the place."""
        return PodRules(limits=self.limits, definitions=self.definitions.mode)


class LintFinding(NamedTuple):
    """One fault or warning, and the place of the field that it is about."""

    place: Place
    severity: str
    subject: str
    """The object, as ``Deployment shop/web``."""
    field: str
    message: str


def lint(documents: Iterable[Document], context: LintContext) -> list[LintFinding]:
    """Return what is wrong with *documents*, in their order."""
    documents = list(documents)
    written = {d.name: parse_namespace(d.value) for d in documents if d.kind == "Namespace"}
    namespaces = {**context.namespaces, **written}
    context = context._replace(namespaces=namespaces, definitions=_with_written(documents, context))
    return [finding for each in documents for finding in _lint_one(each, context)]


def _with_written(documents: Iterable[Document], context: LintContext) -> DefinitionContext:
    """Return the definitions of the cluster with those of *documents*, which will be in it."""
    definitions = context.definitions
    if definitions.known is None:
        return definitions
    written = [
        {**each.value, "metadata": {**metadata, "namespace": each.namespace or default}}
        for each in documents
        if _is_definition(each) and isinstance(metadata := each.value.get("metadata"), dict)
        for default in [context.default_namespace]
    ]
    known = {**definitions.known, **known_definitions(written, definitions.tenants)}
    return definitions._replace(known=known)


def _lint_one(document: Document, context: LintContext) -> Iterator[LintFinding]:
    namespace_name = document.namespace or context.default_namespace
    if _is_definition(document):
        yield from _lint_definition(document, namespace_name)
        return
    if document.kind != "Namespace" and namespace_name in context.excluded:
        return
    prefix = "" if document.kind == "Namespace" else f"{namespace_name}/"
    subject = f"{document.kind} {prefix}{document.name}"
    try:
        decision = _decide(document, namespace_name, context)
    except MalformedReviewError as error:
        yield LintFinding(document.place(""), ERROR, subject, "", str(error))
        return

    for cause in decision.causes:
        field = _field_of(document, cause.field)
        yield LintFinding(document.place(field), ERROR, subject, field, cause.message)
    for text in decision.warnings:
        match = _FIELD.match(text)
        field = _field_of(document, match[1]) if match else ""
        message = text[match.end() :] if match else text
        yield LintFinding(document.place(field), WARNING, subject, field, message)
    yield from _lint_selections(document, subject, namespace_name, context)


def _lint_selections(
    document: Document, subject: str, namespace_name: str, context: LintContext
) -> Iterator[LintFinding]:
    """Yield the faults of the annotations that select NetworkAttachmentDefinitions.

    They are warnings unless the cluster has the mode ``enforce``: otherwise the webhook admits the
    pod, since it ignores these annotations.
    """
    value = pod_of(document)
    pod = parse_pod(value or {})
    if not pod.annotations.keys() & set(keys.SELECTION_KEYS) or pod.is_excluded:
        return

    namespace = context.namespaces.get(namespace_name, Namespace(name=namespace_name))
    networks = context.networks or ClusterNetworks()
    path = _template_path(document)
    _, findings = context.definitions.select(pod.annotations, namespace, networks)
    for each in findings:
        is_refused = context.definitions.is_enforced and each.reason
        field = f"{path}metadata.annotations[{each.key}]"
        place = document.place_in(field, each.fault.offset) if each.fault else None
        # Where YAML folds lines, the place in the value must do.
        text = each.fault.brief if each.fault and place else each.message
        severity = ERROR if is_refused else WARNING
        yield LintFinding(place or document.place(field), severity, subject, field, text)


def _is_definition(document: Document) -> bool:
    group = str(document.value.get("apiVersion", "")).partition("/")[0]
    return document.kind == definitions.KIND and group in {definitions.GROUP, ""}


def _lint_definition(document: Document, namespace_name: str) -> Iterator[LintFinding]:
    """Yield the faults of a NetworkAttachmentDefinition; an excluded namespace may have some, too.

    The rules for tenants are the cluster's, and no file knows them.
    """
    definition = definitions.read(document.value)
    definition.name = definition.name or document.name or "unnamed"
    subject = f"{document.kind} {namespace_name}/{definition.name}"
    for fault in (*check(definition).faults, *scheduling_faults(definition)):
        yield LintFinding(document.place(fault.field), ERROR, subject, fault.field, fault.sentence)


def _decide(document: Document, namespace_name: str, context: LintContext) -> Decision:
    networks = context.networks
    if networks is None:
        networks = all_present(_named_networks(document, context, namespace_name))
    namespace = context.namespaces.get(namespace_name, Namespace(name=namespace_name))

    if document.kind == "Namespace":
        review = _review(document, "Namespace", "", document.value)
        mode = context.definitions.mode
        return admit_namespace(review, networks, context.limits, definitions=mode)
    if document.kind == "Pod":
        review = _review(document, "Pod", namespace_name, document.value)
        pod = parse_pod(document.value)
        return admit_pod(review, pod, namespace, networks, context.pod_rules)

    workload = _as_workload(document)
    if workload is None:
        return ALLOWED
    workload_kind, value = workload
    review = _review(document, workload_kind, namespace_name, value)
    # A network that is unknown here is refused: there is no later moment at which it may be known.
    rules = TemplateRules(doubtful="deny", pods=context.pod_rules)
    template = parse_pod(template_of(value, workload_kind))
    return admit_workload(review, template, namespace, networks, rules)


def all_present(names: Iterable[str]) -> ClusterNetworks:
    """Return a cluster where every node can attach *names*."""
    known = frozenset(names)
    nodes = dict.fromkeys(known, NodeCount(attachable=1, labelled=1))
    return ClusterNetworks(known=known, present=known, nodes=nodes)


def pod_of(document: Document) -> Mapping[str, Any] | None:
    """Return the pod that *document* is, or the template of its pods; None if it has none."""
    if document.kind == "Pod":
        return document.value
    workload = _as_workload(document)
    return template_of(workload[1], workload[0]) if workload else None


def _as_workload(document: Document) -> tuple[str, dict[str, Any]] | None:
    """Return the kind of a workload whose pod template is where this object's is, and the object.

    Custom resources (Rollouts, for example) have it where a Deployment has it; a PodTemplate has it
    one level higher.
    """
    value = document.value
    if document.kind in TEMPLATE_PATHS:
        return document.kind, value
    if document.kind == "PodTemplate":
        return "Deployment", {"metadata": value.get("metadata"), "spec": value}
    spec = value.get("spec")
    template = spec.get("template") if isinstance(spec, dict) else None
    pod = template.get("spec") if isinstance(template, dict) else None
    return ("Deployment", value) if isinstance(pod, dict) and "containers" in pod else None


def _template_path(document: Document) -> str:
    """Return the path of the pod in the object, with a dot; empty for a pod."""
    workload = _as_workload(document)
    if document.kind == "Pod" or workload is None:
        return ""
    return _field_of(document, ".".join(TEMPLATE_PATHS[workload[0]])) + "."


def _field_of(document: Document, field: str) -> str:
    return field.removeprefix("spec.") if document.kind == "PodTemplate" else field


def _review(document: Document, kind: str, namespace_name: str, value: Mapping[str, Any]) -> Review:
    return Review("lint", "CREATE", "", kind, document.name, namespace_name, "", value, {})


def _named_networks(document: Document, context: LintContext, namespace_name: str) -> Iterator[str]:
    """Yield every network that the object, its namespace's default or its allow-list names."""
    own = document.name if document.kind == "Namespace" else namespace_name
    namespace = context.namespaces.get(own)
    if namespace is not None:
        yield from names_in(namespace.default)
        yield from namespace.choices
        yield from namespace.allowed or ()

    rest: list[Any] = [document.value]
    visited: set[int] = set()
    while rest:
        value = rest.pop()
        if not isinstance(value, dict) or id(value) in visited:  # a YAML alias of it
            continue
        visited.add(id(value))
        rest += value.values()
        annotation = value.get(keys.ANNOTATION)
        if isinstance(annotation, str):
            yield from names_in(annotation)
