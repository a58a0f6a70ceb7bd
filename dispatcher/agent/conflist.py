"""Writes the file that makes the container runtime call Genie: ``00-genie.conflist``.

:func:`render` makes its content from the settings. :class:`ConflistFile` writes it, and restores it
when another program removes or changes it. If that happens twice within a minute, the agent backs
off for ten minutes and reports the other program, because two programs that undo each other's work
harm every pod.

Rules: only the reconciler decides on :meth:`ConflistFile.install` and :meth:`ConflistFile.remove`,
and it installs only if Genie can work. Until then it changes in the file only whether new pods have
a choice of networks. A file of this name that Genie did not write is not touched.
"""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING

from dispatcher import keys
from dispatcher.node import atomic_file, conf_dir

if TYPE_CHECKING:
    from pathlib import Path

    from dispatcher.node.settings import NodeSettings

CAPABILITIES = (
    "portMappings",
    "bandwidth",
    "ipRanges",
    "ips",
    "mac",
    "dns",
    "aliases",
    "cgroupPath",
    "infinibandGUID",
    "deviceID",
)
"""Capabilities that a runtime may pass to the plugin, for a primary that declares them."""

CONFLICT_SECONDS = 60.0
"""If the file is lost twice within this time, another program competes for it."""

BACKOFF_SECONDS = 600.0
"""How long the agent does not write the file after that."""

CILIUM_SUFFIX = ".cilium_bak"
"""Suffix that Cilium's agent appends to the configurations of others (``cni.exclusive``)."""


class ConflistError(Exception):
    """The conflist cannot be installed; the text names the file, the reason and the fix."""


def render(settings: NodeSettings) -> bytes:
    """Return the content of the conflist for *settings*.

    In a mode that offers no choice of networks, the conflist does not declare annotations and the
    plugin does not ask the agent, so that every new pod gets the default network.
    """
    disabled = not settings.mode.offers_choice
    declared = CAPABILITIES if disabled else (keys.POD_ANNOTATIONS, *CAPABILITIES)
    plugin: dict[str, object] = {
        "type": keys.PLUGIN_TYPE,
        "default": settings.default_network,
        "capabilities": dict.fromkeys(declared, True),
        "confDirs": list(settings.conf_dirs),
        "stateDir": str(settings.state_dir),
        "agentSocket": "" if disabled else str(settings.socket),
        "deadlineSeconds": settings.deadline_seconds,
    }
    if own_args := _own_args(settings):
        plugin["args"] = {keys.CONF_ARGS: own_args}
    conflist = {
        "cniVersion": "1.0.0",
        "cniVersions": ["0.4.0", "1.0.0", "1.1.0"],
        "name": "genie",
        "plugins": [plugin],
    }
    return json.dumps(conflist, indent=2).encode() + b"\n"


def with_choice(content: bytes, settings: NodeSettings) -> bytes | None:
    """Return the conflist *content* with the choice of networks that *settings* offer, or None.

    The rest of it stays, such as the default network. None: it cannot be read.
    """
    [rendered] = json.loads(render(settings))["plugins"]
    try:
        conflist = json.loads(content)
        [plugin] = conflist["plugins"]
        plugin.update({key: rendered[key] for key in ("capabilities", "agentSocket")})
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    return json.dumps(conflist, indent=2).encode() + b"\n"


def _own_args(settings: NodeSettings) -> dict[str, object]:
    """Return the options in ``args``.

    They are not beside the other options: an older plugin refuses an option that it does not know,
    and after a downgrade it may meet this file before its agent has replaced it.
    """
    options: dict[str, object] = {}
    if settings.limits == "enforce":
        options["maxAttachments"] = settings.max_attachments
        options["maxPerNetwork"] = settings.max_per_network
    if settings.attaches_definitions:
        options["attachmentDefinitions"] = "enforce"
        options["missingCapability"] = settings.missing_capability
        options["excludedNamespaces"] = list(settings.excluded_namespaces)
        options["multusNamespace"] = settings.multus_namespace
    return options


