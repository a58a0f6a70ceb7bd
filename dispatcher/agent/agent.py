"""The agent: its parts, its threads, and what they tell one another.

Stopping takes nothing from the node: plugin, conflist, labels and pods stay as they are.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog

from dispatcher.agent import annotation_server, events, http_endpoints, inotify
from dispatcher.agent.events import Events
from dispatcher.agent.journal_reader import JournalEntry, JournalReader
from dispatcher.agent.label_policy import LabelPlan
from dispatcher.agent.metrics import AgentMetrics
from dispatcher.agent.network_status import NetworkStatusWriter
from dispatcher.agent.node_labels import NodeLabels
from dispatcher.agent.node_state import NodeState
from dispatcher.agent.reconciler import NodeReconciler
from dispatcher.node import atomic_file, reaper_problem, removal
from dispatcher.node.loop import Loop
from dispatcher.node.record_cache import CachedRecord, RecordCache
from dispatcher.state.record import PARKED

if TYPE_CHECKING:
    from http.server import ThreadingHTTPServer

    from dispatcher.agent.installer import PluginInstaller
    from dispatcher.kube.client import KubeClient
    from dispatcher.node.settings import NodeSettings


RECORDS_TURNS = 8
"""Records are read when the kernel tells of a change, and once in so many looks at the node: a
look costs something with every record, and nothing of a node is repaired by it."""

NO_VIEW = NodeState({}, "the first look is not over")

log = structlog.get_logger("agent")


class Agent:
    """The parts, and what they tell one another."""

    def __init__(self, settings: NodeSettings, plugin: PluginInstaller, kube: KubeClient) -> None:
        self._settings = settings
        self._kube = kube
        self._view = NO_VIEW
        self._vanished: dict[str, str] = {}
        self.metrics = AgentMetrics()
        self.events = Events(kube, settings.node_name)
        self._node = NodeReconciler(settings, plugin, self.events, self.metrics.restored.inc)
        young_until = time.monotonic() + settings.start_seconds
        publication = LabelPlan(settings.gone_seconds, young_until)
        self._labels = NodeLabels(kube, settings.node_name, publication, self.events)
        self._looking = Loop("look", self._look, settings.look_seconds, settle=0.2)
        self._publishing = Loop("publish", self._publish, settings.look_seconds)
        self._records = RecordCache(settings.state_dir)
        self._journal = JournalReader(settings.state_dir)
        self._status = NetworkStatusWriter(kube, settings.state_dir)
        seldom = settings.look_seconds * RECORDS_TURNS
        self._reading = Loop("records", self._read, seldom, settle=0.5)
        self.loops = (self._looking, self._publishing, self._reading)

    def start(self) -> ThreadingHTTPServer:
        """Start every thread; returns the server of probes and metrics."""
        self._settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._settings.state_dir.chmod(0o700)
        for folder in (self._settings.state_dir, self._settings.cni_conf_dir):
            atomic_file.sweep(folder)  # before any thread writes there
        above = [directory.rpartition("/")[0] for directory in self._settings.conf_dirs]
        watched = dict.fromkeys(above, self._looking.wake)
        bin_dir = self._settings.cni_bin_dir
        self._observer = inotify.start(
            {**watched, str(self._settings.state_dir): self._reading.wake},
            {str(each): self._looking.wake for each in (bin_dir, bin_dir.parent)},
        )
        self._lookup = annotation_server.start(self._kube, self._settings.socket)
        threading.Thread(target=self.events.run, name="events", daemon=True).start()
        for loop in self.loops:
            loop.start()
        address = (self._settings.listen, self._settings.port)
        self._web = http_endpoints.start(
            address,
            health=self.health,
            readiness=self.readiness,
            registry=self.metrics.registry,
        )
        log.info("serving", port=self._web.server_address[1])
        return self._web

    def stop(self) -> None:
        """End every thread, and take nothing away from the node."""
        for loop in self.loops:
            loop.stop()
        self._observer.stop()
        for server in (self._lookup, self._web):
            server.shutdown()
            server.server_close()

    def health(self) -> str:
        """Return what is stuck, or nothing."""
        stuck = [loop.name for loop in self.loops if not loop.is_alive]
        return f"stuck: {', '.join(stuck)}" if stuck else ""

    def readiness(self) -> str:
        """Return why new pods are not attached as the settings say, or nothing."""
        return self._view.problem

    def _look(self) -> None:
        before, self._view = self._view, self._node.reconcile()
        networks = {**self._vanished, **self._view.networks}
        self.metrics.show_networks(networks, self._view.problem)
        if self._view != before:
            log.info("looked", problem=self._view.problem, networks=sorted(self._view.networks))
            self._publishing.wake.set()
            self._reading.wake.set()  # it may be over

    def _publish(self) -> None:
        if self._view is NO_VIEW:
            return
        if self._view.conflist_removed:
            self._labels.withdraw()
            return
        self._vanished = self._labels.publish(
            self._view.networks,
            self._node.absence_reason,
            self._view.patience,
            types=self._view.plugin_types,
        )
        if not self._node.labels_published:
            self._node.labels_published = True
            self._looking.wake.set()

    def _read(self) -> None:
        """Take what the plugin has written; this thread alone removes what lies in its folder."""
        if self._view.plugin_removed:
            removal.purge(self._settings.state_dir)
        entries = self._journal.take()
        self.metrics.count(entries)
        for entry in entries:
            self._tell(entry)
        records = self._records.read()
        self.metrics.show_records(records.values())
        for stored in records.values():
            self._tell_trouble(stored)
        self._tell_of_reaper(reaper_problem.read(self._settings.state_dir))
        self._status.publish(records)

    def _tell(self, entry: JournalEntry) -> None:
        """Say on the pod why it has no network. What a DEL left shows in the metrics."""
        if entry.code and entry.command == "ADD" and all(entry.pod):
            said = " ".join(entry.msg.split())  # a delegate may have said it in many lines
            self.events.emit(events.Subject("Pod", *entry.pod), "NetworkNotAttached", said)

    def _tell_of_reaper(self, problem: str) -> None:
        """Say what the other container, which has no token, left here."""
        self.metrics.show_reaper(problem)
        if problem:
            self.events.emit(events.node(self._settings.node_name), "NothingFreed", problem)

    def _tell_trouble(self, stored: CachedRecord) -> None:
        """Say on the Node what a person may have to look after."""
        about = events.node(self._settings.node_name)
        if stored.record is None:
            sentence = f"the record of container {stored.container_id}: {stored.fault}"
            self.events.emit(about, "RecordUnreadable", sentence)
        for attachment in stored.record.attachments if stored.record else ():
            if attachment.phase == PARKED:
                reason = (attachment.failure or {}).get("msg", "its plugin cannot be run")
                sentence = (
                    f'network "{attachment.network}" of container {stored.container_id} waits '
                    f"to be freed: {reason}"
                )
                self.events.emit(about, "NetworkParked", sentence)
