"""The checks before an upgrade: versions that do not go together (pure).

The version of this command is the one that the cluster is to have. Any webhook works with any
plugin of the minor version before it, so an upgrade goes one minor version at a time.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from cli.checks import Check, CheckState
from cli.networks import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from cli.facts import Workload

OLDEST_API_SERVER = (1, 34)
OLDEST_RUNTIMES = {"containerd": (1, 7), "cri-o": (1, 29)}
"""The first versions that pass pod annotations to CNI plugins. The agent answers for the others."""


class ClusterVersions(NamedTuple):
    """The versions of a cluster; empty, or None, where reading is forbidden."""

    api_server: str
    nodes: Sequence[Mapping[str, Any]] | None
    """Node objects with their status."""
    programs: Sequence[Workload]


def version_checks(versions: ClusterVersions, own: str) -> list[Check]:
    """Return all checks of versions; *own* is the version of this command."""
    return [
        _api_server(versions.api_server),
        *_runtimes(versions.nodes),
        *_skew(versions.programs, own),
    ]


def _api_server(text: str) -> Check:
    version = _numbers(text)
    if not version:
        return Check("API server", CheckState.UNKNOWN, "its version cannot be read")
    if version < OLDEST_API_SERVER:
        fix = f"upgrade Kubernetes to {_dotted(OLDEST_API_SERVER)} first"
        return Check("API server", CheckState.FAILED, f"{text} is too old", fix)
    return Check("API server", CheckState.OK, text)


def _runtimes(nodes: Sequence[Mapping[str, Any]] | None) -> Iterator[Check]:
    if nodes is None:
        yield Check("runtimes", CheckState.UNKNOWN, "you may not list nodes")
        return
    by_runtime: dict[str, list[str]] = {}
    for node in nodes:
        info = (node.get("status") or {}).get("nodeInfo") or {}
        runtime = info.get("containerRuntimeVersion") or "unknown"
        by_runtime.setdefault(runtime, []).append(node["metadata"]["name"])
    for runtime, names in sorted(by_runtime.items()):
        yield _runtime(runtime, shorten(tuple(sorted(names))))


def _runtime(text: str, names: str) -> Check:
    name, _, version = text.partition("://")
    shown = f"{name} {version}" if version else text
    oldest = OLDEST_RUNTIMES.get(name)
    if oldest is None:
        fix = "install with oldRuntimes, so that the plugin asks the agent for annotations"
        message = f"{shown} on {names} passes no pod annotations"
        return Check("runtime", CheckState.WARNING, message, fix)
    if _numbers(version) < oldest:
        fix = f"upgrade it to {_dotted(oldest)}, or install with oldRuntimes"
        return Check("runtime", CheckState.FAILED, f"{shown} on {names} is too old", fix)
    return Check("runtime", CheckState.OK, f"{shown} on {names}")


def _skew(programs: Iterable[Workload], own: str) -> Iterator[Check]:
    wanted = _numbers(own)
    for each in programs:
        if each.updated < each.wanted:
            message = f"{each.updated} of {each.wanted} pods are of the current version"
            fix = "wait until the previous upgrade is complete"
            yield Check(each.name, CheckState.FAILED, message, fix)
            continue
        yield _step(each, wanted, own)


def _step(workload: Workload, wanted: tuple[int, ...], own: str) -> Check:
    """Return whether an upgrade of *workload* to the version *wanted* is one step."""
    images = ", ".join(workload.images)
    installed = _numbers(images.partition("@")[0].rpartition("/")[2].partition(":")[2])
    if not installed or not wanted:
        message = f"{images}; this command is {own}: the versions cannot be compared"
        return Check(workload.name, CheckState.UNKNOWN, message)
    message = f"{_dotted(installed)}; this command is {own}"
    if wanted[0] != installed[0] or wanted[1] > installed[1] + 1:
        fix = "upgrade one minor version at a time"
        return Check(workload.name, CheckState.FAILED, f"{message}: too far apart", fix)
    if wanted < installed:
        fix = "use the command of the version that you will install"
        return Check(workload.name, CheckState.WARNING, f"{message}, which is older", fix)
    return Check(workload.name, CheckState.OK, message)


def _numbers(text: str) -> tuple[int, ...]:
    """Return the first two numbers of a version; empty if *text* has none."""
    match = re.match(r"v?(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else ()


def _dotted(version: Iterable[int]) -> str:
    return ".".join(map(str, version))
