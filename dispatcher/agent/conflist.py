"""The file that makes the container runtime call Genie: ``00-genie.conflist``.

How it works: :func:`render` makes its text from the settings. :class:`Conflist` puts it in
place and keeps it there. It counts how often another program took it away or changed it:
after the second time in a minute the agent stops fighting for ten minutes and says who it
was and what to do, because two programs that undo each other's work harm every pod.

Rules: it is written only when it would work (the caller knows) and never removed but on
request; a file of this name that is not ours is not touched.
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
"""What a runtime may hand to the plugin, which passes it on to a primary that declares it."""

FIGHT_SECONDS = 60.0
"""Losing the file twice in so long is a fight."""

TRUCE_SECONDS = 600.0
"""For so long the agent does not write the file after a fight."""

BACKUP = ".cilium_bak"
"""What Cilium's agent appends to the configurations of others (``cni.exclusive``)."""


class ConflistError(Exception):
    """The conflist cannot be in place; the text names the file, the reason and the cure."""


def render(settings: NodeSettings) -> bytes:
    """Return the conflist that *settings* ask for.

    Disabled, and on the way to being removed, the runtime is not asked for annotations and the
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
    if settings.limits == "enforce":
        # In "args" and not beside the other options: an older plugin refuses an option that it does
        # not know, and after a downgrade it may meet this file before its agent has replaced it.
        limits = {
            "maxAttachments": settings.max_attachments,
            "maxPerNetwork": settings.max_per_network,
        }
        plugin["args"] = {keys.CONF_ARGS: limits}
    conflist = {
        "cniVersion": "1.0.0",
        "cniVersions": ["0.4.0", "1.0.0", "1.1.0"],
        "name": "genie",
        "plugins": [plugin],
    }
    return json.dumps(conflist, indent=2).encode() + b"\n"


class ConflistFile:
    """Our file in the runtime's configuration directory, and who else wants it away."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / keys.CONFLIST
        self._written: bytes | None = None
        self._losses: deque[float] = deque(maxlen=2)
        self._truce_until = 0.0

    @property
    def in_place(self) -> bool:
        """Whether a conflist of ours is there now, be it of an earlier setting."""
        return self._ours(self._read())

    def holds(self, wanted: bytes) -> bool:
        """Whether *wanted* is in place already."""
        return self._read() == wanted

    @property
    def loaded(self) -> bool:
        """Whether a conflist of ours is what the runtime loads."""
        return self.in_place and self._shadow() is None

    def install(self, wanted: bytes, now: float) -> list[str]:
        """Put *wanted* in place; returns what had to be restored, in sentences.

        *now* is a monotonic time in seconds. Raises :class:`ConflistError`.
        """
        current = self._read()
        if current == wanted:
            self._written = wanted
            self._refuse_shadow()
            return []
        if current is not None and not self._ours(current):
            raise ConflistError(
                f"{self.path} is there and is not ours: move it away, and the agent goes on"
            )
        lost = self._written is not None and current != self._written
        if lost:
            self._count(now)
        if now < self._truce_until:
            raise ConflistError(self._complaint())
        try:
            atomic_file.replace(self.path, wanted, 0o644)
        except OSError as error:
            raise ConflistError(f"{self.path}: {error.strerror}") from None
        self._written = wanted
        self._refuse_shadow()
        verb = "was gone" if current is None else "was changed"
        return [f"{self.path} {verb}; it is as it should be again"] if lost else []

    def remove(self) -> None:
        """Take our conflist away, if it is there."""
        self._written = None
        if self._ours(self._read()):
            self.path.unlink()
            atomic_file.sync(self.path.parent)

    def _read(self) -> bytes | None:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConflistError(f"{self.path}: {error.strerror}") from None

    @staticmethod
    def _ours(content: bytes | None) -> bool:
        return content is not None and f'"{keys.PLUGIN_TYPE}"'.encode() in content

    def _count(self, now: float) -> None:
        self._written = None  # one loss is counted once
        self._losses.append(now)
        full = len(self._losses) == self._losses.maxlen
        if full and now - self._losses[0] <= FIGHT_SECONDS:
            self._truce_until = now + TRUCE_SECONDS
            self._losses.clear()

    def _complaint(self) -> str:
        backup = self.path.with_name(self.path.name + BACKUP)
        if backup.exists():
            return (
                f"Cilium renames {self.path} (cni.exclusive); the agent has stopped writing it "
                'for ten minutes. Set "cni.exclusive: false" in Cilium\'s values'
            )
        return (
            f"another program keeps taking {self.path} away; the agent has stopped writing it "
            "for ten minutes. Find what manages that directory and let it leave our file alone"
        )

    def _refuse_shadow(self) -> None:
        shadow = self._shadow()
        if shadow is not None:
            raise ConflistError(
                f"{shadow} sorts before {self.path.name}, so the runtime loads it instead: "
                f"rename it so that it sorts after {self.path.name}"
            )

    def _shadow(self) -> Path | None:
        """Return the file that the runtime loads instead of ours, if there is one."""
        first = min(conf_dir.configurations(self.path.parent), default=self.path)
        return first if first < self.path else None
