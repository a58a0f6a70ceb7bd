"""The versions of all parts: this command, webhook, agents, and the plugin of each node (pure).

An agent writes the version of its node's plugin into its Node's annotation. An image's version is
its tag, if that is one: a digest, or a tag such as ``latest``, is shown and compared with nothing.
Versions that differ are a problem of the part that is behind the agents, which an upgrade changes
last on some nodes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cli.facts import NodeFacts, Workload

CLIENT, PLUGIN = "client", "plugin"
NO_PLUGIN = "none"

_NUMBERS = re.compile(r"v?(\d+\.\d+\.\d+)")


class PartVersion(NamedTuple):
    """One part of Genie, and one of its versions."""

    part: str
    version: str
    nodes: tuple[str, ...] = ()
    """Of a plugin: the nodes that have this version."""
    problem: str = ""
    """Why it does not go together with the others, and what to do."""


def versions(
    client: str,
    agent: Workload | None,
    webhook: Workload | None,
    nodes: Sequence[NodeFacts] | None,
) -> list[PartVersion]:
    """Return the versions of all parts; what may not be read is None and left out."""
    of_agent = _version(agent) if agent else ""
    return [
        PartVersion(CLIENT, client, problem=_client_problem(client, of_agent)),
        *_programs(agent, webhook),
        *_plugins(nodes or (), of_agent),
    ]


def by_plugin(nodes: Iterable[NodeFacts]) -> Mapping[str, tuple[str, ...]]:
    """Return the nodes by the version of their plugin; :data:`NO_PLUGIN` are those without."""
    names: dict[str, list[str]] = {}
    for node in nodes:
        names.setdefault(node.plugin or NO_PLUGIN, []).append(node.name)
    return {version: tuple(each) for version, each in sorted(names.items())}


def _client_problem(client: str, of_agent: str) -> str:
    if not of_agent or _numbers(client) in {"", of_agent}:
        return ""
    return f"the agents are {of_agent}: use the command of that version"


def _programs(agent: Workload | None, webhook: Workload | None) -> Iterator[PartVersion]:
    is_skewed = agent and webhook and agent.images != webhook.images
    for workload in filter(None, (webhook, agent)):
        problem = "agent and webhook differ: finish the upgrade" if is_skewed else ""
        yield PartVersion(workload.name, ", ".join(workload.images), problem=problem)


def _plugins(nodes: Sequence[NodeFacts], of_agent: str) -> Iterator[PartVersion]:
    groups = by_plugin(nodes)
    installed = groups.keys() - {NO_PLUGIN}
    for version, names in groups.items():
        yield PartVersion(PLUGIN, version, names, _plugin_problem(version, installed, of_agent))


def _plugin_problem(version: str, installed: Iterable[str], of_agent: str) -> str:
    if version == NO_PLUGIN:
        return "Genie is not installed there, or its agent is older than this command"
    if of_agent and _numbers(version) not in {"", of_agent}:
        return f"the agents are {of_agent}: kubectl genie doctor shows what a node waits for"
    builds = {each for each in installed if not of_agent or _numbers(each) == of_agent}
    if len(builds) > 1:
        return "nodes have different versions: wait for the upgrade, or see kubectl genie doctor"
    return ""


def _version(workload: Workload) -> str:
    """Return the version that the image's tag names; empty if it names none."""
    [*images] = {_numbers(image.partition("@")[0].rpartition(":")[2]) for image in workload.images}
    return images[0] if len(images) == 1 else ""


def _numbers(text: str) -> str:
    match = _NUMBERS.match(text)
    return match[1] if match else ""
