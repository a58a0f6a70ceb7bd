"""Validate the definitions that a pod selects: they exist, and the pod may and can have them.

A definition without a config counts as the nodes' network of its name: for the allow-list, the
limits, the rules for known plugins, and the nodes that the pod may go to.

A pod may select definitions of its own namespace, of shared ones, and those that its namespace's
allow-list names as ``namespace/name`` or ``namespace/*``. Only of these it learns whether they
exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dispatcher import keys
from dispatcher.annotation import INVALID, TOO_MANY, UNSUPPORTED, Selection, quote
from dispatcher.nad.attachments import PermittedAttachment, format_attachments
from dispatcher.nad.selection import CNI_ARGS, missing_capabilities, requests_beyond
from webhook import affinity
from webhook.annotation_check import suggestion
from webhook.combinations import combine_with
from webhook.decision import FORBIDDEN, INTERNAL, NOT_FOUND
from webhook.limits import CLUSTER, excesses, pod_cause
from webhook.selections import NO_SELECTIONS, SelectionFinding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from webhook.definition_snapshot import Definitions, KnownDefinition
    from webhook.limits import Excess, Limits
    from webhook.selections import PodSelections, SelectedItem
    from webhook.snapshot import ClusterNetworks, Namespace

PORT_MAPPINGS = "portMappings"

MAX_LISTED = 512
"""Limit of a list in a sentence, in characters."""


class DefinitionRules(NamedTuple):
    """The settings that matter. Pods of all namespaces may select the definitions of ``shared``.

    ``allows_cni_args``: addresses that no plugin declares go into CNI_ARGS.
    """

    shared: frozenset[str] = frozenset()
    limits: Limits = CLUSTER
    allows_cni_args: bool = False


class DefinitionResult(NamedTuple):
    """What was found of a pod's definitions.

    ``attachments`` is empty if something is wrong, or there is no definition. ``requirements`` are
    those of the node, as node affinity has them.
    """

    findings: tuple[SelectionFinding, ...] = ()
    attachments: str = ""
    requirements: tuple[dict[str, Any], ...] = ()


NOTHING_SELECTED = DefinitionResult()


def may_select(each: SelectedItem, namespace: Namespace, shared: frozenset[str]) -> bool:
    """Tell whether a pod of *namespace* may have the definition, by its name."""
    if each.namespace == namespace.name or each.namespace in shared:
        return True
    allowed = namespace.allowed or ()
    return each.full_name in allowed or f"{each.namespace}/*" in allowed


def check_definitions(
    selections: PodSelections,
    namespace: Namespace,
    networks: ClusterNetworks,
    definitions: Definitions,
    rules: DefinitionRules,
) -> DefinitionResult:
    """Validate the definitions that a pod of *namespace* selects."""
    if selections is NO_SELECTIONS:
        return NOTHING_SELECTED
    findings = list(selections.findings)
    for each in selections.items:
        findings += _findings(each, namespace, networks, definitions, rules)
    if selections.items:
        findings += _limit_findings(selections, namespace, definitions, rules)
        findings += _conflict_findings(selections, networks, definitions)
    if not selections.items or any(each.reason for each in findings):
        return DefinitionResult(tuple(findings))

    known = [(each, definitions.known[each.full_name]) for each in selections.items]
    checked = [(each, definition) for each, definition in known if definition]
    attachments = format_attachments(
        PermittedAttachment(
            each.namespace,
            each.selection.name,
            definition.short_hash,
            is_default=each.source == keys.DEFAULT_NETWORK,
            allows_host_port=bool(each.selection.port_mappings),
            allows_node_network=definition.refers_to_node_network,
        )
        for each, definition in checked
    )
    return DefinitionResult(tuple(findings), attachments, tuple(_requirements(checked)))


def _findings(
    each: SelectedItem,
    namespace: Namespace,
    networks: ClusterNetworks,
    definitions: Definitions,
    rules: DefinitionRules,
) -> Iterator[SelectionFinding]:
    """Yield what is wrong with one item, as sentences in the form that Kubernetes uses."""
    item, name = f"item {each.position}: ", quote(each.full_name)

    def finding(reason: str, message: str) -> SelectionFinding:
        return SelectionFinding(each.source, message, reason, is_doubtful=True)

    if not may_select(each, namespace, rules.shared):
        fix = f"ask a cluster administrator to add it to the annotation {quote(keys.ALLOWED)}"
        whose = f"is in another namespace than the pod, {quote(namespace.name)}"
        yield finding(
            FORBIDDEN, f"Forbidden: {item}{name} {whose}; {fix} of {quote(namespace.name)}"
        )
        return
    if each.full_name not in definitions.known:
        problem = "could not be validated: the API server did not answer; create the pod again"
        yield finding(INTERNAL, f"Internal error: {item}{name} {problem}")
        return

    known = definitions.known[each.full_name]
    if known is None:
        near = suggestion(each.selection.name, definitions.names.get(each.namespace, frozenset()))
        problem = f"no NetworkAttachmentDefinition has this name{near}"
        yield finding(NOT_FOUND, f"Not found: {name}: {item}{problem}")
        return
    if known.refused:
        problem = f"this definition cannot be attached on any node: {known.refused}"
        yield finding(INVALID, f"Invalid value: {name}: {item}{problem}")
        return
    is_reference = known.refers_to_node_network
    beyond = requests_beyond(each.selection, known.cni_args, is_reference=is_reference)
    if beyond:
        listed = ", ".join(beyond)[:MAX_LISTED]
        problem = f"no tenant template of namespace {quote(each.namespace)} permits {listed}"
        yield finding(FORBIDDEN, f"Forbidden: {item}{name}: {problem}")
    if is_reference:
        yield from _reference_findings(each, namespace, networks)
    else:
        yield from _request_findings(each, known, namespace, rules)


def _reference_findings(
    each: SelectedItem, namespace: Namespace, networks: ClusterNetworks
) -> Iterator[SelectionFinding]:
    """Yield what is wrong with the nodes' network of a definition without a config."""
    network = each.selection.name
    shown = (
        f"item {each.position}: definition {quote(each.full_name)} has no config, so it selects "
        f"the network {quote(network)}"
    )
    if namespace.allowed is not None and network not in namespace.allowed:
        problem = f"Forbidden: {shown}, which is not allowed in namespace {quote(namespace.name)}"
        yield SelectionFinding(each.source, problem, FORBIDDEN, is_doubtful=True)
    elif networks.known and network not in networks.known:
        problem = f"Unsupported value: {shown}, which no node has"
        yield SelectionFinding(each.source, problem, UNSUPPORTED, is_doubtful=True)


