"""A stand-in for the API server, to inject what the real one does rarely: faults and interleavings.

It keeps what the package relies on: optimistic locking, generations, JSON patches with ``test``
(applied by an independent library), label selectors, the ``Date`` of each answer. Several API
servers in front of it may lag: each sees configurations as they were a while ago.

What the real one does is tested in tests/cluster.
"""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import itertools
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import jsonpatch

from certs.webhook_configs import API
from dispatcher.kube.client import JSON_PATCH, TIMEOUT
from dispatcher.kube.errors import CONFLICT, NOT_FOUND, UNPROCESSABLE, KubeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

START = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)


class Api:
    """Objects by path, and a clock.

    ``before`` is called ahead of every call and ``after`` once it has taken effect: both may
    raise, be it an error or the end of the replica that called.
    """

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.seconds = 0.0
        self.jumped = 0.0
        self.before: Callable[[str, str], None] = lambda _method, _path: None
        self.after: Callable[[str, str], None] = lambda _method, _path: None
        self.on_change: Callable[[str], None] = lambda _path: None
        self._versions = itertools.count(1)

    @property
    def now(self) -> dt.datetime:
        """The API server's wall clock, which may jump."""
        return START + dt.timedelta(seconds=self.seconds + self.jumped)

    def store(self, path: str, found: dict[str, Any]) -> dict[str, Any]:
        """Put *found* at *path*, as whoever writes there may."""
        before = self.objects.get(path)
        stored = copy.deepcopy(found)
        metadata = stored["metadata"]
        version = next(self._versions)
        metadata["resourceVersion"] = str(version)
        metadata["uid"] = before["metadata"]["uid"] if before else f"uid-{version}"
        if path.startswith(API):
            last = before["metadata"]["generation"] if before else 0
            same = before is not None and before.get("webhooks") == stored.get("webhooks")
            metadata["generation"] = last if same else last + 1
        self.objects[path] = stored
        self.on_change(path)
        return copy.deepcopy(stored)

    def remove(self, path: str) -> None:
        """Delete what is at *path*, if anything."""
        if self.objects.pop(path, None) is not None:
            self.on_change(path)

    def client(self) -> Client:
        """Return a client of one replica."""
        return Client(self)


class Client:
    """The API as one replica calls it."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.server_date: tuple[str, float] | None = None

    def get(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        timeout: float = TIMEOUT,
        accept: str = "application/json",
    ) -> dict[str, Any]:
        """Return an object, or a list of those with the selector's label."""
        del timeout, accept
        self._begin("GET", path)
        if path in self._api.objects:
            return copy.deepcopy(self._api.objects[path])
        if path.rpartition("/")[2] in COLLECTIONS:
            return {"metadata": {"resourceVersion": "1"}, "items": self._list(path, query or {})}
        raise KubeError(NOT_FOUND, "NotFound", f"GET {path}: not found")

    def create(
        self, path: str, body: Mapping[str, Any], *, timeout: float = TIMEOUT
    ) -> dict[str, Any]:
        """Store a new object; 409 where there is one."""
        del timeout
        self._begin("POST", path)
        path = f"{path}/{body['metadata']['name']}"
        if path in self._api.objects:
            raise KubeError(CONFLICT, "AlreadyExists", f"POST {path}: already exists")
        return self._end("POST", path, self._api.store(path, dict(body)))

    def update(
        self, path: str, body: Mapping[str, Any], *, timeout: float = TIMEOUT
    ) -> dict[str, Any]:
        """Store a new version; 409 unless it is one of the version stored."""
        del timeout
        self._begin("PUT", path)
        found = self._existing("PUT", path)
        if found["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            raise KubeError(CONFLICT, "Conflict", f"PUT {path}: the object has been modified")
        return self._end("PUT", path, self._api.store(path, dict(body)))

    def patch(
        self, path: str, body: Any, kind: str = JSON_PATCH, *, timeout: float = TIMEOUT
    ) -> dict[str, Any]:
        """Apply a JSON patch (422 where a test fails), or annotations as a merge patch."""
        del timeout
        self._begin("PATCH", path)
        found = copy.deepcopy(self._existing("PATCH", path))
        if kind != JSON_PATCH:
            found["metadata"].setdefault("annotations", {}).update(body["metadata"]["annotations"])
            return self._end("PATCH", path, self._api.store(path, found))
        try:
            patched = jsonpatch.apply_patch(found, body)
        except jsonpatch.JsonPatchException as error:
            raise KubeError(UNPROCESSABLE, "Invalid", f"PATCH {path}: {error}") from None
        return self._end("PATCH", path, self._api.store(path, patched))

    def delete(self, path: str, *, timeout: float = TIMEOUT) -> dict[str, Any]:
        """Remove an object; 404 where there is none."""
        del timeout
        self._begin("DELETE", path)
        found = self._existing("DELETE", path)
        self._api.remove(path)
        return found

    @contextlib.contextmanager
    def watch(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        seconds: int,
        accept: str = "application/json",
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """Report nothing at all: rounds are run by the tests."""
        del path, query, seconds, accept
        yield iter(())

    def _begin(self, method: str, path: str) -> None:
        self._api.before(method, path)
        self.server_date = (format_datetime(self._api.now, usegmt=True), self._api.seconds)

    def _end(self, method: str, path: str, stored: dict[str, Any]) -> dict[str, Any]:
        self._api.after(method, path)
        return stored

    def _existing(self, method: str, path: str) -> dict[str, Any]:
        if path not in self._api.objects:
            raise KubeError(NOT_FOUND, "NotFound", f"{method} {path}: not found")
        return self._api.objects[path]

    def _list(self, path: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        key, _, value = query.get("labelSelector", "").partition("=")
        return [
            copy.deepcopy(found)
            for where, found in self._api.objects.items()
            if where.startswith(f"{path}/")
            and (not key or found["metadata"].get("labels", {}).get(key) == value)
        ]


COLLECTIONS = (
    "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations",
    "secrets",
)


def configuration(name: str, *entries: str, bundle: str | None = None) -> dict[str, Any]:
    """Return a webhook configuration of ours, as a manifest has it: without a caBundle."""
    service = {"namespace": "genie-system", "name": "genie-webhook", "path": "/"}
    client = {"service": service} | ({"caBundle": bundle} if bundle is not None else {})
    return {
        "metadata": {"name": name, "labels": {"cni-genie.io/webhook": "true"}},
        "webhooks": [{"name": entry, "clientConfig": dict(client)} for entry in entries],
    }
