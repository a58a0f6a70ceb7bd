"""Validate the definitions that a pod selects: they exist, and the pod may and can have them.

The whole plan of the pod counts: the networks of ``cni`` or of the namespace's default, and the
definitions (:mod:`dispatcher.nad.plan`). A definition without a config counts as the nodes' network
of its name.

A pod may select definitions of its own namespace, of shared ones, and those that its namespace's
allow-list names as ``namespace/name`` or ``namespace/*``. Only of these it learns whether they
exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dispatcher import keys
from dispatcher.annotation import Selection, quote
from dispatcher.nad.attachments import PermittedAttachment, format_attachments
from dispatcher.nad.plan import InvalidPlanError, plan_pod
from dispatcher.nad.selection import CAPABILITIES, requests
from webhook.annotation_check import suggestion
from webhook.limits import CLUSTER, excesses
from webhook.selections import read_by_multus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dispatcher.nad.plan import PlannedAttachment
    from dispatcher.nad.selection import NetworkSelection
    from webhook.definition_snapshot import Definitions, KnownDefinition
    from webhook.limits import Limits
    from webhook.snapshot import ClusterNetworks, Namespace

PORT_MAPPINGS = "portMappings"


class DefinitionRules(NamedTuple):
    """The settings that matter. Pods of all namespaces may select the definitions of ``shared``."""

    shared: frozenset[str] = frozenset()
    limits: Limits = CLUSTER


class SelectedDefinition(NamedTuple):
    """A definition in a plan: the annotation that selects it, and its number there, from 1."""

    source: str
    position: int
    namespace: str
    selection: NetworkSelection

    @property
    def full_name(self) -> str:
        """The name as ``namespace/name``."""
        return f"{self.namespace}/{self.selection.name}"


class DefinitionResult(NamedTuple):
    """The annotations with their faults; ``attachments`` is empty if there is one, or no NAD."""

    findings: tuple[tuple[str, str], ...] = ()
    attachments: str = ""


def selected_definitions(
    annotations: Mapping[str, str], namespace: Namespace, networks: ClusterNetworks
) -> list[SelectedDefinition]:
    """Return the definitions that a pod selects; none if its annotations give no plan.

    Nor on a network of Multus, which reads the annotations itself.
    """
    return _selected(_plan(annotations, namespace, networks), namespace)


def may_select(each: SelectedDefinition, namespace: Namespace, rules: DefinitionRules) -> bool:
    """Tell whether a pod of *namespace* may have the definition, by its name."""
    if each.namespace == namespace.name or each.namespace in rules.shared:
        return True
    allowed = namespace.allowed or ()
    return each.full_name in allowed or f"{each.namespace}/*" in allowed


def check_definitions(
    annotations: Mapping[str, str],
    namespace: Namespace,
    networks: ClusterNetworks,
    definitions: Definitions,
    rules: DefinitionRules,
) -> DefinitionResult:
    """Validate the definitions that a pod of *namespace* selects."""
    plan = _plan(annotations, namespace, networks)
    selected = _selected(plan, namespace)
    findings = [
        (each.source, text)
        for each in selected
        for text in _faults(each, namespace, networks, definitions, rules)
    ]
    findings += _limit_faults(plan, selected, namespace, definitions, rules)
    if findings:
        return DefinitionResult(tuple(findings))
    return DefinitionResult(attachments=_attachments(selected, definitions))


def _plan(
    annotations: Mapping[str, str], namespace: Namespace, networks: ClusterNetworks
) -> list[PlannedAttachment]:
    if read_by_multus(annotations, namespace.default, networks):
        return []
    try:
        return plan_pod(annotations, namespace.default)
    except InvalidPlanError:  # webhook.selections reports it
        return []


def _selected(plan: Sequence[PlannedAttachment], namespace: Namespace) -> list[SelectedDefinition]:
    selected: list[SelectedDefinition] = []
    for each in plan:
        if not isinstance(each.selection, Selection):
            position = 1 + sum(other.source == each.source for other in selected)
            own = each.selection.namespace or namespace.name
            selected.append(SelectedDefinition(each.source, position, own, each.selection))
    return selected


def _faults(
    each: SelectedDefinition,
    namespace: Namespace,
    networks: ClusterNetworks,
    definitions: Definitions,
    rules: DefinitionRules,
) -> Iterator[str]:
    """Yield what is wrong with one item, as sentences in the form that Kubernetes uses."""
    item, name = f"item {each.position}: ", quote(each.full_name)
    if not may_select(each, namespace, rules):
        fix = f"ask a cluster administrator to add it to the annotation {quote(keys.ALLOWED)}"
        whose = f"is of another namespace than the pod, {quote(namespace.name)}"
        yield f"Forbidden: {item}{name} {whose}; {fix} of {quote(namespace.name)}"
        return
    if each.full_name not in definitions.known:
        yield f"Internal error: {item}{name} could not be checked: no answer of the API server"
        return

    known = definitions.known[each.full_name]
    if known is None:
        near = suggestion(each.selection.name, definitions.names.get(each.namespace, frozenset()))
        yield f"Not found: {name}: {item}no NetworkAttachmentDefinition has this name{near}"
    elif known.refused:
        yield f"Invalid value: {name}: {item}no node attaches this definition: {known.refused}"
    elif known.refers_to_node_network:
        yield from _reference_faults(each, namespace, networks)
    else:
        yield from _request_faults(each, known)


def _reference_faults(
    each: SelectedDefinition, namespace: Namespace, networks: ClusterNetworks
) -> Iterator[str]:
    """Yield what is wrong with the nodes' network of a definition without a config."""
    network = each.selection.name
    shown = f"item {each.position}: {quote(each.full_name)} stands for the network {quote(network)}"
    if namespace.allowed is not None and network not in namespace.allowed:
        yield f"Forbidden: {shown}, which is not allowed in namespace {quote(namespace.name)}"
    elif networks.known and network not in networks.known:
        yield f"Unsupported value: {shown}, which no node has"


