"""The version that runs, and its metric."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from dispatcher.kube import build_info
from dispatcher.kube.build_info import UNRELEASED, own_version

if TYPE_CHECKING:
    import pytest


def test_a_service_shows_its_version_as_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a query finds the nodes that an upgrade has not reached."""
    monkeypatch.setattr("importlib.metadata.version", lambda _name: "1.2.3")
    registry = CollectorRegistry()
    build_info.register(registry, "agent")
    labels = {"component": "agent", "version": "1.2.3", "python": platform.python_version()}
    assert registry.get_sample_value("genie_build_info", labels) == 1


def test_a_checkout_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was not installed."""

    def fail(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", fail)
    assert own_version() == UNRELEASED
