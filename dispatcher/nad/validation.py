"""The decision on a definition: what is wrong with it, for whoever asks.

Webhook and command line use it to explain, the agent to enforce: what it refuses here is never
attached on the node. Two questions, each with a module of its own:

- Can it work at all? (:mod:`dispatcher.nad.configuration`)
- May its author define it? (:mod:`dispatcher.nad.tenants`)

Rules of this file: pure. All faults at once.
"""

from __future__ import annotations

from dispatcher.annotation import NETWORK_RULE, is_network_name, quote
from dispatcher.nad import configuration, node_selector, tenants
from dispatcher.nad.definition import NODE_SELECTOR, RESOURCE_NAME, DefinitionFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dispatcher.nad.configuration import Configuration
    from dispatcher.nad.definition import Definition
    from dispatcher.nad.tenant_templates import TenantRules

MAX_SENTENCE = 1024
"""Limit of :attr:`DefinitionCheck.refused`, in characters: it is an error of the plugin later."""


class DefinitionCheck:
    """The result for one definition: its ``configuration``, if it has a valid one, and faults.

    ``cni_args`` has the keys that a pod may give in ``cni-args``; None: any.
    """

    __slots__ = ("cni_args", "configuration", "faults")

    def __init__(
        self,
        checked: Configuration | None,
        faults: tuple[DefinitionFault, ...] = (),
        cni_args: frozenset[str] | None = None,
    ) -> None:
        self.configuration = checked
        self.faults = faults
        self.cni_args = cni_args

    @property
    def refused(self) -> str:
        """Why the definition is refused, as one text; "": it is not."""
        text = "; ".join(map(str, self.faults))
        return text if len(text) <= MAX_SENTENCE else f"{text[: MAX_SENTENCE - 1]}…"


def check(
    definition: Definition,
    rules: TenantRules = tenants.TRUST_ALL,
    name_owner: Callable[[str], str] = tenants.no_owner,
) -> DefinitionCheck:
    """Return what is wrong with *definition* by *rules*.

    ``name_owner(name)`` returns whose the CNI name *name* is, if it is another's: a network of the
    node, or a definition of another namespace ("": nobody's). Only tenants are held to it.
    """
    checked, faults = configuration.validate(definition)
    faults = [*definition.faults, *faults, *_device_faults(definition)]
    if definition.refers_to_node_network and not definition.faults:
        faults += _reference_faults(definition)
    if not faults:
        faults = tenants.faults(definition, checked, rules, name_owner)
    if faults:
        return DefinitionCheck(None, tuple(faults))
    return DefinitionCheck(checked, cni_args=tenants.permitted_cni_args(definition, checked, rules))


def scheduling_faults(definition: Definition) -> list[DefinitionFault]:
    """Return what is wrong with the label of the nodes that have *definition*.

    Admission reads it, and no node: a pod that is there already can be attached.
    """
    if not definition.node_selector:
        return []
    try:
        node_selector.parse(definition.node_selector)
    except node_selector.InvalidNodeSelectorError as error:
        return [DefinitionFault(f"metadata.annotations[{NODE_SELECTOR}]", str(error))]
    return []


def _device_faults(definition: Definition) -> list[DefinitionFault]:
    if not definition.resource:
        return []
    message = (
        f"asks for the device {quote(definition.resource)}, and Genie does not attach network "
        "devices yet: remove the annotation, or keep these pods on Multus"
    )
    return [DefinitionFault(f"metadata.annotations[{RESOURCE_NAME}]", message)]


def _reference_faults(definition: Definition) -> list[DefinitionFault]:
    if is_network_name(definition.name):
        return []
    message = f"without spec.config it must name a network of the nodes: {NETWORK_RULE}"
    return [DefinitionFault("metadata.name", message)]