def _request_faults(each: SelectedDefinition, known: KnownDefinition) -> Iterator[str]:
    item, name = f"item {each.position}: ", quote(each.full_name)
    wanted = [CAPABILITIES[key] for key in requests(each.selection) if key in CAPABILITIES]
    for capability in wanted:
        if capability not in known.capabilities:
            yield (
                f"Invalid value: {quote(capability)}: {item}no plugin of {name} "
                "declares this capability"
            )
        elif capability == PORT_MAPPINGS:
            yield f"Forbidden: {item}{quote(capability)}: pods may not take ports of the node"


def _limit_faults(
    plan: Sequence[PlannedAttachment],
    selected: Sequence[SelectedDefinition],
    namespace: Namespace,
    definitions: Definitions,
    rules: DefinitionRules,
) -> Iterator[tuple[str, str]]:
    """Yield the limits that the pod exceeds because of its definitions."""
    if not selected:
        return
    limits = rules.limits.of(namespace)
    own = [each.selection.network for each in plan if isinstance(each.selection, Selection)]
    whole = [*own, *(_network(each, definitions) for each in selected)]
    without = {(each.key, each.network) for each in excesses(",".join(own), limits)}
    for excess in excesses(",".join(whole), limits):
        if (excess.key, excess.network) not in without:
            yield selected[-1].source, f"over the limit: {excess.brief(namespace.name)}"


def _network(each: SelectedDefinition, definitions: Definitions) -> str:
    """Return the name by which the limits count."""
    known = definitions.known.get(each.full_name)
    is_reference = known is not None and known.refers_to_node_network
    return each.selection.name if is_reference else each.full_name


def _attachments(selected: Sequence[SelectedDefinition], definitions: Definitions) -> str:
    return format_attachments(
        PermittedAttachment(
            each.namespace,
            each.selection.name,
            known.short_hash,
            is_default=each.source == keys.DEFAULT_NETWORK,
            allows_node_network=known.refers_to_node_network,
        )
        for each in selected
        if (known := definitions.known[each.full_name])
    )
