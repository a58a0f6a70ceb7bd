"""What a pod would be attached to, who chose it, and which nodes can do it.

The answer is computed by the webhook's own rules from what the cluster says at this moment. A pod
that exists already keeps what it was created with; its annotation says that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cli.lint import all_present
from cli.pod_selections import DefinitionContext, definition_name, ignored_attachments
from dispatcher import keys
from dispatcher.annotation import InvalidAnnotationError, parse
from dispatcher.nad.plan import plan_pod
from webhook.annotation_check import names_in
from webhook.decision import NoDecisionError
from webhook.limits import CLUSTER
from webhook.network_choice import DEFAULT_MINIMUM, resolve_choice
from webhook.objects import parse_pod
from webhook.pods import PodRules, admit_pod
from webhook.review import MalformedReviewError, Review

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from cli.facts import NodeFacts
    from cli.pod_selections import IgnoredAttachment
    from dispatcher.nad.plan import PlannedAttachment
    from webhook.decision import Decision
    from webhook.limits import Limits
    from webhook.objects import Pod
    from webhook.selections import SelectionFinding
    from webhook.snapshot import ClusterNetworks, Namespace

BY_ANNOTATION = "the pod's annotation"
BY_NAMESPACE = "the default of its namespace"
BY_CHOICE = "the list of its namespace, by availability"
BY_CLUSTER = "the default of the cluster"
BY_NOBODY = "nobody: Genie leaves this pod alone, since it "


class Planned(NamedTuple):
    """One attachment that the pod would have."""

    interface: str
    network: str
    is_primary: bool
    """Whether its addresses are the pod's, and its default routes."""


class Explanation(NamedTuple):
    """What would happen to one pod."""

    subject: str
    chosen_by: str
    """Who chose the networks, as a person reads it."""
    attachments: tuple[Planned, ...]
    nodes: tuple[str, ...] | None
    """Nodes that can attach all of them now; None if the nodes are not known."""
    other_nodes: tuple[str, ...]
    refusals: tuple[str, ...]
    """Why the pod would be refused; then it has no attachments."""
    warnings: tuple[str, ...]
    ignored: tuple[IgnoredAttachment, ...] = ()
    """NetworkAttachmentDefinitions that the pod selects; Genie ignores them for now."""


def explain(  # noqa: PLR0917 - what a cluster has, in one call
    subject: str,
    pod: Mapping[str, Any],
    namespace: Namespace,
    nodes: Sequence[NodeFacts] | None,
    networks: ClusterNetworks | None,
    default: str,
    limits: Limits = CLUSTER,
    definitions: DefinitionContext = DefinitionContext(),  # noqa: B008 - immutable
    minimum: int = DEFAULT_MINIMUM,
) -> Explanation:
    """Return what would happen to *pod* (JSON) in *namespace*.

    *networks* are those of *nodes*; both are None if they are not known, and then every well-formed
    name counts. *default* is the network of the cluster, *limits* are its limits, and *minimum* is
    the percent of nodes that must be able to attach a network before it is chosen.
    """
    try:
        facts = parse_pod(pod)
    except MalformedReviewError as error:  # the API server would refuse it, too
        return Explanation(subject, BY_ANNOTATION, (), (), (), (str(error),), ())
    if facts.is_excluded:
        return Explanation(subject, BY_NOBODY + _exclusion(facts), (), (), (), (), ())

    if networks is None:
        networks = _named_networks(facts, namespace)
    namespace = resolve_choice(namespace, facts.annotations, networks, minimum)
    review = Review("explain", "CREATE", "", "Pod", "", namespace.name, "", pod, {})
    rules = PodRules(limits=limits, definitions=definitions.mode)
    try:
        decision = admit_pod(review, facts, namespace, networks, rules)
    except NoDecisionError as error:
        return Explanation(subject, BY_ANNOTATION, (), (), (), (str(error),), ())

    selections, findings = definitions.select(facts.annotations, namespace, networks)
    explanation = _with_refusals(subject, decision, findings, definitions)
    if explanation.refusals:
        return explanation

    value = decision.audit.get("networks", "") or default
    has_definitions = definitions.is_enforced and bool(selections.items)
    if has_definitions:
        explanation = explanation._replace(
            attachments=_whole_plan(facts, namespace, value, definitions)
        )
        if any(each.source == keys.DEFAULT_NETWORK for each in selections.items):
            explanation = explanation._replace(chosen_by=BY_ANNOTATION)
    else:
        ignored = () if selections.is_multus else ignored_attachments(facts.annotations, value)
        explanation = explanation._replace(attachments=_plan(value), ignored=ignored)
    required = _required_networks(explanation.attachments, definitions)
    return _with_nodes(explanation, nodes, required, has_definitions=has_definitions)


