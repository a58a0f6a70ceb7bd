"""The steps of an uninstall. Effects are passed in; the decisions are in :mod:`lifecycle.removal`.

    step  what happens                                               if it cannot be completed
    1     check every node; nothing is changed                       refuse
    2     mode "disable": new pods get the default network only      restore the mode, refuse
    3     check again: a pod may have come since                     restore the mode, refuse
    4     mode "remove": each node loses conflist, labels, plugin    restore the mode, refuse

Steps 2 and 3 are left out where a mode of removal is in force already: "disable" would install
Genie again on nodes that have lost it. So an uninstall is idempotent.

The mode that was in force before is kept on the ConfigMap, so that a run that was killed does not
count as the administrator's choice. After success the mode stays "remove", and the objects of the
cluster can be deleted.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from dispatcher.kube.errors import KubeError
from lifecycle.removal import DISABLE, LEAVING, REMOVE, Obstacle, obstacles, remaining

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from lifecycle.situation import NodeSituation

POLL_SECONDS = 3.0
"""Time between two readings of the cluster while it is waited for."""

TIMEOUT_SECONDS = 600.0
"""Time for all steps: settings reach a node within 2 minutes, twice, and the plugin stays 90 s."""


class Settings(NamedTuple):
    """The mode in force, and the one to restore: that of the administrator."""

    mode: str
    original_mode: str


class ClusterAccess(Protocol):
    """What the steps do to a cluster; every call may raise KubeError."""

    def settings(self) -> Settings | None:
        """Return the modes; None: Genie's ConfigMap does not exist."""
        ...

    def nodes(self) -> list[NodeSituation]:
        """Return the situation of every node."""
        ...

    def set_mode(self, mode: str, original: str) -> None:
        """Set the mode, and keep *original* beside it, unless they are the same."""
        ...


class Result(enum.StrEnum):
    """How an uninstall ended."""

    REMOVED = "removed"
    READY = "ready"
    """Nothing prevents the removal (with ``dry_run``)."""
    REFUSED = "refused"
    """A check failed before anything was changed."""
    RESTORED = "restored"
    """A check or the time failed later; the previous mode is in force again."""


class Outcome(NamedTuple):
    """How an uninstall ended, and why."""

    result: Result
    obstacles: tuple[Obstacle, ...] = ()
    ignored_nodes: tuple[str, ...] = ()
    mode: str = ""
    """The mode in force now."""


class Options(NamedTuple):
    """What the caller chose."""

    ignored_nodes: Collection[str] = ()
    timeout: float = TIMEOUT_SECONDS
    dry_run: bool = False


class Uninstall:
    """One run; *progress* gets a line when something changes, *clock* is monotonic."""

    def __init__(
        self,
        cluster: ClusterAccess,
        options: Options,
        *,
        progress: Callable[[str], None],
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._cluster = cluster
        self._options = options
        self._progress = progress
        self._clock = clock
        self._sleep = sleep
        self._deadline = clock() + options.timeout
        self._reported: dict[str, str] = {}

    def run(self) -> Outcome:
        """Uninstall. Raises KubeError if the API server fails, with the previous mode restored."""
        settings = self._cluster.settings()
        if settings is None:
            return self._without_settings()
        node_obstacles = self._check()
        if node_obstacles:
            return self._outcome(Result.REFUSED, node_obstacles, settings.mode)
        if self._options.dry_run:
            return self._outcome(Result.READY, [], settings.mode)

        is_complete = False
        node_obstacles = []
        try:
            node_obstacles = self._steps(settings)
            is_complete = not node_obstacles
        finally:  # also when a person or the kubelet ends this process
            if not is_complete:
                self._restore(settings)
        if node_obstacles:
            return self._outcome(Result.RESTORED, node_obstacles, settings.original_mode)
        return self._outcome(Result.REMOVED, [], REMOVE)

    def _steps(self, settings: Settings) -> list[Obstacle]:
        """Carry out the steps that change something; return the obstacles of the one that fails."""
        if settings.mode in LEAVING:
            return self._apply(settings.mode, settings)
        return self._apply(DISABLE, settings) or self._check() or self._apply(REMOVE, settings)

    def _without_settings(self) -> Outcome:
        """Genie's objects are deleted already: say which nodes still have something of Genie's."""
        left = [
            Obstacle(
                node.name,
                "the node has labels or annotations of Genie's, but Genie's ConfigMap is gone",
                "install Genie again and uninstall it, or remove the node's files by hand",
            )
            for node in self._cluster.nodes()
            if node.is_marked and node.name not in self._options.ignored_nodes
        ]
        return self._outcome(Result.REFUSED if left else Result.REMOVED, left, "")

    def _check(self) -> list[Obstacle]:
        return obstacles(self._cluster.nodes(), self._options.ignored_nodes)

    def _apply(self, mode: str, settings: Settings) -> list[Obstacle]:
        """Set *mode* and wait for every node; return what is missing when the time is over."""
        self._cluster.set_mode(mode, settings.original_mode)
        self._progress(f'the mode is "{mode}" now')
        while True:
            waiting = self._waiting(mode)
            self._report(mode, waiting)
            if not waiting:
                return []
            if self._clock() >= self._deadline:
                return [
                    Obstacle(name, f"no answer in time: {reason}", "see the Events of the node")
                    for name, reason in waiting.items()
                ]
            self._sleep(POLL_SECONDS)

    def _waiting(self, mode: str) -> dict[str, str]:
        """Return the nodes that have not applied *mode*, each with the reason."""
        try:
            nodes = self._cluster.nodes()
        except KubeError as error:
            return {"all nodes": f"the API server does not answer: {error}"}
        reasons = {node.name: remaining(node, mode) for node in nodes}
        return {
            name: reason
            for name, reason in reasons.items()
            if reason and name not in self._options.ignored_nodes
        }

    def _report(self, mode: str, waiting: dict[str, str]) -> None:
        for name in self._reported.keys() - waiting.keys():
            self._progress(f'{name}: done with "{mode}"')
        for name, reason in waiting.items():
            if self._reported.get(name) != reason:
                self._progress(f"{name}: {reason}")
        self._reported = dict(waiting)

    def _restore(self, settings: Settings) -> None:
        self._cluster.set_mode(settings.original_mode, settings.original_mode)
        self._progress(f'the mode is "{settings.original_mode}" again')

    def _outcome(self, result: Result, found: list[Obstacle], mode: str) -> Outcome:
        return Outcome(result, tuple(found), tuple(self._options.ignored_nodes), mode)


def exit_code(outcome: Outcome) -> int:
    """Return 0 for success, 1 if nothing was changed, 3 if the previous mode was restored."""
    return {Result.REFUSED: 1, Result.RESTORED: 3}.get(outcome.result, 0)


def sentences(outcome: Outcome) -> list[str]:
    """Return *outcome* as lines for people."""
    lines = []
    for each in outcome.obstacles:
        lines += [f"{each.node}: {each.reason}", f"    -> {each.fix}"]
    if outcome.ignored_nodes:
        lines.append(f"ignored nodes: {', '.join(outcome.ignored_nodes)}")
    return [*lines, _CONCLUSIONS[outcome.result].format(mode=outcome.mode)]


_CONCLUSIONS = {
    Result.REMOVED: "Genie is removed from the nodes; now delete its objects from the cluster.",
    Result.READY: "Nothing keeps Genie from being removed. Nothing was changed.",
    Result.REFUSED: "Genie is not removed. Nothing was changed.",
    Result.RESTORED: 'Genie is not removed. The mode is "{mode}" again.',
}
