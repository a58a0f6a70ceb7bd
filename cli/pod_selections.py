"""What a pod's annotations of Multus select: their faults for ``lint``, their plan for ``explain``.

Genie ignores these annotations for now. The plan is the one that a version has which reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dispatcher import keys
from dispatcher.annotation import BLANKS, Selection
from dispatcher.nad import grammar
from dispatcher.nad.faults import InvalidSelectionsError, SelectionFault
from dispatcher.nad.plan import InvalidPlanError, plan_pod
from webhook.annotation_check import networks_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from webhook.snapshot import ClusterNetworks

    SelectionFinding = tuple[str, str, SelectionFault | None]
    """The annotation, what is wrong with its value, and the fault that has the place."""


class IgnoredAttachment(NamedTuple):
    """An attachment that a pod asks for, and that Genie ignores."""

    interface: str
    network: str
    annotation: str


def selection_findings(
    annotations: Mapping[str, str], default: str, networks: ClusterNetworks
) -> Iterator[SelectionFinding]:
    """Yield the faults of the annotations, and what other programs may refuse.

    *default* is that of the namespace. On a network of Multus, which reads the annotations there,
    the value of ``cni`` does not count.
    """
    selecting = {key: annotations[key] for key in keys.SELECTION_KEYS if key in annotations}
    if read_by_multus(annotations, default, networks):
        pods, default = [{key: value} for key, value in selecting.items()], ""
    else:
        pods = [{**selecting, keys.ANNOTATION: annotations.get(keys.ANNOTATION, "")}]

    for pod in pods:
        try:
            plan_pod(pod, default)
        except InvalidPlanError as error:
            for key, fault in error.faults:
                if isinstance(fault, SelectionFault):  # those of "cni" are the webhook's
                    yield key, fault.brief, fault
    for key, value in selecting.items():
        text = _npwg_warning(value)
        if text:
            yield key, text, None


def _npwg_warning(value: str) -> str:
    try:
        return grammar.npwg_warning(value, grammar.parse(value))
    except InvalidSelectionsError:
        return ""


def read_by_multus(annotations: Mapping[str, str], default: str, networks: ClusterNetworks) -> bool:
    """Tell whether Multus attaches the pod, and so reads its own annotations."""
    written = annotations.get(keys.ANNOTATION, "")
    return networks.have_multus(networks_of(written if written.strip(BLANKS) else default))


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
