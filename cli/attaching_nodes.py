"""The check of NetworkAttachmentDefinitions: which nodes are not ready for the mode, or the next.

The modes follow each other: ``off``, ``observe``, ``enforce``. Every node is ready for ``observe``.
A node is ready for ``enforce`` when it has Genie's plugin, and its label says that all definitions
were copied there. In the mode ``enforce`` the label also says that the node attaches pods to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.checks import Check, CheckState
from cli.networks import shorten

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cli.facts import NodeFacts, Workload

SUBJECT = "definitions"

MODE = "GENIE_ATTACHMENT_DEFINITIONS_MODE"
"""The agent's setting, which the chart sets from ``attachmentDefinitions.mode``."""


def definitions_checks(
    agent: Workload | None, nodes: Sequence[NodeFacts] | None, namespace: str
) -> Iterator[Check]:
    """Yield the check, unless the mode is ``off``; *namespace* is Genie's."""
    mode = agent.environ.get(MODE, "off") if agent else "off"
    if mode == "off":
        return
    if nodes is None:
        yield Check(SUBJECT, CheckState.UNKNOWN, f"{mode}: you may not list nodes")
        return

    # In ``enforce`` a node without Genie is an administrator's choice, and is not counted. In
    # ``observe`` it is counted: after the change to ``enforce``, pods with definitions cannot use
    # it.
    is_attaching = mode == "enforce"
    counted = [each for each in nodes if not is_attaching or each.plugin or each.networks]
    ready = [each for each in counted if each.plugin and each.has_definitions]
    missing = tuple(each.name for each in counted if each not in ready)
    verb = "attach pods" if is_attaching else 'are ready for the mode "enforce"'
    message = f"{mode}: {len(ready)} of {len(counted)} nodes {verb}"
    if not missing:
        yield Check(SUBJECT, CheckState.OK, message)
        return
    fix = (
        f"see why: kubectl describe node {missing[0]} shows Events; kubectl -n {namespace} "
        "logs -l app.kubernetes.io/component=agent shows what the agents cannot copy"
    )
    state = CheckState.WARNING if ready or not is_attaching else CheckState.FAILED
    yield Check(SUBJECT, state, f"{message}; not {shorten(missing)}", fix)
