"""Compare the definitions that a pod selects with those that admission permitted.

The author writes the annotations that select definitions, and the webhook writes into
``cni-genie.io/attachments`` which of them it has permitted. Here both are parsed again and must
name the same definitions in the same order, so neither of the two alone gains anything.

Pods that admission does not see have no such annotation, and select what they want: static pods,
and those of the namespaces that the webhook leaves out.

Rules of this file: pure. Every difference is a :class:`CNIError` with code 100.
"""

from __future__ import annotations

from dispatcher import keys
from dispatcher.annotation import quote
from dispatcher.cni_errors import INVALID_ANNOTATION, CNIError
from dispatcher.nad.attachments import (
    InvalidAttachmentsError,
    PermittedAttachment,
    parse_attachments,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FIX = "create the pod again, so that the webhook validates it"


class SelectedDefinition:
    """One definition that the pod selects, and what of it needs a permission."""

    __slots__ = ("has_port_mappings", "is_default", "name", "namespace")

    def __init__(
        self, namespace: str, name: str, *, is_default: bool, has_port_mappings: bool
    ) -> None:
        self.namespace = namespace
        self.name = name
        self.is_default = is_default
        self.has_port_mappings = has_port_mappings

    @property
    def mark(self) -> str:
        """The definition as ``cni-genie.io/attachments`` names it, without its hash."""
        return f"{'=' if self.is_default else ''}{self.namespace}/{self.name}"

    def permitted(self) -> PermittedAttachment:
        """Return the permission for everything that the definition may need."""
        return PermittedAttachment(
            self.namespace, self.name, "", allows_node_network=True, allows_host_port=True
        )


def permitted_items(
    selected: Sequence[SelectedDefinition],
    annotations: Mapping[str, str],
    *,
    is_validated: bool,
) -> Sequence[PermittedAttachment]:
    """Return what the webhook permitted of each of *selected*.

    *is_validated* tells whether admission validates pods like this one; of others everything is
    permitted, with "" for the hash. Raises :class:`CNIError` with code 100.
    """
    value = annotations.get(keys.ATTACHMENTS, "")
    if not value and not is_validated:
        return [each.permitted() for each in selected]
    if not value and selected:
        raise CNIError(
            INVALID_ANNOTATION,
            f"the pod selects {quote(selected[0].mark)}, but was not validated: it has no "
            f'annotation "{keys.ATTACHMENTS}"',
            f"check that the webhook of Genie runs, and {_FIX}",
        )

    try:
        permitted = parse_attachments(value)
    except InvalidAttachmentsError as error:
        raise _refusal(str(error)) from None
    _compare(selected, permitted)
    return permitted


def _compare(
    selected: Sequence[SelectedDefinition], permitted: Sequence[PermittedAttachment]
) -> None:
    if len(selected) != len(permitted):
        raise _refusal(
            f"the value has {len(permitted)} items, but the pod selects {len(selected)} "
            "NetworkAttachmentDefinitions"
        )
    for number, (wanted, given) in enumerate(zip(selected, permitted, strict=True), 1):
        mark = f"{'=' if given.is_default else ''}{given.namespace}/{given.name}"
        if wanted.mark != mark:
            raise _refusal(
                f"item {number} is {quote(mark)}, but the pod selects {quote(wanted.mark)}"
            )
        if wanted.has_port_mappings and not given.allows_host_port:
            raise _refusal(f'item {number} does not permit the "portMappings" of {quote(mark)}')


def _refusal(reason: str) -> CNIError:
    return CNIError(INVALID_ANNOTATION, f'annotation "{keys.ATTACHMENTS}": {reason}', _FIX)
