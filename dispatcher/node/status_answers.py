"""Pass what the networks answered to STATUS from the reaper to the agent.

Only the reaper may run plugins, and only the agent may write labels. The answers are a file of
``stateDir``, which the agent reads each time it reconciles the node: ``{"time": 1700000000.1,
"answers": {"weave": [50, "no daemon"]}}``, with the time of the pass in seconds of the epoch. A
network that did not answer, or whose configuration is older than CNI 1.1, is not in it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import structlog

from dispatcher.node import atomic_file
from dispatcher.state.store import STATUS_ANSWERS, read_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

READY = 0
"""The code of a network that new pods can be attached to."""

log = structlog.get_logger("reaper")


class StatusAnswer(NamedTuple):
    """The answer of a network: ``code`` 0, 50 or 51, and the plugin's sentence."""

    code: int
    msg: str = ""


class StatusAnswers(NamedTuple):
    """The answers of one pass, by network; ``time`` in seconds of the epoch."""

    time: float
    by_network: dict[str, StatusAnswer]


NO_ANSWERS = StatusAnswers(0.0, {})


def write(state_dir: Path, time: float, answers: Mapping[str, StatusAnswer]) -> None:
    """Write the *answers* of a pass that ended at *time*.

    A failure is only logged, since the reaper writes them again in its next pass.
    """
    try:
        content = json.dumps({"time": time, "answers": answers}).encode()
        atomic_file.replace(state_dir / STATUS_ANSWERS, content, 0o600)
    except OSError as error:
        log.warning("cannot pass the answers to STATUS to the agent", error=str(error))


def read(state_dir: Path) -> StatusAnswers:
    """Return the answers of the reaper's last pass; none if the file cannot be used."""
    try:
        fields = json.loads(read_file(str(state_dir / STATUS_ANSWERS)))
        answers = {
            str(network): StatusAnswer(int(code), str(msg))
            for network, (code, msg) in fields["answers"].items()
        }
        return StatusAnswers(float(fields["time"]), answers)
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return NO_ANSWERS
