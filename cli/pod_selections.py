"""What a pod selects by the annotations of Multus, for ``lint`` and ``explain``.

In the mode ``enforce`` of the cluster, the webhook's own check decides
(:mod:`webhook.definition_check`). In the other modes, and without a cluster, Genie ignores these
annotations: their faults are warnings, and the plan is the one that ``enforce`` would give.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dispatcher import keys
from dispatcher.annotation import Selection
from dispatcher.nad import definition
from dispatcher.nad.plan import InvalidPlanError, namespace_of, plan_pod
from dispatcher.nad.tenants import TRUST_ALL
from webhook.definition_check import DefinitionRules, check_definitions
from webhook.definition_snapshot import Definitions, parse_definition
from webhook.selections import PodSelections, read_selections

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from dispatcher.nad.plan import PlannedAttachment
    from dispatcher.nad.tenant_templates import TenantRules
    from webhook.definition_snapshot import KnownDefinition
    from webhook.selections import SelectionFinding
    from webhook.settings import DefinitionsMode
    from webhook.snapshot import ClusterNetworks, Namespace


class IgnoredAttachment(NamedTuple):
    """An attachment that a pod asks for, and that Genie ignores."""

    interface: str
    network: str
    annotation: str


class DefinitionContext(NamedTuple):
    """What the cluster says of NetworkAttachmentDefinitions.

    ``known`` has them by ``namespace/name``; None: unknown, so that only the text is checked.
    ``cluster_default`` is the network of pods that choose none, ``multus_namespace`` that of a
    default network of Multus that is named without one.
    """

    mode: DefinitionsMode = "off"
    known: Mapping[str, KnownDefinition] | None = None
    rules: DefinitionRules = DefinitionRules()
    tenants: TenantRules = TRUST_ALL
    cluster_default: str = ""
    multus_namespace: str = keys.MULTUS_NAMESPACE

    @property
    def is_enforced(self) -> bool:
        """Whether the webhook refuses pods for their selections."""
        return self.mode == "enforce"

    def select(
        self, annotations: Mapping[str, str], namespace: Namespace, networks: ClusterNetworks
    ) -> tuple[PodSelections, tuple[SelectionFinding, ...]]:
        """Return what a pod of *namespace* selects, and what is to be reported of it."""
        default = self.cluster_default if self.is_enforced else ""
        selections = read_selections(
            annotations,
            namespace,
            networks,
            cluster_default=default,
            multus_namespace=self.multus_namespace,
        )
        if not self.is_enforced or self.known is None:
            return selections, selections.findings

        wanted = {each.full_name for each in selections.items}
        spaces = {each.namespace for each in selections.items}
        definitions = Definitions(
            {name: self.known.get(name) for name in wanted},
            {space: frozenset(_names(self.known, space)) for space in spaces},
        )
        result = check_definitions(selections, namespace, networks, definitions, self.rules)
        return selections, result.findings


def known_definitions(
    objects: Iterable[Mapping[str, Any]], rules: TenantRules
) -> dict[str, KnownDefinition]:
    """Return the definitions in *objects* (JSON) by ``namespace/name``, by *rules* for tenants."""
    definitions = map(definition.read, objects)
    return {each.full_name: parse_definition(each, rules) for each in definitions}


def definition_name(
    planned: PlannedAttachment, namespace: str = "", multus_namespace: str = ""
) -> str:
    """Return the definition as ``namespace/name``.

    *namespace* is the pod's, *multus_namespace* that of default networks, "" to leave them out.
    """
    selection = planned.selection
    if isinstance(selection, Selection):
        return selection.network
    prefix = namespace_of(planned, namespace, multus_namespace)
    return f"{prefix}/{selection.name}" if prefix else selection.name


def ignored_attachments(
    annotations: Mapping[str, str], default: str
) -> tuple[IgnoredAttachment, ...]:
    """Return what the pod asks for in vain; nothing if its annotations have a fault.

    *default* is the value of ``cni`` that the pod gets without one.
    """
    try:
        plan = plan_pod(annotations, default)
    except InvalidPlanError:
        return ()
    return tuple(
        IgnoredAttachment(each.interface, definition_name(each), each.source)
        for each in plan
        if not isinstance(each.selection, Selection)
    )


def _names(known: Mapping[str, KnownDefinition], namespace: str) -> Iterator[str]:
    for full_name in known:
        space, _, name = full_name.partition("/")
        if space == namespace:
            yield name
