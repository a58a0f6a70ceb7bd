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
    """The check was not possible: a right or an answer is missing."""


class Check(NamedTuple):
    """One check: its subject, how it ended, what is the case, and what to do."""

    subject: str
    state: CheckState
    message: str
    fix: str = ""
