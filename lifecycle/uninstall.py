"""The steps of an uninstall. Effects are passed in; the decisions are in :mod:`lifecycle.removal`.

    step  what happens                                               if it cannot be completed
    1     check every node; nothing is changed                       refuse (see below)
    2     mode "disable": new pods get the default network only      restore the mode, refuse
    3     check again: a pod may have come since                     restore the mode, refuse
    4     mode "remove": each node loses conflist, labels, plugin    restore the mode, refuse

Steps 2 and 3 are left out where a mode of removal is in force already: "disable" would install
Genie again on nodes that have lost it. So an uninstall is idempotent.

The mode that was in force before is kept on the ConfigMap until the run has ended, so that a run
that was killed does not count as the administrator's choice: the next run completes it, or restores
the mode if it is refused in step 1. :mod:`lifecycle.cluster` ignores it once anyone else has
changed the mode. After success the mode stays "remove", and the objects of the cluster can be
deleted.

While an API server does not answer, a step is repeated until the time is over, and the restoring
for a minute.
"""

from __future__ import annotations

import enum
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from dispatcher.kube.errors import KubeError
from lifecycle.removal import DISABLE, LEAVING, REMOVE, Obstacle, obstacles, remaining

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from lifecycle.situation import NodeSituation

T = TypeVar("T")

POLL_SECONDS = 3.0
"""Time between two readings of the cluster while it is waited for."""

TIMEOUT_SECONDS = 600.0
"""Time for all steps: settings reach a node within 2 minutes, twice, and the plugin stays 90 s."""

RESTORE_SECONDS = 60.0
"""Time for the restoring, after the time of all steps: the chart's Job lives 120 s longer."""


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
    """A check or the time failed later, or an earlier run was killed; the previous mode is in force
    again."""


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
        self._mode = ""

    def run(self) -> Outcome:
        """Uninstall. Raises KubeError if the API server fails.

        Then the previous mode is restored, or the message says which mode is in force.
        """
        settings = self._cluster.settings()
        if settings is None:
            return self._without_settings()
        self._mode = settings.mode
        try:
            node_obstacles = self._check()
        except KubeError as error:
            raise self._with_mode(error, settings.original_mode) from None
        was_killed = settings.mode != settings.original_mode
        if self._options.dry_run or (node_obstacles and not was_killed):
            result = Result.REFUSED if node_obstacles else Result.READY
            return self._outcome(result, node_obstacles)

        is_complete = False
        try:
            node_obstacles = node_obstacles or self._steps(settings)
            is_complete = not node_obstacles
        finally:  # also when a person or the kubelet ends this process
            if not is_complete:
                self._restore(settings)
        if node_obstacles:
            return self._outcome(Result.RESTORED, node_obstacles)
        self._keep_mode()
        return self._outcome(Result.REMOVED, [])

    def _steps(self, settings: Settings) -> list[Obstacle]:
        """Carry out the steps that change something; return the obstacles of the one that fails."""
        if settings.mode in LEAVING:
            return self._apply(settings.mode, settings)
        return (
            self._apply(DISABLE, settings)
            or self._retry(self._check, self._deadline)
            or self._apply(REMOVE, settings)
        )

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
        return self._outcome(Result.REFUSED if left else Result.REMOVED, left)

    def _check(self) -> list[Obstacle]:
        return obstacles(self._cluster.nodes(), self._options.ignored_nodes)

    def _apply(self, mode: str, settings: Settings) -> list[Obstacle]:
        """Set *mode* and wait for every node; return what is missing when the time is over."""
        # Before the call, since one that fails may have taken effect all the same.
        self._mode = mode
        self._retry(lambda: self._cluster.set_mode(mode, settings.original_mode), self._deadline)
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
        nodes = self._retry(self._cluster.nodes, self._deadline)
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
        """Set the previous mode. Raises KubeError with the mode in force if that fails."""
        original = settings.original_mode

        def restore() -> None:
            current = self._cluster.settings()
            if current is not None:
                self._mode = current.mode
                self._cluster.set_mode(original, original)

        try:
            self._retry(restore, self._clock() + RESTORE_SECONDS)
        except KubeError as error:
            raise self._with_mode(error, original) from None
        self._mode = original
        self._progress(f'the mode is "{original}" again')

    def _with_mode(self, error: KubeError, original: str) -> KubeError:
        """Return *error* with the mode in force, and how to get the mode *original* again."""
        message = f'{error.message}; Genie is not removed, and the mode is "{self._mode}"'
        if self._mode != original:
            message += f': uninstall again, or set the mode "{original}" in the ConfigMap genie'
        return KubeError(error.status, error.reason, message)

    def _keep_mode(self) -> None:
        """Forget the previous mode: after a removal, no run that is refused may restore it."""
        set_mode = partial(self._cluster.set_mode, self._mode, self._mode)
        self._retry(set_mode, self._clock() + RESTORE_SECONDS)

    def _retry(self, call: Callable[[], T], deadline: float) -> T:
        """Return what *call* returns; repeat it until *deadline* while the API server is away."""
        reported = ""
        while True:
            try:
                return call()
            except KubeError as error:
                if not _is_outage(error) or self._clock() >= deadline:
                    raise
                if str(error) != reported:
                    reported = str(error)
                    self._progress(f"the API server does not answer: {error}")
            self._sleep(POLL_SECONDS)

    def _outcome(self, result: Result, found: list[Obstacle]) -> Outcome:
        return Outcome(result, tuple(found), tuple(self._options.ignored_nodes), self._mode)


def _is_outage(error: KubeError) -> bool:
    """Return whether the same call may succeed later: no answer, too many requests, a fault."""
    later = (0, HTTPStatus.TOO_MANY_REQUESTS)
    return error.status in later or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR


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
    mode = f' The mode is "{outcome.mode}".' if outcome.mode else ""
    return [*lines, _CONCLUSIONS[outcome.result] + mode]


_CONCLUSIONS = {
    Result.REMOVED: "Genie is removed from the nodes; now delete its objects from the cluster.",
    Result.READY: "Nothing keeps Genie from being removed. Nothing was changed.",
    Result.REFUSED: "Genie is not removed. Nothing was changed.",
    Result.RESTORED: "Genie is not removed. The former mode is restored.",
}
