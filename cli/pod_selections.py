"""What a pod selects by the annotations of Multus, for ``explain``.

Genie ignores these annotations for now. The plan is the one that a version has which reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dispatcher.annotation import Selection
from dispatcher.nad.plan import InvalidPlanError, plan_pod

if TYPE_CHECKING:
    from collections.abc import Mapping


class IgnoredAttachment(NamedTuple):
    """An attachment that a pod asks for, and that Genie ignores."""

    interface: str
    network: str
    annotation: str


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
    ignored = []
    for each in plan:
        selection = each.selection
        if not isinstance(selection, Selection):
            namespace = f"{selection.namespace}/" if selection.namespace else ""
            name = f"{namespace}{selection.name}"
            ignored.append(IgnoredAttachment(each.interface, name, each.source))
    return tuple(ignored)
