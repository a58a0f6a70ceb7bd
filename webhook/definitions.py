"""NetworkAttachmentDefinitions: warn their author of what no node will attach.

The agents decide again, and mark their copy of such a definition as refused. Nothing is refused
here: these objects are the cluster's, and another program may still use them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher.nad import definition
from dispatcher.nad.validation import check
from webhook.decision import ALLOWED, Decision, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dispatcher.nad.definition import DefinitionFault
    from dispatcher.nad.tenant_templates import TenantRules
    from webhook.review import Review

MAX_WARNINGS = 5
"""Limit of the warnings of one definition; ``kubectl genie lint`` lists all faults."""


def admit_definition(review: Review, rules: TenantRules) -> Decision:
    """Return the decision on a definition: allowed, with a warning for each of its faults."""
    if review.subresource or review.operation not in {"CREATE", "UPDATE"}:
        return ALLOWED
    faults = check(definition.read(review.object), rules).faults
    if not faults:
        return ALLOWED
    return Decision(reason="definition", warnings=tuple(_warnings(faults)))


def _warnings(faults: tuple[DefinitionFault, ...]) -> Iterator[str]:
    for fault in faults[:MAX_WARNINGS]:
        field = f"{fault.field}: " if fault.field else ""
        yield warning(f"{field}Genie will attach no pod to this definition: {fault.sentence}")
    more = len(faults) - MAX_WARNINGS
    if more > 0:
        yield f"spec.config: {more} more; kubectl genie lint -f FILE lists them all"
