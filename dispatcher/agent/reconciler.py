"""Reconciles plugin and conflist with the settings, and reports the networks of the node.

A reconciliation reads the configurations of all networks, installs or removes plugin and conflist,
and returns a :class:`NodeState`. It runs every few seconds, and whenever a configuration changes.

Rules:

- The conflist is written only when the plugin is complete and the default network is ready: its
  configuration is valid and every executable of its chain is there. Until then the node keeps the
  conflist that it had. Only the choice of networks in it follows the mode: an uninstall waits for
  that on every node, also where the default network never becomes ready.
- Genie does not replace Multus, unless a setting allows it, nor while Multus may be about to start.
  A conflist that is installed stays.
- If the mode gives new pods the default network only, the labels of the node are updated first.
  Otherwise the scheduler sends pods here that get another network than they ask for.
- Nothing waits long for the API server.

How the situation on the node decides the label of a network
(:mod:`dispatcher.agent.node_state`, :mod:`dispatcher.agent.label_policy`):

    situation                                  network                    label
    the runtime calls Genie, mode "install"    can be attached            true
                                               cannot be attached         false after a while [1]
                                               does not work [3]          false at once
    the runtime calls Genie, other modes       default network            as in mode "install"
                                               others                     false at once
    each ADD fails [2], mode "install"         all                        false after a while [1]
    each ADD fails [2], other modes            default network            false after a while [1]
                                               others                     false at once
    the runtime attaches pods without Genie    attached by it, ready      stays as it is
                                               others                     false at once
    the mode has removed the conflist          all                        removed

[1] After ``gone_seconds``, and not before the agent has run for ``start_seconds``. A network that
    cannot be attached and has no label gets ``false`` at once, in every situation.
[2] The runtime loads our conflist but cannot start the plugin, or finds no configuration at all.
[3] By its STATUS for ``gone_seconds``, or by its ADDs: :mod:`dispatcher.agent.network_health`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from dispatcher import networks
from dispatcher.agent import availability, events
from dispatcher.agent import conflist as conflists
from dispatcher.agent.conflist import ConflistError, ConflistFile
from dispatcher.agent.installer import InstallError, PluginInstaller
from dispatcher.agent.moves import Moves
from dispatcher.agent.node_state import NodeState, serving_state, unserved_state
from dispatcher.agent.problem_file import ProblemFile
from dispatcher.kube import removal_report
from dispatcher.node import conf_dir, ended_list, removal
from dispatcher.node.mode import Mode
from dispatcher.node.record_cache import RecordCache
from dispatcher.state import store

if TYPE_CHECKING:
    from collections.abc import Callable

    from dispatcher.networks import Networks
    from dispatcher.node.record_cache import CachedRecord
    from dispatcher.node.settings import LiveSettings, NodeSettings


LABEL_SECONDS = 60.0
"""How long a mode waits for the labels of the node. While the API server is away no pod is
scheduled, but pods that are bound already are attached."""

log = structlog.get_logger("node")


class LabelsPendingError(Exception):
    """The labels of the node do not show yet what the mode takes from new pods."""


class NodeReconciler:
    """Reconciles plugin and conflist of the node with *settings*, until :meth:`apply` is called.

    *count_restored* is called for each file that had to be restored; *clock* is monotonic.
    """

    def __init__(
        self,
        settings: NodeSettings,
        plugin: PluginInstaller,
        emitter: events.Events,
        count_restored: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.published_settings: LiveSettings | None = None
        """The settings with which the labels of the node were published last. The agent sets it."""
        self._settings = settings
        self._plugin = plugin
        self._conflist = ConflistFile(settings.cni_conf_dir)
        self._events = emitter
        self._count_restored = count_restored
        self._clock = clock
        self._records = RecordCache(settings.state_dir)
        self._moves = Moves(settings.state_dir)
        self._problem_file = ProblemFile(settings.state_dir / store.AGENT_PROBLEM)
        self._ignored: set[str] = set()
        self._multus_seen_at = clock()
        """When the runtime called Multus last. At first: now, as both start with the node."""
        self._waiting_since: float | None = None
        self._removal_problem = ""
        self._conflist_removed_at: float | None = None
        self._plugin_removed = False

    def apply(self, settings: NodeSettings) -> None:
        """Reconcile with *settings* from now on."""
        if settings.live != self._settings.live:
            self._waiting_since = None
        self._settings = settings

    def default_unavailable_reason(self, settings: NodeSettings) -> str:
        """Return why this node cannot attach the default network of *settings*, or ""."""
        scan = networks.scan(settings.conf_dirs, settings.ignored_networks)
        return availability.unavailable_reason(settings.default_network, scan, settings)

    def leave_alone(self, problem: str) -> NodeState:
        """Report *problem*, without settings in force; change nothing else on the node."""
        self._problem_file.write(problem)
        return NodeState({}, problem)

    def reconcile(self, unmet: str = "", refused: str = "") -> NodeState:
        """Install or remove Genie as the mode says; return the state after that.

        *unmet* is a sentence about wanted settings that are not in force here: it is the node's
        problem if there is no other. *refused* is why changed settings are invalid: only ``genie
        doctor`` shows it, since new pods are attached as the last valid settings say.
        """
        scan = networks.scan(self._settings.conf_dirs, self._settings.ignored_networks)
        self._ignored = scan.ignored

        problem = self._removal_problem = ""
        try:
            if self._settings.mode.is_leaving and self._remove():
                if self._plugin_removed:
                    self._problem_file.forget()  # it is removed with the plugin's files
                else:
                    self._write_problems(self._removal_problem, unmet, refused)
                is_complete = self._plugin_removed and not self._records.read()
                return NodeState(
                    {},
                    unmet,
                    conflist_removed=True,
                    plugin_removed=self._plugin_removed,
                    removal="" if is_complete else self._removal_report(scan),
                    settings=self._settings.live,
                )
            self._install(scan)
        except LabelsPendingError as error:
            problem = str(error)
        except (InstallError, ConflistError) as error:
            problem = str(error)
            self._emit("NotInstalled", problem)

        self._write_problems(problem, self._removal_problem, unmet, refused)
        self._emit_moves(scan)
        state = self._state(scan, problem)
        return state._replace(problem=problem or unmet)

    def _write_problems(self, *sentences: str) -> None:
        self._problem_file.write("\n".join(filter(None, sentences)))

    def absence_reason(self, name: str) -> str:
        """Return why the network *name* has no configuration."""
        return availability.absence_reason(name, self._settings, self._ignored)

    def _install(self, scan: Networks) -> None:
        """Install plugin and conflist, or apply at least the mode to the conflist in place.

        Raises :class:`InstallError`, :class:`ConflistError` or :class:`LabelsPendingError`.
        """
        try:
            self._install_plugin_and_conflist(scan)
        except InstallError:
            self._apply_choice()
            raise

    def _install_plugin_and_conflist(self, scan: Networks) -> None:
        """Install plugin and conflist, in this order. Raises as :meth:`_install` does."""
        default = self._settings.default_network
        if not default and not self._conflist.in_place:
            raise InstallError(_no_default_problem(scan))
        self._raise_where_multus_serves()

        for sentence in self._plugin.install():
            self._emit_restored(sentence)

        if not default:
            raise InstallError(_no_default_problem(scan))
        reason = availability.unavailable_reason(default, scan, self._settings)
        if reason:
            raise InstallError(f'default network "{default}" is not ready on this node: {reason}')

        self._write_conflist(conflists.render(self._settings))

    def _apply_choice(self) -> None:
        """Let the conflist in place offer the choice of networks that the mode offers.

        Both ways: the labels of the node follow the mode, and a conflist without a choice would
        give a pod the default network instead of the one that it names.
        """
        if self._conflist.offers_choice == self._settings.mode.offers_choice:
            return
        conflist = self._conflist.with_choice(self._settings)
        if conflist is not None:
            self._write_conflist(conflist)

    def _write_conflist(self, conflist: bytes) -> None:
        if self._takes_from_new_pods(conflist) and self._wait_for_labels():
            raise LabelsPendingError(self._labels_problem())

        # Again: a node that goes back to Multus may have lost our file meanwhile.
        self._raise_where_multus_serves()
        for sentence in self._conflist.install(conflist, self._clock()):
            self._emit_restored(sentence)

    def _raise_where_multus_serves(self) -> None:
        """Raise :class:`InstallError` if our conflist is not in place and would replace Multus."""
        if self._conflist.in_place:
            return

        settings, now = self._settings, self._clock()
        if availability.multus_conf(settings):
            self._multus_seen_at = now
        may_start = now - self._multus_seen_at < settings.start_seconds
        if problem := availability.multus_problem(settings, may_start=may_start):
            raise InstallError(problem)

    def _takes_from_new_pods(self, conflist: bytes) -> bool:
        """Return whether new pods get less with *conflist* than with the one in place."""
        if self._conflist.holds(conflist):
            return False
        settings = self._settings
        ends_definitions = self._conflist.attaches_definitions and not settings.attaches_definitions
        return ends_definitions or not settings.mode.offers_choice

    def _labels_problem(self) -> str:
        settings = self._settings
        is_of_definitions = settings.mode.offers_choice
        mode = settings.attachment_definitions_mode if is_of_definitions else settings.mode
        setting = "attachmentDefinitions.mode" if is_of_definitions else "mode"
        return (
            f"the agent waits up to {LABEL_SECONDS:.0f} s for the node labels to be updated "
            f'before it applies {setting} "{mode}"'
        )

    def _wait_for_labels(self) -> bool:
        """Begin or continue to wait for the labels; return whether there is still time to wait."""
        if self.published_settings == self._settings.live:
            return False

        now = self._clock()
        if self._waiting_since is None:
            self._waiting_since = now
        if now - self._waiting_since < LABEL_SECONDS:
            return True
        log.warning("mode applied before the node labels were updated", mode=self._settings.mode)
        return False

    def _remove(self) -> bool:
        """Remove what no pod needs any more; return whether the conflist is removed.

        An Event names the pods that still need it. The plugin and the records stay as long as there
        are such pods, and as long as a call that has begun may take. Raises :class:`ConflistError`.
        """
        has_blocking_pods = self._emit_blocking_pods()

        # If another program removed the conflist, it stays away: nothing brings it back.
        if self._conflist.in_place:
            self._conflist_removed_at, self._plugin_removed = None, False
            if has_blocking_pods:
                return False
            if self._wait_for_labels():
                self._removal_problem = self._labels_problem()
                return False
            self._conflist.remove()

        now = self._clock()
        if self._conflist_removed_at is None:
            self._conflist_removed_at = now
        has_running_calls = now - self._conflist_removed_at <= self._settings.deadline_seconds
        is_needed = has_blocking_pods or has_running_calls
        self._plugin_removed = not is_needed and self._remove_plugin()

        left = removal.left_records_problem(self._settings.state_dir)
        if left:
            self._emit("NotFreed", left)
        return True

    def _remove_plugin(self) -> bool:
        """Remove the plugin; return whether it is removed. An Event says why it is not."""
        try:
            self._plugin.remove()
        except InstallError as error:
            self._removal_problem = str(error)
            self._emit("NotInstalled", self._removal_problem)
            return False
        return True

    def _emit_blocking_pods(self) -> bool:
        """Emit an Event about pods that still need Genie; return whether there are any."""
        blocking, successor, ended_containers = self._blocking()
        if blocking:
            is_forced = self._settings.mode.is_forced
            problem = removal.blocking_problem(
                blocking, successor, ended_containers, is_forced=is_forced
            )
            self._emit("NotRemoved", problem)
            self._removal_problem = problem
        return bool(blocking)

    def _blocking(self) -> tuple[list[CachedRecord], str, set[str]]:
        """Return the records that block a removal, the successor, and the containers that ended."""
        successor = conf_dir.successor(self._settings.cni_conf_dir)
        ended_containers = ended_list.read(self._settings.state_dir)
        records = self._records.read().values()
        return (
            removal.blocking_records(records, successor, ended_containers),
            successor,
            ended_containers,
        )

    def _removal_report(self, scan: Networks) -> str:
        """Return the Node's annotation about its removal.

        It names the pods that need Genie in the modes that remove it only: it would be written
        again for every pod otherwise.
        """
        successor = conf_dir.successor(self._settings.cni_conf_dir)
        names = availability.names_of_file(scan, successor)
        version = self._plugin.version_in_place
        report = removal_report.RemovalReport(self._applied_mode(), names, plugin=version)
        if self._settings.mode.is_leaving:
            blocking, _, ended_containers = self._blocking()
            pods, ended = removal.owners(blocking, ended_containers)
            report = report._replace(pods=tuple(pods), ended_containers=ended)
        return removal_report.encode(report)

    def _applied_mode(self) -> Mode:
        """Return the mode by which new pods get networks.

        It is the former one while the agent cannot write or remove the conflist.
        """
        mode = self._settings.mode
        if mode.offers_choice:
            return mode
        try:
            if not self._conflist.in_place:
                return mode
            if self._conflist.offers_choice:
                return Mode.INSTALL
        except ConflistError:
            return mode
        # While pods block the removal, "remove" does what "disable" does.
        has_failed = mode.is_leaving and not self._removal_problem
        return Mode.DISABLE if has_failed else mode

    def _state(self, scan: Networks, problem: str) -> NodeState:
        """Return the state of the node; *problem* is that of installing."""
        settings = self._settings
        reasons = availability.unavailable_reasons(scan, settings)
        mode, default = settings.mode, settings.default_network
        if not problem or self._is_serving():
            state = serving_state(reasons, problem, mode=mode, default=default)
        else:
            bypass = self._bypass(scan)
            state = unserved_state(reasons, problem, mode=mode, default=default, bypass=bypass)
        return state._replace(
            plugin_types=availability.plugin_types(scan),
            removal=self._removal_report(scan),
            may_attach_definitions=self._may_attach_definitions(),
            settings=settings.live,
        )

    def _may_attach_definitions(self) -> bool:
        """Return whether pods that select definitions may be scheduled to this node.

        While definitions are only observed, the node's label tells that it is ready to attach them:
        no pod requires it yet. Where the runtime still calls Multus, Multus attaches them. Without
        the label there, pods would stay Pending until enough nodes have left Multus.
        """
        if self._settings.attachment_definitions_mode == "observe":
            return True
        if not self._settings.attaches_definitions:
            return False
        if self._is_serving():
            return self._conflist.attaches_definitions
        return bool(availability.multus_conf(self._settings))

    def _bypass(self, scan: Networks) -> list[str] | None:
        """Return the networks to which the runtime attaches new pods without Genie.

        None: the runtime attaches no pods without Genie. The answer is that after the agent tried
        to restore its files: a file that another program removes once never shows.
        """
        if not self._is_bypassed():
            return None
        effective = conf_dir.effective(self._settings.cni_conf_dir)
        files = availability.network_files(scan)
        return [name for name, file in files.items() if file.path == effective]

    def _is_serving(self) -> bool:
        """Return whether the runtime can call Genie, perhaps an earlier version or setting."""
        return self._is_loaded() and self._plugin.runs

    def _is_bypassed(self) -> bool:
        """Return whether the runtime attaches new pods without Genie.

        If the runtime loads our conflist and cannot start the plugin, each ADD fails and is
        retried: no pod gets a wrong network. Without any configuration no ADD is run at all: a
        node that boots has had no installer yet.
        """
        if self._is_loaded():
            return self._plugin.is_foreign
        return bool(conf_dir.effective(self._settings.cni_conf_dir))

    def _is_loaded(self) -> bool:
        """Return whether the runtime loads our conflist."""
        try:
            return self._conflist.loaded
        except ConflistError:
            return False

    def _emit_moves(self, scan: Networks) -> None:
        places = {name: file.path for name, file in availability.network_files(scan).items()}
        for move in self._moves.record_places(places, self._clock()):
            self._emit("NetworkMoved", move.sentence)

    def _emit_restored(self, sentence: str) -> None:
        self._count_restored()
        self._emit("Restored", sentence)

    def _emit(self, reason: str, message: str) -> None:
        self._events.emit(events.node(self._settings.node_name), reason, message)


def _no_default_problem(scan: Networks) -> str:
    names = ", ".join(sorted(scan.confs)) or "none"
    return (
        'no default network is set; set "default-network" in the ConfigMap genie (networks on this '
        f"node: {names})"
    )
