"""The forms of output: which there are, for options that load no printer."""

from __future__ import annotations

import enum


class Format(enum.StrEnum):
    """The forms of ``--output``."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class LintFormat(enum.StrEnum):
    """The forms of ``lint --output``."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"
    GITHUB = "github"
    SARIF = "sarif"
