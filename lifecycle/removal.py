"""What prevents the removal of Genie from a node, and what a node still has to do (pure).

:data:`CHECKS` run before anything changes; the first check that applies to a node is its
obstacle. A node without a label and an annotation of Genie's has nothing to lose, and passes.

A pod needs Genie unless its only network is one to which the runtime attaches pods without Genie:
then the runtime releases it. The agent decides the same from its records
(:mod:`dispatcher.node.removal`), which name containers that the API server does not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from dispatcher.kube.removal_report import RemovalReport
    from lifecycle.situation import NodeSituation, PodNetworks

DISABLE, REMOVE, REMOVE_FORCE = "disable", "remove", "remove --force"
"""Values of the setting ``mode``; the last two are those of a removal."""

LEAVING = frozenset({REMOVE, REMOVE_FORCE})

MAX_NAMES = 20
"""Pods of one node that a message names."""


class Obstacle(NamedTuple):
    """Why Genie cannot be removed from a node, and what to do."""

    node: str
    reason: str
    fix: str
    pods: tuple[str, ...] = ()
    """The pods that need Genie there."""


class NodeCheck(NamedTuple):
    """The obstacle ``make(node)`` of a node where ``applies``."""

    applies: Callable[[NodeSituation], bool]
    make: Callable[[NodeSituation], Obstacle]


def obstacles(nodes: Iterable[NodeSituation], ignored: Collection[str]) -> list[Obstacle]:
    """Return what keeps *nodes* from losing Genie; those that are *ignored* keep nothing."""
    node_obstacles = []
    for node in nodes:
        if not node.is_marked or node.name in ignored:
            continue
        check = next((each for each in CHECKS if each.applies(node)), None)
        if check:
            node_obstacles.append(check.make(node))
    return node_obstacles


def needs_genie(node: NodeSituation, pod: PodNetworks) -> bool:
    """Return whether the runtime of *node* could not release *pod* without Genie."""
    successors = node.report.successors if node.report else ()
    return len(pod.networks) != 1 or pod.networks[0] not in successors


def remaining(node: NodeSituation, mode: str) -> str:
    """Return what *node* has to do until it has applied *mode*; "" if it has."""
    if not node.is_marked:
        return ""
    if not (node.is_ready and node.has_agent):
        return "its agent does not answer"
    report = node.report
    if report is None or report.mode != mode:
        return f'its agent has not applied the mode "{mode}" yet'
    return _remaining_of_removal(report) if mode in LEAVING else ""


def _remaining_of_removal(report: RemovalReport) -> str:
    if report.pods:
        return f"Genie is needed by {_names(report.pods, report.more_pods)}"
    if report.ended_containers:
        return (
            f"the reaper has to release {report.ended_containers} containers that no longer exist"
        )
    return "the plugin stays until no call of it can run"


def _needy(node: NodeSituation) -> tuple[str, ...]:
    return tuple(pod.name for pod in node.pods if needs_genie(node, pod))


def _ignore(node: NodeSituation) -> str:
    return f"or ignore {node.name}: what Genie has there stays, and its pods' addresses may, too"


def _not_ready(node: NodeSituation) -> Obstacle:
    fix = f"bring it back, delete the Node if it is gone for good, {_ignore(node)}"
    return Obstacle(node.name, "the node is not ready", fix)


def _no_agent(node: NodeSituation) -> Obstacle:
    fix = f"see why the agent's pod does not run there, {_ignore(node)}"
    return Obstacle(node.name, "no agent runs on the node", fix)


def _no_report(node: NodeSituation) -> Obstacle:
    reason = "its agent has not said which network the node has without Genie"
    return Obstacle(
        node.name, reason, "try again in a minute; if its agent is of an older version, upgrade it"
    )


def _with_pods(node: NodeSituation) -> Obstacle:
    pods = _needy(node)
    successors = node.report.successors if node.report else ()
    without = f'only network "{successors[0]}"' if successors else "no network"
    return Obstacle(
        node.name,
        f"Genie is needed by {_names(pods, 0)}: without it, the node has {without}",
        "delete or drain these pods first, and change what creates them",
        pods,
    )


CHECKS = (
    NodeCheck(lambda node: not node.is_ready, _not_ready),
    NodeCheck(lambda node: not node.has_agent, _no_agent),
    NodeCheck(lambda node: node.report is None, _no_report),
    NodeCheck(lambda node: bool(_needy(node)), _with_pods),
)
"""The first check that applies to a node is its obstacle."""


def _names(pods: Collection[str], more: int) -> str:
    names = list(pods)
    more += max(0, len(names) - MAX_NAMES)
    return ", ".join(names[:MAX_NAMES]) + (f" and {more} more" if more else "")
