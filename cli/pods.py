"""What pods asked for, what they got, and what stands between the two."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dispatcher.annotation import BLANKS, InvalidAnnotationError, parse

if TYPE_CHECKING:
    from cli.facts import PodAttachment, PodFacts


class PodRow(NamedTuple):
    """A pod as ``kubectl genie pods`` prints it."""

    namespace: str
    name: str
    node: str
    asked: str
    """The annotation's value; empty where the pod left the choice to others."""
    attached: tuple[PodAttachment, ...]
    problem: str
    """Why the pod has not what it asked for; empty where it has."""


def describe(pod: PodFacts) -> PodRow:
    """Return the row of *pod*."""
    asked = (pod.asked or "").strip(BLANKS)
    return PodRow(pod.namespace, pod.name, pod.node, asked, pod.attachments, problem(pod))


def concerns(row: PodRow, network: str) -> bool:
    """Tell whether a pod asked for *network* or is attached to it."""
    return network in _asked_networks(row.asked) or network in {a.network for a in row.attached}


def problem(pod: PodFacts) -> str:
    """Say why *pod* is not attached to what it asked for; empty where it is, or has ended."""
    if pod.phase in {"Succeeded", "Failed"} or pod.asked is None:
        return ""
    if pod.host_network:
        return "the annotation has no effect: the pod uses the node's network (hostNetwork)"
    if not pod.node:
        return "not scheduled: kubectl describe pod names the reason"

    attached = {each.network for each in pod.attachments}
    lacking = [name for name in _asked_networks(pod.asked) if name not in attached]
    if lacking and not pod.address:
        return f"not attached yet: {', '.join(lacking)}; kubectl describe pod shows the Events"
    if lacking and pod.attachments:
        return f"runs without {', '.join(lacking)}: the pod is older than Genie on its node"
    return ""


def _asked_networks(value: str) -> list[str]:
    try:
        return list(dict.fromkeys(each.network for each in parse(value))) if value else []
    except InvalidAnnotationError:
        return []
