"""NetworkAttachmentDefinitions: tell their author what no node will attach.

In the mode ``enforce`` a definition that can never work, or that its author may not define, is
refused with the position of each fault. One that needs a network device is a warning: another
program may still use it. So is a fault of a config that is stored already: an update of something
else must not fail. In the mode ``observe`` every fault is a warning.

The agents decide again, and mark their copy of such a definition as refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher.annotation import INVALID, quote
from dispatcher.nad import definition
from dispatcher.nad.validation import check, scheduling_faults
from webhook.decision import ALLOWED, Cause, Decision, deny, warning
from webhook.definition_snapshot import parse_definition

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from dispatcher.nad.definition import DefinitionFault
    from dispatcher.nad.tenant_templates import TenantRules
    from webhook.definition_snapshot import KnownDefinition
    from webhook.review import Review
    from webhook.settings import DefinitionsMode

MAX_WARNINGS = 5
"""Limit of the warnings of one definition; ``kubectl genie lint`` lists all faults."""

_DEVICE = f"metadata.annotations[{definition.RESOURCE_NAME}]"


def admit_definition(
    review: Review,
    rules: TenantRules,
    mode: DefinitionsMode = "observe",
    networks: Collection[str] = (),
    namesakes: Callable[[KnownDefinition], Sequence[str]] = lambda _: (),
) -> Decision:
    """Return the decision on a definition; if it is allowed, with a warning for each fault.

    A tenant may not take the name of one of the nodes' *networks*. *namesakes* returns the
    definitions with the same CNI name and another config.
    """
    if review.subresource or review.operation not in {"CREATE", "UPDATE"}:
        return ALLOWED
    written = definition.read(review.object)

    def owner(name: str) -> str:
        return f"the network {quote(name)} of the nodes" if name in networks else ""

    faults = [*check(written, rules, owner).faults, *scheduling_faults(written)]
    if not faults:
        known = parse_definition(written, rules)
        own = f"{review.namespace}/{written.name}"
        others = [each for each in namesakes(known) if each != own]
        if not others or _is_stored(written, review):
            return ALLOWED
        return Decision(reason="definition", warnings=(_name_warning(known.cni_name, others),))

    refusing = [each for each in faults if each.field != _DEVICE]
    if mode == "enforce" and refusing and not _is_stored(written, review):
        return deny(map(_cause, refusing), reason="definition")
    return Decision(reason="definition", warnings=tuple(_warnings(faults)))


def _is_stored(written: definition.Definition, review: Review) -> bool:
    """Tell whether an update leaves as it is what can have faults."""
    if review.operation != "UPDATE":
        return False
    stored = definition.read(review.old_object)
    return (stored.config, stored.node_selector) == (written.config, written.node_selector)


def _name_warning(cni_name: str, others: Sequence[str]) -> str:
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    return warning(
        f"spec.config: name: {quote(others[0])}{more} has the same CNI name {quote(cni_name)} and "
        "another config: address plugins keep one store for a name, so choose another"
    )


def _cause(fault: DefinitionFault) -> Cause:
    return Cause(INVALID, f"Invalid value: {fault.sentence}", fault.field)


def _warnings(faults: Sequence[DefinitionFault]) -> Iterator[str]:
    for fault in faults[:MAX_WARNINGS]:
        field = f"{fault.field}: " if fault.field else ""
        yield warning(f"{field}Genie will attach no pod to this definition: {fault.sentence}")
    more = len(faults) - MAX_WARNINGS
    if more > 0:
        yield f"spec.config: more faults: {more}; to list all: kubectl genie lint -f FILE"
