"""What tests of reflectors share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher.kube import definition_reflector, reflector

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from tests.unit.apiserver import Api


def retry_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reflectors wait hardly at all before they ask the API server again."""
    monkeypatch.setattr(reflector, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(reflector, "LONGEST_DELAY", 0.02)
    monkeypatch.setattr(definition_reflector, "MISSING_SECONDS", 0.02)


def reporting_changes(server: Api) -> Iterator[Api]:
    """Yield *server*, which reports changes; its watches end with the test. For fixtures."""
    server.reports_changes = True
    yield server
    server.close()
