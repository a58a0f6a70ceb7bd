"""A client that is logged in to the scripted stand-in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from dispatcher.kube.client import Kube

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: test
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
clusters: [{{name: test, cluster: {{server: "{url}"}}}}]
users: [{{name: test, user: {{token: a-token-for-tests}}}}]
"""


class LogIn(Protocol):
    """Return a client for the API server at *url*."""

    def __call__(self, url: str) -> Kube:
        """Log in at *url*."""
        ...


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
