"""Runs the agent's parts in their threads, and passes values between them.

Stopping the agent changes nothing on the node: plugin, conflist, labels and pods stay as they are.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

import structlog

from dispatcher.agent import annotation_server, events, http_endpoints, inotify
from dispatcher.agent.definition_copier import DefinitionCopier
from dispatcher.agent.event_series import Subject
from dispatcher.agent.events import Events
from dispatcher.agent.inotify import Watch
from dispatcher.agent.journal_reader import JournalEntry, JournalReader
from dispatcher.agent.label_policy import LabelPlan
from dispatcher.agent.metrics import AgentMetrics
from dispatcher.agent.network_health import NetworkHealth
from dispatcher.agent.network_status import NetworkStatusWriter
from dispatcher.agent.node_labels import NodeLabels
from dispatcher.agent.node_state import NodeState
from dispatcher.agent.problem_file import ProblemFile
from dispatcher.agent.reconciler import NodeReconciler
from dispatcher.agent.removal_confirmation import RemovalConfirmation
from dispatcher.agent.settings_follower import SettingsFollower
from dispatcher.node import atomic_file, reaper_problem, removal, status_answers
from dispatcher.node.loop import Loop
from dispatcher.node.record_cache import CachedRecord, RecordCache
from dispatcher.state import journal, store
from dispatcher.state.record import PARKED

if TYPE_CHECKING:
    from http.server import ThreadingHTTPServer

    from dispatcher.agent.installer import PluginInstaller
    from dispatcher.agent.network_health import HealthProblem
    from dispatcher.kube.client import KubeClient
    from dispatcher.node.settings import NodeSettings


RECORDS_PERIODS = 8
"""Records are read after each call of the plugin, and once in so many periods of the reconciler.
Reading takes time for each record, and repairs nothing on the node."""

RECORDS_INTERVAL = 0.1
"""Seconds between two readings. The plugin is called four times for each pod, and for several pods
at a time. Policy engines read network-status when the pod turns Running, about a second after its
ADD."""

MAX_UNSEEN_CALLS = 10_000
"""Calls of the plugin that wait for the reconciler; a node makes a few a second."""

UNKNOWN = NodeState({}, "the first reconciliation is not complete")

log = structlog.get_logger("agent")


class Agent:
    """The agent of one node: three loops, and servers for plugin, kubelet and Prometheus."""

    def __init__(self, settings: NodeSettings, plugin: PluginInstaller, kube: KubeClient) -> None:
        self._settings = settings
        self._kube = kube
        self._state = UNKNOWN
        self._vanished: dict[str, str] = {}
        self.metrics = AgentMetrics()
        self.events = Events(kube, settings.node_name)

        count_restored = self.metrics.node.restored.inc
        self._reconciler = NodeReconciler(settings, plugin, self.events, count_restored)
        self._follower = SettingsFollower(
            settings,
            self.events,
            unavailable_reason=self._reconciler.default_unavailable_reason,
        )
        self._confirmation = RemovalConfirmation(kube, settings.node_name)
        plan = LabelPlan(settings.gone_seconds, time.monotonic() + settings.start_seconds)
        self._labels = NodeLabels(kube, settings.node_name, plan, self.events)
        self._records = RecordCache(settings.state_dir)
        self._journal = JournalReader(settings.state_dir)
        self._health = NetworkHealth(settings.gone_seconds)
        self._unseen_calls: deque[JournalEntry] = deque(maxlen=MAX_UNSEEN_CALLS)
        """Calls that the thread of the journal has read, for the thread of the reconciler."""
        self._network_problem_file = ProblemFile(settings.state_dir / store.NETWORK_PROBLEMS)
        self._status = NetworkStatusWriter(kube, settings.state_dir)

        period = settings.look_seconds
        self._reconcile_loop = Loop("reconcile", self._reconcile, period, settle=0.2)
        self._publish_loop = Loop("publish", self._publish, period)
        self._records_loop = Loop(
            "records", self._read, period * RECORDS_PERIODS, min_interval=RECORDS_INTERVAL
        )
        self.loops: tuple[Loop, ...] = (
            self._reconcile_loop,
            self._publish_loop,
            self._records_loop,
        )
        self._definitions = DefinitionCopier(kube, settings)
        if settings.copies_definitions:
            self.loops += (Loop("definitions", self._copy_definitions, period),)

    def start(self) -> ThreadingHTTPServer:
        """Start every thread; return the server of probes and metrics.

        Raises OSError, and :class:`dispatcher.node.startup.StartError` for a port in use.
        """
        # First: an agent that cannot serve must not change the node or its labels.
        self._http_server = http_endpoints.start(
            (self._settings.listen, self._settings.port),
            health=self.health,
            readiness=self.readiness,
            registry=self.metrics.registry,
        )
        log.info("serving", port=self._http_server.server_address[1])

        state_dir = self._settings.state_dir
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        state_dir.chmod(0o700)
        for folder in (state_dir, self._settings.cni_conf_dir):
            atomic_file.sweep(folder)  # before any thread writes there

        if not self._settings.copies_definitions:
            self._definitions.refresh(is_leaving=False)  # removes the copies of an earlier mode

        self._watcher = inotify.start(self._watches())
        self._annotation_server = annotation_server.start(self._kube, self._settings.socket)
        threading.Thread(target=self.events.run, name="events", daemon=True).start()
        for loop in self.loops:
            loop.start()
        return self._http_server

    def stop(self) -> None:
        """End every thread; change nothing on the node."""
        for loop in self.loops:
            loop.stop()
        self._definitions.stop()
        if self._watcher is not None:
            self._watcher.stop()
        for server in (self._annotation_server, self._http_server):
            server.shutdown()
            server.server_close()

    def health(self) -> str:
        """Return which threads are stuck, or ""."""
        stuck = [loop.name for loop in self.loops if not loop.is_progressing]
        return f"stuck threads: {', '.join(stuck)}" if stuck else ""

    def readiness(self) -> str:
        """Return why new pods are not attached as the settings say, or ""."""
        return self._state.problem

    def _watches(self) -> list[Watch]:
        settings, wake = self._settings, self._reconcile_loop.wake
        watches = [Watch(settings.state_dir, self._records_loop.wake, _is_for_records)]
        if settings.settings_dir is not None:
            watches.append(Watch(settings.settings_dir, wake))
        # Each of these may be removed and made again, so the folder above it is watched, too.
        for directory in (settings.extra_conf_dir, settings.cni_conf_dir, settings.cni_bin_dir):
            watches.append(Watch(directory, wake, is_optional=True))
            watches.append(Watch(directory.parent, wake, inotify.is_named(directory.name)))
        return watches

    def _reconcile(self) -> None:
        state = self._reconcile_with_settings()
        before, self._state = self._state, state.with_health_problems(self._network_problems())

        networks = {**self._vanished, **self._state.networks}
        self.metrics.node.show_networks(networks, self._state.problem)
        if self._state != before:
            problem, names = self._state.problem, sorted(self._state.networks)
            log.info("node state changed", problem=problem, networks=names)
            self._publish_loop.wake.set()
            self._records_loop.wake.set()  # the plugin may have been removed

    def _network_problems(self) -> dict[str, HealthProblem]:
        """Return which networks do not work, and leave that for ``genie doctor``."""
        calls = [self._unseen_calls.popleft() for _ in range(len(self._unseen_calls))]
        self._health.observe_adds(calls)
        self._health.observe_answers(status_answers.read(self._settings.state_dir))

        problems = self._health.problems(time.time())
        sentences = [f'network "{name}": {each.reason}' for name, each in sorted(problems.items())]
        self._network_problem_file.write("\n".join(sentences))
        return problems

    def _reconcile_with_settings(self) -> NodeState:
        """Reconcile with the settings that are in force now; without any, leave the node alone."""
        follower = self._follower
        settings = follower.follow(is_confirmed=self._confirmation.is_present)
        self.metrics.settings.show(settings.live if settings else None, follower.refused)
        if settings is None:
            return self._reconciler.leave_alone(follower.refused or follower.unmet)

        self._reconciler.apply(settings)
        return self._reconciler.reconcile(follower.unmet, follower.refused)

    def _publish(self) -> None:
        is_awaited = self._follower.awaits_confirmation
        if self._confirmation.refresh(is_awaited=is_awaited):
            self._reconcile_loop.wake.set()

        state = self._state  # the other thread may replace it meanwhile
        if state.settings is None:
            return
        if state.conflist_removed:
            self._labels.withdraw(state.removal)
            return

        self._vanished = self._labels.publish(
            state.networks,
            self._reconciler.absence_reason,
            state.grace,
            types=state.plugin_types,
            removal=state.removal,
            has_definitions=state.may_attach_definitions and self._definitions.is_complete,
        )
        if self._reconciler.published_settings != state.settings:
            self._reconciler.published_settings = state.settings
            self._reconcile_loop.wake.set()

    def _copy_definitions(self) -> None:
        self._definitions.refresh(is_leaving=self._state.plugin_removed)

    def _read(self) -> None:
        """Report what plugin and reaper wrote; this thread alone removes files in their folder."""
        if self._state.plugin_removed:
            self._definitions.refresh(is_leaving=True)
            removal.purge(self._settings.state_dir)

        entries = self._journal.take()
        self.metrics.calls.count(entries)
        for entry in entries:
            self._emit_add(entry)
        self._unseen_calls.extend(entries)

        records = self._records.read()
        self.metrics.records.show(records.values())
        for cached in records.values():
            if cached.state in {"unreadable", "parked"}:
                self._emit_record_problems(cached)

        self._report_reaper_problem(reaper_problem.read(self._settings.state_dir))
        if self._status.publish(records):
            self._records_loop.wake.set()

    def _emit_add(self, entry: JournalEntry) -> None:
        """Emit on the pod why it has no network, or, if the settings say so, how long it took.

        A failed DEL shows in the metrics only.
        """
        if entry.command != "ADD" or not all(entry.pod):
            return

        pod = Subject("Pod", *entry.pod)
        if entry.code:
            message = " ".join(entry.msg.split())  # a delegate's error may have many lines
            self.events.emit(pod, "NetworkNotAttached", message)
        elif self._settings.attached_events:
            self.events.emit(pod, "NetworkAttached", _attached_message(entry), warning=False)

    def _emit_record_problems(self, cached: CachedRecord) -> None:
        """Emit on the Node that a record is unreadable, or that an attachment is parked."""
        node = events.node(self._settings.node_name)
        container = f"container {cached.container_id}"
        if cached.record is None:
            path = store.path_of(str(self._settings.state_dir), cached.container_id)
            message = (
                f"{container}: cannot read its record {path}: {cached.fault}; if a newer Genie "
                "wrote the record, upgrade Genie on this node; if the record is corrupt, delete "
                "the container's pod"
            )
            self.events.emit(node, "RecordUnreadable", message)
            return

        namespace, name, _ = cached.pod
        owner = f"pod {namespace}/{name} ({container})" if name else container
        for attachment in cached.record.attachments:
            if attachment.phase == PARKED:
                reason = (attachment.failure or {}).get("msg", "its plugin cannot be executed")
                message = (
                    f'{owner}: network "{attachment.network}" is parked, because its DEL cannot '
                    f"run: {reason}; install the missing plugin: the reaper then releases the "
                    "attachment"
                )
                self.events.emit(node, "NetworkParked", message)

    def _report_reaper_problem(self, problem: str) -> None:
        """Show the reaper's problem in the metrics and emit it; the reaper has no token."""
        self.metrics.node.show_reaper_problem(problem)
        if problem:
            self.events.emit(events.node(self._settings.node_name), "NothingFreed", problem)


def _is_for_records(name: str, mask: int) -> bool:
    """Return whether the file *name* of the state directory has news for the thread of records.

    The plugin writes a line of the journal at the end of each call, when the record is complete.
    Files that the agent itself writes are not among them.
    """
    if name == journal.NAME:
        return bool(mask & inotify.WRITTEN)
    is_removed_record = name.endswith(store.SUFFIX) and bool(mask & inotify.REMOVED)
    return is_removed_record or name == store.REAPER_PROBLEM


def _attached_message(entry: JournalEntry) -> str:
    """Return the networks of a successful ADD, each with its milliseconds."""
    networks = ", ".join(
        f'network "{step.network}" on {step.interface} in {_milliseconds(step.seconds)}'
        for step in entry.steps
    )
    return f"attached {networks}; {_milliseconds(entry.seconds)} in all"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"
