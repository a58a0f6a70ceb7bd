"""Validate the annotations that select NetworkAttachmentDefinitions (NADs).

Genie ignores these annotations for now, so that nothing is refused. With the mode ``observe`` their
faults are warnings, as in ``kubectl genie lint``, and so is what :mod:`webhook.definition_check`
finds in the cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher import keys
from dispatcher.annotation import BLANKS
from dispatcher.nad import grammar
from dispatcher.nad.faults import InvalidSelectionsError, SelectionFault
from dispatcher.nad.plan import InvalidPlanError, plan_pod
from webhook.annotation_check import networks_of
from webhook.decision import warning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from webhook.snapshot import ClusterNetworks

    SelectionFinding = tuple[str, str, SelectionFault | None]
    """The annotation, what is wrong with its value, and the fault that has the place."""

MAX_WARNINGS = 5
"""Limit of the warnings of one object; ``kubectl genie lint`` lists all faults."""


def selection_warnings(
    annotations: Mapping[str, str],
    default: str,
    networks: ClusterNetworks,
    field: str,
    of_definitions: Sequence[tuple[str, str]] = (),
) -> Iterator[str]:
    """Yield a warning for each of the first faults; *field* leads to the metadata, with a dot.

    *of_definitions* are further ones: the annotation, and a sentence.
    """
    findings = [
        (key, str(fault or text))
        for key, text, fault in selection_findings(annotations, default, networks)
    ]
    findings += of_definitions
    for key, text in findings[:MAX_WARNINGS]:
        yield warning(f"{field}annotations[{key}]: {text}")
    more = len(findings) - MAX_WARNINGS
    if more > 0:
        yield warning(f"{field}annotations: {more} more; kubectl genie lint -f FILE lists them all")


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
