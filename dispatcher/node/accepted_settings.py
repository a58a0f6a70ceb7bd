"""The settings that the agent has accepted: a file of ``stateDir`` that tells the reaper.

The agent writes the file before it acts on new settings, atomically and synced. The reaper acts on
the settings of this file only, so both always act on the same ones. After a restart the agent has
its last good settings from here, whatever the ConfigMap contains by then.

``wanted`` are the settings of the ConfigMap that the agent accepted. ``in_force`` are those that it
acts on: the same, except what this node cannot have yet (a default network that it cannot attach, a
forced removal that nobody has confirmed). A file whose digest does not match counts as missing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from dispatcher.node import atomic_file
from dispatcher.node.settings import LIVE, LiveSettings
from dispatcher.node.settings_loader import parse
from dispatcher.state.store import ACCEPTED_SETTINGS, read_file

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1

log = structlog.get_logger("settings")


class AcceptedSettings(NamedTuple):
    """Settings that the agent has accepted; see the module."""

    wanted: LiveSettings
    in_force: LiveSettings


def generation(live: LiveSettings) -> str:
    """Return the generation of *live*: a digest, the same on every node for the same values."""
    return _digest(_texts(live))[:12]


def write(state_dir: Path, accepted: AcceptedSettings) -> None:
    """Write *accepted* for the reaper and the next agent. Raises OSError."""
    content = {
        "format": FORMAT,
        "wanted": _texts(accepted.wanted),
        "in-force": _texts(accepted.in_force),
    }
    data = json.dumps({**content, "digest": _digest(content)}, indent=1).encode() + b"\n"
    atomic_file.replace(state_dir / ACCEPTED_SETTINGS, data, 0o600)


def read(state_dir: Path) -> AcceptedSettings | None:
    """Return what the agent accepted last, or None: nothing, or the file cannot be read."""
    path = state_dir / ACCEPTED_SETTINGS
    try:
        content = json.loads(read_file(str(path)))
        digest = content.pop("digest")
        if content["format"] != FORMAT or digest != _digest(content):
            raise ValueError("the digest does not match")  # noqa: TRY301 - one way out
        return AcceptedSettings(_live(content["wanted"]), _live(content["in-force"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        log.warning("accepted settings ignored", path=str(path), error=str(error))
        return None


def _texts(live: LiveSettings) -> dict[str, str]:
    """Return *live* as texts, as in the ConfigMap."""
    values = {name: getattr(live, name) for name in LIVE}
    return {
        name: ",".join(value) if isinstance(value, tuple) else str(value)
        for name, value in values.items()
    }


def _live(texts: dict[str, str]) -> LiveSettings:
    """Return the settings of *texts*, of any version: what is missing has its default.

    Raises :class:`dispatcher.kube.errors.InvalidSettingsError`, which is a ValueError.
    """
    return LiveSettings(**parse(dataclasses.fields(LiveSettings), texts, str))


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
