"""A stand-in for the API client: what the services ask of Kubernetes, from a dictionary.

It exists to make the API server slow, absent or wrong on purpose. That the real one behaves as
is assumed here is shown by tests/cluster.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

from dispatcher.kube.client import JSON_PATCH, TIMEOUT
from dispatcher.kube.errors import NOT_FOUND, KubeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Api:
    """An API server with namespaces and nodes; ``error`` makes every call fail."""

    def __init__(self, **objects: dict[str, dict[str, Any]]) -> None:
        self.objects = objects
        self.error: KubeError | None = None
        self.seconds = 0.0
        self.calls: list[tuple[str, str, Any]] = []
        self._open = threading.Event()

    def _take(self, method: str, path: str, body: Any = None) -> tuple[str, str]:
        self.calls.append((method, path, body))
        time.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        collection, _, name = path.removeprefix("/api/v1/").partition("/")
        return collection, name

    def get(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        timeout: float = TIMEOUT,
        accept: str = "application/json",
    ) -> dict[str, Any]:
        """Return a list, or one object."""
        del query, timeout, accept
        collection, name = self._take("GET", path)
        found = self.objects.get(collection, {})
        if not name:
            return {"metadata": {"resourceVersion": "1"}, "items": list(found.values())}
        if name not in found:
            raise KubeError(NOT_FOUND, "NotFound", f"{name} not found")
        return found[name]

    def create(
        self, path: str, body: Mapping[str, Any], *, timeout: float = TIMEOUT
    ) -> dict[str, Any]:
        """Take note of the call."""
        del timeout
        self._take("POST", path, body)
        return dict(body)

    def update(
        self, path: str, body: Mapping[str, Any], *, timeout: float = TIMEOUT
    ) -> dict[str, Any]:
        """Take note of the call."""
        del timeout
        self._take("PUT", path, body)
        return dict(body)

    def patch(
        self, path: str, body: Any, kind: str = JSON_PATCH, *, timeout: float = TIMEOUT
    ) -> dict[str, Any]:
        """Take note of the call."""
        del timeout, kind
        self._take("PATCH", path, body)
        return {}

    def delete(self, path: str, *, timeout: float = TIMEOUT) -> dict[str, Any]:
        """Take note of the call."""
        del timeout
        self._take("DELETE", path)
        return {}

    @contextlib.contextmanager
    def watch(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        seconds: int,
        accept: str = "application/json",
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """Give a watch on which nothing ever happens."""
        del path, query, seconds, accept
        yield self._silence()

    def _silence(self) -> Iterator[dict[str, Any]]:
        self._open.wait(60)
        yield from ()

    def close(self) -> None:
        """End the watches, so that their threads can end."""
        self._open.set()


def thing(
    name: str, annotations: dict[str, str] | None = None, labels: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return the metadata of a namespace or node."""
    metadata = {"name": name, "resourceVersion": "1"}
    return {"metadata": {**metadata, "annotations": annotations or {}, "labels": labels or {}}}


def things(*found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return objects by name."""
    return {one["metadata"]["name"]: one for one in found}
