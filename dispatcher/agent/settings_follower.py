"""Follows the settings of the ConfigMap ``genie`` while the agent runs.

A call of :meth:`SettingsFollower.follow` reads the mounted ConfigMap and returns the settings that
are in force on this node:

    mounted settings                     in force
    as accepted before                   the accepted ones
    changed, valid                       the accepted ones for a random time, then the new ones
    invalid                              the accepted ones; Event SettingsRefused
    no valid ones since the first start  none: nothing is installed or removed

Of the accepted settings, two wait for something on this node:

    a new default network       until this node can attach it; until then the former default stays
    the mode "remove --force"   until the Node is annotated; until then the former mode stays

Rules:

- At its start the agent accepts valid settings at once: a rollout starts agents one after the
  other. The random time is for changes, which reach all nodes together.
- Settings are written for the reaper (:mod:`dispatcher.node.accepted_settings`) before they are
  returned. If that fails, the former ones stay in force.
"""

from __future__ import annotations

import dataclasses
import random
import time
from typing import TYPE_CHECKING, NamedTuple

import structlog

from dispatcher import keys
from dispatcher.agent import events
from dispatcher.kube.errors import InvalidSettingsError
from dispatcher.node import accepted_settings, settings_dir
from dispatcher.node.accepted_settings import AcceptedSettings
from dispatcher.node.settings import LIVE
from dispatcher.state import store

if TYPE_CHECKING:
    from collections.abc import Callable

    from dispatcher.agent.events import Events
    from dispatcher.node.settings import LiveSettings, NodeSettings

log = structlog.get_logger("settings")


class Resolution(NamedTuple):
    """What of the accepted settings is in force (None: nothing), and what is not, and why.

    ``default_kept`` and ``unconfirmed`` are sentences, or "".
    """

    in_force: LiveSettings | None
    default_kept: str = ""
    unconfirmed: str = ""


