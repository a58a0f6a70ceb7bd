"""One look at the node: what it has in, plugin and conflist in place, what it can attach out.

How it works: a look reads the networks' configurations, sees to the plugin and then to the
conflist, and returns a :class:`NodeState`. It runs every few seconds and whenever a configuration
changes. Every look reads all configurations; of the plugin's files it asks for their ``stat``.

Rules: the conflist is written only when the plugin is complete and the default network is
ready, that is, its configuration is readable and every executable of its chain is there.
Until then the node keeps what it had. Where the mode takes the choice of networks from new pods,
the node's labels say so first: else the scheduler sends pods here that get another network than
they ask for. Nothing waits long for the API server.
"""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import structlog

from dispatcher import networks
from dispatcher.agent import conflist as conflists
from dispatcher.agent import events
from dispatcher.agent.conflist import BACKUP, ConflistError, ConflistFile
from dispatcher.agent.installer import InstallError, PluginInstaller
from dispatcher.agent.label_policy import PATIENT, Patience
from dispatcher.agent.moves import Moves
from dispatcher.conf import InvalidConfError, load
from dispatcher.node import atomic_file, conf_dir, gone_containers, removal
from dispatcher.node.record_cache import RecordCache
from dispatcher.state import store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from dispatcher.conf import Conf
    from dispatcher.networks import Networks
    from dispatcher.node.settings import NodeSettings


LABEL_SECONDS = 60.0
"""For so long the mode waits for the labels; with the API server away nobody is scheduled either,
but what was bound before is attached."""

log = structlog.get_logger("node")


class LabelsPendingError(Exception):
    """The node's labels do not say yet what the mode is about to take from new pods."""


class NodeState(NamedTuple):
    """The state of the node after a reconciliation.

    ``networks`` are those that have a configuration, each with the reason why this node cannot
    attach it ("": it can). ``problem`` is why new pods are not attached as the settings say ("":
    they are). ``patience`` says how soon labels must follow. ``conflist_removed``: the mode has
    removed the conflist. ``plugin_removed``: the plugin, too, so that the files in its state
    directory may be removed. ``plugin_types`` are those of each network whose configuration can
    be read.
    """

    networks: dict[str, str]
    problem: str
    patience: Patience = PATIENT
    conflist_removed: bool = False
    plugin_removed: bool = False
    plugin_types: Mapping[str, Sequence[str]] = MappingProxyType({})


