"""What tests of reflectors share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher.kube import definition_reflector, reflector

if TYPE_CHECKING:
    import pytest


def retry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reflectors wait hardly at all before they ask the API server again."""
    monkeypatch.setattr(reflector, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(reflector, "LONGEST_DELAY", 0.02)
    monkeypatch.setattr(definition_reflector, "MISSING_SECONDS", 0.02)