class SettingsFollower:
    """Returns the settings in force on the node of *settings*.

    ``unavailable_reason(settings)`` returns why this node cannot attach the default network of
    *settings*, or "". ``uniform(a, b)`` returns a random number between *a* and *b*. *clock* is
    monotonic.
    """

    def __init__(
        self,
        settings: NodeSettings,
        emitter: Events,
        *,
        unavailable_reason: Callable[[NodeSettings], str],
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.refused = ""
        """Why the mounted settings are invalid, or ""."""
        self.unmet = ""
        """What of the accepted settings is not in force on this node, and why, or ""."""
        self._settings = settings
        self._events = emitter
        self._unavailable_reason = unavailable_reason
        self._clock = clock
        self._uniform = uniform

        self._accepted = accepted_settings.read(settings.state_dir)
        self._wanted = self._accepted.wanted if self._accepted else None
        self._is_starting = True
        self._candidate: LiveSettings | None = None
        self._due_at = 0.0

    @property
    def awaits_confirmation(self) -> bool:
        """Whether the mode "remove --force" is accepted and not in force."""
        is_in_force = self._accepted is not None and self._accepted.in_force.mode.is_forced
        return self._wanted is not None and self._wanted.mode.is_forced and not is_in_force

    def follow(self, *, is_confirmed: bool) -> NodeSettings | None:
        """Return the settings in force, or None if there are none yet.

        *is_confirmed*: the Node has the annotation that confirms the mode "remove --force".
        """
        mounted = self._read()
        if mounted is not None and self._is_due(mounted):
            self._wanted = mounted
        self._is_starting = False

        if self._wanted is not None:
            self._put_in_force(self._wanted, is_confirmed=is_confirmed)
        return self._settings.with_live(self._accepted.in_force) if self._accepted else None

    def _read(self) -> LiveSettings | None:
        """Return the mounted settings, or None if they are invalid."""
        if self._settings.settings_dir is None:
            return self._settings.live
        try:
            mounted = settings_dir.read(self._settings.settings_dir)
        except InvalidSettingsError as error:
            self.refused = str(error)
            self._candidate = None
            consequence = (
                "the settings before them stay in force"
                if self._accepted
                else "this node has had no valid settings yet, so nothing is installed or removed"
            )
            message = f"changed settings are refused: {error}; {consequence}"
            self._emit("SettingsRefused", message)
            return None
        self.refused = ""
        return mounted

    def _is_due(self, mounted: LiveSettings) -> bool:
        """Return whether to accept *mounted* now; choose the time when they are new."""
        if mounted == self._wanted:
            self._candidate = None
            return False
        if self._is_starting or self._wanted is None:
            return True

        now = self._clock()
        if mounted != self._candidate:
            delay = self._uniform(0.0, self._settings.settings_delay_seconds)
            self._candidate, self._due_at = mounted, now + delay
            changes = _changes(mounted, self._wanted)
            log.info("settings changed", applied_in=round(delay, 1), changes=changes)
        return now >= self._due_at

    def _put_in_force(self, wanted: LiveSettings, *, is_confirmed: bool) -> None:
        """Bring in force what this node can have of *wanted*, and emit what it cannot."""
        former = self._accepted.in_force if self._accepted else None
        resolution = resolve(
            wanted,
            former,
            reason=lambda: self._unavailable_reason(self._settings.with_live(wanted)),
            is_confirmed=is_confirmed,
            node=self._settings.node_name,
        )
        if resolution.default_kept:
            self._emit("DefaultNetworkKept", resolution.default_kept)
        if resolution.unconfirmed:
            self._emit("RemovalUnconfirmed", resolution.unconfirmed)
        self.unmet = "; ".join(filter(None, (resolution.default_kept, resolution.unconfirmed)))

        if resolution.in_force is not None:
            self._accept(AcceptedSettings(wanted, resolution.in_force))

    def _accept(self, accepted: AcceptedSettings) -> None:
        """Write *accepted* for the reaper, then make it the settings in force."""
        if accepted == self._accepted and self._is_stored(accepted):
            return
        try:
            accepted_settings.write(self._settings.state_dir, accepted)
        except OSError as error:
            self.unmet = f"cannot write {self._settings.state_dir}: {error.strerror}"
            self._emit("NotInstalled", f"changed settings are not applied: {self.unmet}")
            return

        former = self._accepted.in_force if self._accepted else None
        self._accepted = accepted
        if accepted.in_force != former and self._settings.settings_dir is not None:
            changes = _changes(accepted.in_force, former)
            self._emit("SettingsApplied", f"settings applied: {changes}", warning=False)

    def _is_stored(self, accepted: AcceptedSettings) -> bool:
        """Return whether the file has *accepted*, or is missing because Genie leaves the node."""
        state_dir = self._settings.state_dir
        if accepted_settings.read(state_dir) == accepted:
            return True
        is_removed = not (state_dir / store.ACCEPTED_SETTINGS).exists()
        return is_removed and accepted.in_force.mode.is_leaving

    def _emit(self, reason: str, message: str, *, warning: bool = True) -> None:
        node = events.node(self._settings.node_name)
        self._events.emit(node, reason, message, warning=warning)


def resolve(
    wanted: LiveSettings,
    former: LiveSettings | None,
    *,
    reason: Callable[[], str],
    is_confirmed: bool,
    node: str,
) -> Resolution:
    """Return what of *wanted* is in force on *node*, where *former* was.

    *reason* returns why the node cannot attach the default network of *wanted*, or "".
    """
    in_force, default_kept, unconfirmed = wanted, "", ""
    old = former.default_network if former else ""
    is_new_default = wanted.default_network not in {"", old}

    if old and is_new_default and not wanted.mode.is_leaving and (why := reason()):
        in_force = dataclasses.replace(in_force, default_network=old)
        default_kept = (
            f'default network "{wanted.default_network}" is not ready on this node: {why}; '
            f'new pods without a choice still get "{old}"'
        )

    has_begun = former is not None and former.mode.is_forced
    if wanted.mode.is_forced and not has_begun and not is_confirmed:
        annotation = f"{keys.CONFIRM_REMOVE}={keys.CONFIRM_FORCE}"
        kept = f'mode "{former.mode}" stays' if former else "nothing is installed or removed"
        unconfirmed = (
            f'mode "{wanted.mode}" is not confirmed for this node, so {kept}; to release the '
            f"networks of its running pods: kubectl annotate node {node} {annotation}"
        )
        if former is None:
            return Resolution(None, default_kept, unconfirmed)
        in_force = dataclasses.replace(in_force, mode=former.mode)
    return Resolution(in_force, default_kept, unconfirmed)


def _changes(live: LiveSettings, former: LiveSettings | None = None) -> str:
    """Return the values of *live* that differ from *former*, for a person."""
    changed = [
        f'{name.replace("_", "-")} "{_shown(getattr(live, name))}"'
        for name in LIVE
        if former is None or getattr(live, name) != getattr(former, name)
    ]
    return ", ".join(changed)


def _shown(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)
