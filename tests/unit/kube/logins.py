"""How tests log in to the scripted stand-in for an API server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dispatcher.kube.client import Kube

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