class ConflistFile:
    """Our file in the runtime's configuration directory, and its losses to other programs."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / keys.CONFLIST
        self._written: bytes | None = None
        self._losses: deque[float] = deque(maxlen=2)
        self._backoff_until = 0.0

    @property
    def in_place(self) -> bool:
        """Whether the file is a conflist of ours, perhaps with earlier settings."""
        return self._is_ours(self._read())

    def holds(self, content: bytes) -> bool:
        """Return whether the file has this *content*."""
        return self._read() == content

    def with_choice(self, settings: NodeSettings) -> bytes | None:
        """Return :func:`with_choice` of the file; None if it is not there, or not ours."""
        content = self._read()
        return with_choice(content, settings) if content and self._is_ours(content) else None

    @property
    def attaches_definitions(self) -> bool:
        """Whether new pods are attached to definitions by the file that there is.

        It may be of an earlier setting. A file that is not there, or not ours, attaches none.
        """
        return self._option("args", keys.CONF_ARGS, "attachmentDefinitions") == "enforce"

    @property
    def offers_choice(self) -> bool:
        """Whether new pods get the networks that they name by the file that there is.

        It may be of an earlier mode. A file that is not there, or not ours, offers no choice.
        """
        return self._option("capabilities", keys.POD_ANNOTATIONS) is True

    def _option(self, *path: str) -> object:
        """Return the option of the plugin at *path* in the file, or None."""
        content = self._read()
        try:
            [option] = json.loads(content or b"")["plugins"]
            for key in path:
                option = option[key]
        except (ValueError, LookupError, TypeError):
            return None
        return option

    @property
    def loaded(self) -> bool:
        """Whether the runtime loads a conflist of ours."""
        return self.in_place and self._shadow() is None

    def install(self, content: bytes, now: float) -> list[str]:
        """Write *content* if the file differs; return the restored files, a sentence each.

        *now* is a monotonic time in seconds. Raises :class:`ConflistError`.
        """
        current = self._read()
        if current == content:
            self._written = content
            self._raise_if_shadowed()
            return []
        if current is not None and not self._is_ours(current):
            raise ConflistError(
                f"{self.path} exists but was not written by Genie; "
                "move it out of this directory, and the agent will continue"
            )

        is_lost = self._written is not None and current != self._written
        if is_lost:
            self._count_loss(now)
        if now < self._backoff_until:
            raise ConflistError(self._conflict_problem())

        try:
            atomic_file.replace(self.path, content, 0o644)
        except OSError as error:
            raise ConflistError(f"the agent cannot write {self.path}: {error.strerror}") from None
        self._written = content
        self._raise_if_shadowed()
        change = "was deleted" if current is None else "was changed"
        return [f"{self.path} {change}; restored"] if is_lost else []

    def remove(self) -> None:
        """Remove our conflist, if it is there. Raises :class:`ConflistError`."""
        self._written = None
        if not self._is_ours(self._read()):
            return
        try:
            self.path.unlink(missing_ok=True)
            atomic_file.sync(self.path.parent)
        except OSError as error:
            raise ConflistError(f"the agent cannot remove {self.path}: {error.strerror}") from None

    def _read(self) -> bytes | None:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConflistError(f"the agent cannot read {self.path}: {error.strerror}") from None

    @staticmethod
    def _is_ours(content: bytes | None) -> bool:
        return content is not None and f'"{keys.PLUGIN_TYPE}"'.encode() in content

    def _count_loss(self, now: float) -> None:
        self._written = None  # each loss is counted once
        self._losses.append(now)
        is_full = len(self._losses) == self._losses.maxlen
        if is_full and now - self._losses[0] <= CONFLICT_SECONDS:
            self._backoff_until = now + BACKOFF_SECONDS
            self._losses.clear()

    def _conflict_problem(self) -> str:
        minutes = f"{BACKOFF_SECONDS / 60:.0f} minutes"
        if self.path.with_name(self.path.name + CILIUM_SUFFIX).exists():
            return (
                f"Cilium renames {self.path}, so the agent does not write it for {minutes}; "
                'set "cni.exclusive: false" in Cilium\'s values'
            )
        return (
            f"another program keeps removing or changing {self.path}, so the agent does not write "
            f"it for {minutes}; find the program that manages {self.path.parent} and make it leave "
            "this file alone"
        )

    def _raise_if_shadowed(self) -> None:
        shadow = self._shadow()
        if shadow is not None:
            raise ConflistError(
                f"{shadow} sorts before {self.path.name}, so the runtime loads it instead; "
                f"rename it so that it sorts after {self.path.name}"
            )

    def _shadow(self) -> Path | None:
        """Return the file that the runtime loads instead of ours, if there is one."""
        first = min(conf_dir.configurations(self.path.parent), default=self.path)
        return first if first < self.path else None