class NodeReconciler:
    """The node's files, as *settings* want them."""

    def __init__(
        self,
        settings: NodeSettings,
        plugin: PluginInstaller,
        say: events.Events,
        restored: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.labels_published = False
        """Whether the node's labels say what a look has found; whoever publishes them sets it."""
        self._settings = settings
        self._plugin = plugin
        self._conflist = ConflistFile(settings.cni_conf_dir)
        self._events = say
        self._restored = restored
        self._clock = clock
        self._records = RecordCache(settings.state_dir)
        self._waiting_since: float | None = None
        self._left_at: float | None = None
        self._plugin_removed = False
        self._noted: str | None = None
        self._ignored: set[str] = set()
        self._moves = Moves(settings.state_dir)

    def reconcile(self) -> NodeState:
        """Look once, and put in place what is not."""
        found = networks.scan(self._settings.conf_dirs, self._settings.ignored_networks)
        self._ignored = found.ignored
        problem = ""
        try:
            if self._settings.mode.is_leaving and self._remove():
                self._noted = None
                return NodeState({}, "", conflist_removed=True, plugin_removed=self._plugin_removed)
            self._install(found)
        except LabelsPendingError as passing:
            problem = str(passing)
        except (InstallError, ConflistError) as error:
            problem = str(error)
            self._emit("NotInstalled", problem)
        self._note(problem)
        self._tell_moved(found)
        return self._view(found, problem)._replace(plugin_types=_plugin_types(found))

    def _install(self, found: Networks) -> None:
        default = self._settings.default_network
        if not default and not self._conflist.in_place:
            raise InstallError(_unset(found))
        for sentence in self._plugin.install():
            self._tell_restored(sentence)
        if not default:
            raise InstallError(_unset(found))
        reason = self._reason(default, found)
        if reason:
            raise InstallError(f'the default network "{default}" is not ready: {reason}')
        wanted = conflists.render(self._settings)
        if not self._conflist.holds(wanted) and self._waits():
            raise LabelsPendingError(
                f'the mode "{self._settings.mode}" takes effect when this node\'s labels say that '
                "it attaches the default network only; if the API server does not answer, after "
                f"{LABEL_SECONDS:.0f} seconds"
            )
        for sentence in self._conflist.install(wanted, self._clock()):
            self._tell_restored(sentence)

    def _waits(self) -> bool:
        """Tell whether the scheduler may still send pods here that would not get their network."""
        if self._settings.mode.offers_choice or self.labels_published:
            return False
        if self._waiting_since is None:
            self._waiting_since = self._clock()
        if self._clock() - self._waiting_since < LABEL_SECONDS:
            return True
        log.warning("the mode takes effect before the labels are set", mode=self._settings.mode)
        return False

    def _remove(self) -> bool:
        """Take Genie from the node where no pod needs it; tells whether the conflist is gone.

        Pods in the way are named in an Event. The plugin and the records stay as long as there are
        any, whoever took the conflist, and as long as a call that has begun may take.
        """
        following = conf_dir.successor(self._settings.cni_conf_dir)
        absent = gone_containers.read(self._settings.state_dir)
        blocking = removal.blocking_records(self._records.read().values(), following, absent)
        if blocking:
            force = self._settings.mode.is_forced
            self._emit(
                "NotRemoved", removal.blocking_problem(blocking, following, absent, is_forced=force)
            )
        if self._conflist.in_place:  # once it is gone, nothing brings it back
            self._left_at, self._plugin_removed = None, False
            if blocking or self._waits():
                return False
            self._conflist.remove()
        if self._left_at is None:
            self._left_at = self._clock()
        waited = self._clock() - self._left_at
        self._plugin_removed = not blocking and waited > self._settings.deadline_seconds
        if self._plugin_removed:
            self._plugin.remove()
        left = removal.left_records_problem(self._settings.state_dir)
        if left:
            self._emit("NotFreed", left)
        return True

    def _view(self, found: Networks, problem: str) -> NodeState:
        """Return each network with why it cannot be attached, and how soon labels must say so."""
        reasons = {name: self._reason(name, found) for name in _published(found)}
        offers_choice = self._settings.mode.offers_choice
        default = self._settings.default_network
        patience = PATIENT if offers_choice else Patience(frozenset({default}))
        if problem and not self._usable():
            absent = f"Genie does not attach pods on this node: {problem}"
            if self._attaches_otherwise():
                patience = self._patience_bypassed(reasons, found)
            return NodeState(dict.fromkeys(reasons, absent), problem, patience)

        if not offers_choice:
            reason = f"the agent's mode is {self._settings.mode}"
            reasons = {name: why if name == default else reason for name, why in reasons.items()}
        return NodeState(reasons, problem, patience)

    def _attaches_otherwise(self) -> bool:
        """Return whether the runtime attaches new pods, but not by Genie.

        If the runtime loads our conflist and cannot start the plugin, each ADD fails and is
        retried: no pod gets a wrong network. Without any configuration no ADD is run at all: a
        node that boots has had no installer yet.
        """
        if self._is_loaded():
            return self._plugin.is_foreign
        return bool(conf_dir.effective(self._settings.cni_conf_dir))

    def _patience_bypassed(self, reasons: dict[str, str], found: Networks) -> Patience:
        """Return how soon labels must follow when the runtime attaches pods without Genie.

        This is the state at the end of a look, after the agent tried to restore its files: what
        another program takes away once, and is back, never shows.
        """
        effective = conf_dir.effective(self._settings.cni_conf_dir)
        unchanged = {
            name
            for name, reason in reasons.items()
            if not reason and found.confs[name].path == effective
        }
        return Patience(frozenset(), frozenset(unchanged))

    def _usable(self) -> bool:
        """Return whether the runtime calls Genie, whatever else is not as it should be."""
        return self._is_loaded() and self._plugin.runs

    def _is_loaded(self) -> bool:
        """Return whether the runtime loads our conflist."""
        try:
            return self._conflist.loaded
        except ConflistError:
            return False

    def _reason(self, name: str, found: Networks) -> str:
        if name in found.broken_names:
            return str(found.broken_names[name])
        if name not in found.confs:
            return self.absence_reason(name)
        directories = self._settings.bin_dirs
        absent = networks.missing_executables(found.confs[name], directories)
        if absent:
            return f"{' or '.join(directories)} has no executable {', '.join(absent)}"
        return ""

    def absence_reason(self, name: str) -> str:
        """Return why *name* has no configuration, as far as settings and directories tell."""
        if name in self._ignored:
            return 'the setting "ignored-networks" leaves it out'
        for directory in (self._settings.extra_conf_dir, self._settings.cni_conf_dir):
            for path in _listed(directory):
                if path.name.endswith(BACKUP) and name in _names(path):
                    return f"Cilium has renamed its configuration to {path} (cni.exclusive)"
        return f"no configuration in {' or '.join(self._settings.conf_dirs)}"

    def _note(self, problem: str) -> None:
        """Leave *problem* on the node for ``genie doctor``, which cannot ask the agent."""
        if problem == self._noted:
            return
        path = self._settings.state_dir / store.AGENT_PROBLEM
        try:
            if problem:
                atomic_file.replace(path, problem.encode() + b"\n", 0o600)
            else:
                path.unlink(missing_ok=True)
        except OSError:
            return  # tried again with the next look; doctor tells of such a folder by itself
        self._noted = problem

    def _tell_moved(self, found: Networks) -> None:
        winners: dict[str, Conf | InvalidConfError] = {**found.broken_names, **found.confs}
        places = {name: winners[name].path for name in _published(found)}
        for move in self._moves.record_places(places, self._clock()):
            self._emit("NetworkMoved", move.sentence)

    def _tell_restored(self, sentence: str) -> None:
        self._restored()
        self._emit("Restored", sentence)

    def _emit(self, reason: str, sentence: str) -> None:
        self._events.emit(events.node(self._settings.node_name), reason, sentence)


def _names(backup: Path) -> set[str]:
    """Return what the network in *backup* was called while its file had its own name."""
    entry: Conf | InvalidConfError
    try:
        entry = load(str(backup))
    except InvalidConfError as error:
        entry = error
    return {name for _, name in networks.claims(str(backup).removesuffix(BACKUP), entry)}


def _published(found: Networks) -> set[str]:
    """Return the names to publish: ``10-canal`` is no name of its own beside ``canal``."""
    names: dict[str, object] = {**found.broken_names, **found.confs}
    shorter = {name: name.lstrip("0123456789").removeprefix("-") for name in names}
    return {
        name for name, rest in shorter.items() if rest == name or names[name] != names.get(rest)
    }


def _plugin_types(found: Networks) -> dict[str, list[str]]:
    return {name: found.confs[name].types for name in _published(found) if name in found.confs}


def _listed(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def _unset(found: Networks) -> str:
    names = ", ".join(sorted(found.confs)) or "none"
    return (
        "no default network is set, so pods are not attached through Genie; set "
        f'"default-network" in the ConfigMap genie (networks of this node: {names})'
    )
