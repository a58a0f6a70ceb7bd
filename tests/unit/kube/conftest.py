"""A client that is logged in to the scripted stand-in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dispatcher.kube.client import Kube
from tests.unit.kube.logins import KUBECONFIG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.kube.logins import LogIn


@pytest.fixture
def log_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LogIn]:
    """Log in as kubectl does, through a kubeconfig file."""
    clients: list[Kube] = []

    def make(url: str) -> Kube:
        path = tmp_path / "kubeconfig"
        path.write_text(KUBECONFIG.format(url=url))
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        clients.append(Kube.load("genie-tests"))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
