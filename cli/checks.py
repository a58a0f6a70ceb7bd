"""One check of a cluster: its subject, how it ended, and what to do (``status``, ``preflight``)."""

from __future__ import annotations

import enum
from typing import NamedTuple


class CheckState(enum.StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """It could not be made, for want of a right or of an answer."""


class Check(NamedTuple):
    """One check: its subject, how it ended, what is the case, and what to do."""

    subject: str
    state: CheckState
    message: str
    fix: str = ""