def _named_networks(pod: Pod, namespace: Namespace) -> ClusterNetworks:
    """Return every network that the pod or its namespace names, as if a node had it."""
    own = names_in(pod.annotations.get(keys.ANNOTATION, ""))
    return all_present({*own, *names_in(namespace.default), *namespace.choices})


def _with_refusals(
    subject: str,
    decision: Decision,
    findings: Sequence[SelectionFinding],
    definitions: DefinitionContext,
) -> Explanation:
    """Return the explanation of *decision* and *findings*, without attachments and nodes."""
    refusing = [each for each in findings if definitions.is_enforced and each.reason]
    reported = [each for each in findings if each not in refusing]
    causes = (f"{each.field}: {each.message}" for each in decision.causes)
    return Explanation(
        subject,
        _SOURCES[decision.audit.get("source", "node")],
        (),
        (),
        (),
        (*causes, *map(_sentence, refusing)),
        (*decision.warnings, *map(_sentence, reported)),
    )


def _with_nodes(
    explanation: Explanation,
    nodes: Sequence[NodeFacts] | None,
    required: set[str],
    *,
    has_definitions: bool,
) -> Explanation:
    """Return *explanation* with the nodes that have the *required* networks, and the others."""
    qualified = [
        node.name
        for node in nodes or ()
        if required <= _ready(node) and (node.has_definitions or not has_definitions)
    ]
    return explanation._replace(
        nodes=None if nodes is None else tuple(qualified),
        other_nodes=tuple(node.name for node in nodes or () if node.name not in qualified),
    )


def _sentence(finding: SelectionFinding) -> str:
    return f"metadata.annotations[{finding.key}]: {finding.message}"


def _whole_plan(
    pod: Pod, namespace: Namespace, value: str, definitions: DefinitionContext
) -> tuple[Planned, ...]:
    """Return what the pod is attached to, with its definitions by their full names."""

    def name(each: PlannedAttachment) -> str:
        return definition_name(each, namespace.name, definitions.multus_namespace)

    return tuple(
        Planned(each.interface, name(each), each.is_primary)
        for each in plan_pod(pod.annotations, value)
    )


def _required_networks(attachments: Sequence[Planned], definitions: DefinitionContext) -> set[str]:
    """Return the networks that a node must have, also for definitions that stand for one."""
    networks = set()
    for each in attachments:
        known = (definitions.known or {}).get(each.network)
        if "/" not in each.network:
            networks.add(each.network)
        elif known is not None and known.refers_to_node_network:
            networks.add(each.network.partition("/")[2])
    return networks


def _exclusion(pod: Pod) -> str:
    if pod.has_host_network:
        return "uses the node's network (hostNetwork)"
    return "is a Windows pod" if pod.is_windows else "is a mirror pod of a static pod"


_SOURCES = {
    "annotation": BY_ANNOTATION,
    "namespace": BY_NAMESPACE,
    "choice": BY_CHOICE,
    "node": BY_CLUSTER,
}


def _plan(value: str) -> tuple[Planned, ...]:
    try:
        selections = parse(value) if value else ()
    except InvalidAnnotationError:
        return ()
    return tuple(Planned(s.interface, s.network, s.is_primary) for s in selections)


def _ready(node: NodeFacts) -> set[str]:
    return {name for name, ready in node.networks.items() if ready}