def _request_findings(
    each: SelectedItem, known: KnownDefinition, namespace: Namespace, rules: DefinitionRules
) -> Iterator[SelectionFinding]:
    """Yield what the pod asks of an attachment, and its plugins or the namespace do not permit."""
    item, name = f"item {each.position}: ", quote(each.full_name)
    missing = missing_capabilities(each.selection, known.capabilities)
    is_trusted = known.cni_args is None
    are_variables = rules.allows_cni_args and is_trusted and CNI_ARGS.keys() >= set(missing)
    for capability in missing:
        problem = f"{item}no plugin of definition {name} declares this capability"
        if are_variables:
            variable = f"it is passed as {CNI_ARGS[capability]} in CNI_ARGS"
            yield SelectionFinding(each.source, f"{quote(capability)}: {problem}; {variable}")
        else:
            fix = 'do not request it, or add it to "capabilities" of a plugin'
            message = f"Invalid value: {quote(capability)}: {problem}; {fix}"
            yield SelectionFinding(each.source, message, INVALID, is_doubtful=True)
    if each.selection.port_mappings and PORT_MAPPINGS not in missing:
        yield from _host_port_findings(each, namespace)


def _host_port_findings(each: SelectedItem, namespace: Namespace) -> Iterator[SelectionFinding]:
    if namespace.allows_host_ports:
        return
    problem = f"item {each.position}: {quote(PORT_MAPPINGS)}: pods may not take ports of the node"
    fix = f"ask a cluster administrator to set the annotation {quote(keys.HOST_PORTS)}"
    message = f'Forbidden: {problem}; {fix} of {quote(namespace.name)} to "allow"'
    yield SelectionFinding(each.source, message, FORBIDDEN, is_doubtful=True)


def _limit_findings(
    selections: PodSelections,
    namespace: Namespace,
    definitions: Definitions,
    rules: DefinitionRules,
) -> Iterator[SelectionFinding]:
    """Yield the limits that the pod exceeds because of its definitions."""
    limits = rules.limits.of(namespace)
    own = [each.network for each in _of_cni(selections)]
    whole = [*own, *(_network(each, definitions) for each in selections.items)]
    # Those of "cni" are reported there; a default may have more than the limits.
    of_cni = () if selections.has_default else excesses(",".join(own), limits)
    without = {(each.key, each.network) for each in of_cni}
    for excess in excesses(",".join(whole), limits):
        if (excess.key, excess.network) not in without:
            yield _limit_finding(selections.items[-1].source, excess, namespace, rules)


def _limit_finding(
    key: str, excess: Excess, namespace: Namespace, rules: DefinitionRules
) -> SelectionFinding:
    brief = f"over the limit: {excess.brief(namespace.name)}"
    if not rules.limits.are_enforced:
        return SelectionFinding(key, brief)
    cause = pod_cause(excess, namespace.name, "")
    return SelectionFinding(key, cause.message, TOO_MANY, is_doubtful=True, brief=brief)


def _conflict_findings(
    selections: PodSelections, networks: ClusterNetworks, definitions: Definitions
) -> Iterator[SelectionFinding]:
    """Yield what known plugins cannot combine, if a definition has a part in it."""
    types = {}
    whole = list(_of_cni(selections))
    own = len(whole)
    for each in selections.items:
        known = definitions.known.get(each.full_name)
        whole.append(Selection(_network(each, definitions), each.interface))
        if known and not known.refers_to_node_network:
            types[each.full_name] = tuple(sorted(known.types))
    combination = combine_with(tuple(whole), networks, types)

    for fault, brief in zip(combination.faults, combination.briefs, strict=True):
        if fault.position > own:
            item = selections.items[fault.position - own - 1]
            problem = f"Invalid value: {quote(item.full_name)}: item {item.position}: {brief}"
            yield SelectionFinding(item.source, problem, INVALID, is_doubtful=True)


def _of_cni(selections: PodSelections) -> Iterator[Selection]:
    for each in selections.plan:
        if isinstance(each.selection, Selection):
            yield each.selection


def _network(each: SelectedItem, definitions: Definitions) -> str:
    """Return the name by which limits and plugins count."""
    known = definitions.known.get(each.full_name)
    is_reference = known is not None and known.refers_to_node_network
    return each.selection.name if is_reference else each.full_name


def _requirements(
    checked: list[tuple[SelectedItem, KnownDefinition]],
) -> Iterator[dict[str, Any]]:
    """Yield what a node must have: the copies, networks of the node, and labels, each once."""
    labels = {keys.ATTACHMENTS_LABEL: "true"}
    for each, known in checked:
        if known.refers_to_node_network:
            labels[keys.network_label(each.selection.name)] = "true"
    pairs = dict.fromkeys(labels.items())
    pairs.update(dict.fromkeys(known.node_label for _, known in checked if known.node_label))
    for key, value in pairs:
        yield affinity.expression(key, value)
