"""A stand-in for the API server, to inject faults and interleavings that a real one shows rarely.

:class:`Api` holds objects in memory. Its clients do what the product relies on: optimistic locking,
generations, JSON patches with ``test`` (applied by an independent library), merge patches with a
UID as precondition, the manager of data that a merge patch changes, label selectors, and the
``Date`` of each answer. Several API servers in front of it may lag: each sees configurations as
they were a while ago.

:func:`serve` is an HTTP server with scripted answers, for tests of the client itself.

What the real API server does is tested in tests/cluster.
"""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import itertools
import json
import threading
import time
from dataclasses import dataclass, field
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

import jsonpatch

from dispatcher.kube.client import JSON_PATCH, TIMEOUT
from dispatcher.kube.errors import CONFLICT, NOT_FOUND, UNPROCESSABLE, KubeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Hook = Callable[[str, str], None]

START = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)

WEBHOOK_CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/"

COLLECTIONS = (
    "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations",
    "secrets",
    "namespaces",
    "nodes",
    "pods",
    "networks",
    "configmaps",
    "network-attachment-definitions",
)
"""Last segments of the paths that list objects."""

WATCH_SECONDS = 60.0
"""How long a watch stays open if the test does not close the server."""


class ApiCall(NamedTuple):
    """One request; ``body`` is None for GET and DELETE."""

    method: str
    path: str
    body: Any


class ApiChange(NamedTuple):
    """One change of the object at ``path``, as a watch reports it."""

    path: str
    event_type: str
    changed: dict[str, Any]


class Api:
    """Objects by path, and a clock.

    ``before`` is called ahead of every call and ``after`` once it has taken effect: both may
    raise, be it an error or the end of the replica that called.
    """

    def __init__(self, *objects: dict[str, Any]) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.calls: list[ApiCall] = []
        self.applied: list[ApiCall] = []
        """The calls that changed an object."""
        self.seconds = 0.0
        self.jumped = 0.0
        self.before: Hook = lambda _method, _path: None
        self.after: Hook = lambda _method, _path: None
        self.on_change: Callable[[str], None] = lambda _path: None
        self.closed = threading.Event()
        self.reports_changes = False
        """Whether watches report changes; otherwise they are silent."""
        self.missing: set[str] = set()
        """Paths of collections whose kind the server does not have."""
        self.changes: list[ApiChange] = []
        self._versions = itertools.count(1)
        for each in objects:
            self.add(each)

    @property
    def now(self) -> dt.datetime:
        """The API server's wall clock, which may jump."""
        return START + dt.timedelta(seconds=self.seconds + self.jumped)

    def client(self) -> FakeClient:
        """Return a client of one replica."""
        return FakeClient(self)

    def close(self) -> None:
        """End the watches, so that their threads can end."""
        self.closed.set()

    def add(self, found: dict[str, Any]) -> dict[str, Any]:
        """Put *found* where objects of its kind are, with the UID that it has."""
        path = object_path(found)
        self.store(path, found)
        if uid := found["metadata"].get("uid"):
            self.objects[path]["metadata"]["uid"] = uid
        return self.objects[path]

    def store(self, path: str, found: dict[str, Any]) -> dict[str, Any]:
        """Put *found* at *path*, as whoever writes there may."""
        before = self.objects.get(path)
        stored = copy.deepcopy(found)
        metadata = stored["metadata"]
        version = next(self._versions)
        metadata["resourceVersion"] = str(version)
        metadata["uid"] = before["metadata"]["uid"] if before else f"uid-{version}"
        if path.startswith(WEBHOOK_CONFIGURATIONS):
            last = before["metadata"]["generation"] if before else 0
            same = before is not None and before.get("webhooks") == stored.get("webhooks")
            metadata["generation"] = last if same else last + 1
        self.objects[path] = stored
        self.changes.append(ApiChange(path, "MODIFIED" if before else "ADDED", stored))
        self.on_change(path)
        return copy.deepcopy(stored)

    def remove(self, path: str) -> None:
        """Delete what is at *path*, if anything."""
        removed = self.objects.pop(path, None)
        if removed is not None:
            self.changes.append(ApiChange(path, "DELETED", removed))
            self.on_change(path)

    def calls_of(self, *methods: str) -> list[ApiCall]:
        """Return the calls with one of *methods*, in order."""
        return [call for call in self.calls if call.method in methods]


class FakeClient:
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
            version = str(len(self._api.changes))
            return {
                "metadata": {"resourceVersion": version},
                "items": self._list(path, query or {}),
            }
        raise KubeError(NOT_FOUND, "NotFound", f"GET {path}: not found")

    def create(
        self, path: str, body: Mapping[str, Any], *, timeout: float = TIMEOUT
    ) -> dict[str, Any]:
        """Store a new object; 409 where there is one."""
        del timeout
        call = self._begin("POST", path, body)
        created = copy.deepcopy(dict(body))
        metadata = created["metadata"]
        metadata.setdefault("name", f"{metadata.get('generateName')}{len(self._api.calls)}")
        path = f"{path}/{metadata['name']}"
        if path in self._api.objects:
            raise KubeError(CONFLICT, "AlreadyExists", f"POST {path}: already exists")
        return self._end(call, path, self._api.store(path, created))

    def update(
        self, path: str, body: Mapping[str, Any], *, timeout: float = TIMEOUT
    ) -> dict[str, Any]:
        """Store a new version; 409 unless it is one of the version stored."""
        del timeout
        call = self._begin("PUT", path, body)
        stored = self._existing("PUT", path)
        if stored["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            raise KubeError(CONFLICT, "Conflict", f"PUT {path}: the object has been modified")
        return self._end(call, path, self._api.store(path, dict(body)))

    def patch(
        self, path: str, body: Any, media_type: str = JSON_PATCH, *, timeout: float = TIMEOUT
    ) -> dict[str, Any]:
        """Apply a JSON patch (422 where a test fails) or a merge patch (409: another UID)."""
        del timeout
        call = self._begin("PATCH", path, body)
        path, _, manager = path.partition("?fieldManager=")
        path = path.removesuffix("/status")
        stored = copy.deepcopy(self._existing("PATCH", path))
        if media_type == JSON_PATCH:
            patched = _json_patched(stored, body, path)
        else:
            uid = body.get("metadata", {}).get("uid", stored["metadata"]["uid"])
            if uid != stored["metadata"]["uid"]:
                raise KubeError(CONFLICT, "Conflict", f"PATCH {path}: the UID is not {uid}")
            patched = _merged(stored, body)
            if manager:
                _manage(patched, stored["data"], manager)
        return self._end(call, path, self._api.store(path, patched))

    def delete(self, path: str, *, timeout: float = TIMEOUT) -> dict[str, Any]:
        """Remove an object; 404 where there is none."""
        del timeout
        self._begin("DELETE", path)
        stored = self._existing("DELETE", path)
        self._api.remove(path)
        return stored

    @contextlib.contextmanager
    def watch(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        seconds: int,
        accept: str = "application/json",
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """Open a watch of the changes since the list, if the server reports any."""
        del seconds, accept
        self._begin("WATCH", path)
        if path in self._api.missing:
            raise KubeError(NOT_FOUND, "NotFound", f"GET {path}: not found")
        if (query or {}).get("sendInitialEvents") == "true":
            yield self._initial_and_later(path)
            return
        since = int((query or {}).get("resourceVersion", "0"))
        yield self._events(path, since) if self._api.reports_changes else self._silence()

    def _initial_and_later(self, path: str) -> Iterator[dict[str, Any]]:
        position = len(self._api.changes)
        for each in self._list(path, {}):
            yield {"type": "ADDED", "object": each}
        annotations = {"k8s.io/initial-events-end": "true"}
        metadata = {"resourceVersion": str(position), "annotations": annotations}
        yield {"type": "BOOKMARK", "object": {"metadata": metadata}}
        yield from self._events(path, position)

    def _silence(self) -> Iterator[dict[str, Any]]:
        self._api.closed.wait(WATCH_SECONDS)
        yield from ()

    def _events(self, path: str, position: int) -> Iterator[dict[str, Any]]:
        while not self._api.closed.wait(0.002):
            changes = self._api.changes[position:]
            position += len(changes)
            for each in changes:
                if _is_in(each.path, path):
                    yield {"type": each.event_type, "object": copy.deepcopy(each.changed)}

    def _begin(self, method: str, path: str, body: Any = None) -> ApiCall:
        call = ApiCall(method, path, body)
        self._api.calls.append(call)
        self._api.before(method, path)
        self.server_date = (format_datetime(self._api.now, usegmt=True), self._api.seconds)
        return call

    def _end(self, call: ApiCall, path: str, stored: dict[str, Any]) -> dict[str, Any]:
        self._api.applied.append(call)
        self._api.after(call.method, path)
        return stored

    def _existing(self, method: str, path: str) -> dict[str, Any]:
        if path not in self._api.objects:
            raise KubeError(NOT_FOUND, "NotFound", f"{method} {path}: not found")
        return self._api.objects[path]

    def _list(self, path: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        key, _, value = query.get("labelSelector", "").partition("=")
        return [
            copy.deepcopy(found)
            for where, found in list(self._api.objects.items())  # a test may add some meanwhile
            if _is_in(where, path)
            and (not key or found["metadata"].get("labels", {}).get(key) == value)
        ]


def _is_in(where: str, collection: str) -> bool:
    """Return whether the object at *where* is listed at *collection*, of one namespace or all."""
    root, _, resource = collection.rpartition("/")
    folder = where.rpartition("/")[0]
    of_namespace = folder.startswith(f"{root}/namespaces/") and folder.endswith(f"/{resource}")
    return folder == collection or of_namespace


def _json_patched(found: dict[str, Any], patch: Any, path: str) -> dict[str, Any]:
    try:
        patched: dict[str, Any] = jsonpatch.apply_patch(found, patch)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
        raise KubeError(UNPROCESSABLE, "Invalid", f"PATCH {path}: {error}") from None
    return patched


def _merged(found: Any, patch: Any) -> Any:
    """Return what the JSON merge patch (RFC 7386) makes of *found*."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(found) if isinstance(found, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged


def _manage(patched: dict[str, Any], before: Mapping[str, Any], manager: str) -> None:
    """Let *manager*, and no other, own the data that a patch has changed, in ``managedFields``."""
    changed = {f"f:{key}" for key, value in patched["data"].items() if before.get(key) != value}
    fields = patched["metadata"].get("managedFields", [])
    fields = [each for each in fields if changed.isdisjoint(each["fieldsV1"]["f:data"])]
    entry = {"manager": manager, "fieldsV1": {"f:data": {field: {} for field in changed}}}
    patched["metadata"]["managedFields"] = [*fields, entry]


def fail(error: KubeError, *methods: str, path: str = "/") -> Hook:
    """Return a ``before`` by which calls fail: those with *methods* (none: all) below *path*."""

    def hook(method: str, called: str) -> None:
        if (not methods or method in methods) and called.startswith(path):
            raise error

    return hook


def delay(seconds: float) -> Hook:
    """Return a ``before`` by which every call takes so long."""
    return lambda _method, _path: time.sleep(seconds)


def object_path(found: Mapping[str, Any]) -> str:
    """Return the path of a Namespace, Node, Pod, ConfigMap or NetworkAttachmentDefinition."""
    metadata = found["metadata"]
    if found["kind"] == "NetworkAttachmentDefinition":
        folder = f"/apis/k8s.cni.cncf.io/v1/namespaces/{metadata['namespace']}"
        return f"{folder}/network-attachment-definitions/{metadata['name']}"
    folder = {
        "Namespace": "namespaces",
        "Node": "nodes",
        "Pod": f"namespaces/{metadata.get('namespace')}/pods",
        "ConfigMap": f"namespaces/{metadata.get('namespace')}/configmaps",
    }[found["kind"]]
    return f"/api/v1/{folder}/{metadata['name']}"


def namespace_object(
    name: str, annotations: dict[str, str] | None = None, labels: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return a Namespace."""
    metadata = {"name": name, "annotations": annotations or {}, "labels": labels or {}}
    return {"kind": "Namespace", "metadata": {**metadata, "resourceVersion": "1"}}


def node_object(
    name: str, labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return a Node."""
    metadata = {"name": name, "annotations": annotations or {}, "labels": labels or {}}
    return {"kind": "Node", "metadata": {**metadata, "resourceVersion": "1"}}


def pod_object(
    namespace: str, name: str, uid: str, annotations: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return a Pod."""
    metadata = {"namespace": namespace, "name": name, "uid": uid}
    return {"kind": "Pod", "metadata": {**metadata, "annotations": annotations or {}}}


def definition_object(namespace: str, name: str, config: str, uid: str = "u") -> dict[str, Any]:
    """Return a NetworkAttachmentDefinition."""
    metadata = {"namespace": namespace, "name": name, "uid": uid}
    return {
        "kind": "NetworkAttachmentDefinition",
        "metadata": metadata,
        "spec": {"config": config},
    }


def configuration(name: str, *entries: str, bundle: str | None = None) -> dict[str, Any]:
    """Return a webhook configuration of ours, as a manifest has it: without a caBundle."""
    service = {"namespace": "genie-system", "name": "genie-webhook", "path": "/"}
    client = {"service": service} | ({"caBundle": bundle} if bundle is not None else {})
    return {
        "metadata": {"name": name, "labels": {"cni-genie.io/webhook": "true"}},
        "webhooks": [{"name": entry, "clientConfig": dict(client)} for entry in entries],
    }


@dataclass
class HttpAnswer:
    """One answer: a status and a body, or lines that are sent as a watch sends them."""

    body: Any = field(default_factory=dict)
    status: int = 200
    lines: list[Any] | None = None
    hold: threading.Event | None = None
    """Where given, the connection stays open after the lines until this is set."""
    is_cut: bool = False
    """Whether the connection is closed without an answer, or after the lines without their end."""


class HttpCall(NamedTuple):
    """One request as it arrived; the names of its headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class HttpScript:
    """The answers of a scripted server, and the requests that it got."""

    answer: Callable[[str, str, bytes], HttpAnswer]
    calls: list[HttpCall] = field(default_factory=list)
    url: str = ""


@contextlib.contextmanager
def serve(answer: Callable[[str, str, bytes], HttpAnswer]) -> Iterator[HttpScript]:
    """Serve on a loopback port; *answer(method, path with query, body)* decides."""
    script = HttpScript(answer)

    class ScriptHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {key.lower(): value for key, value in self.headers.items()}
            script.calls.append(HttpCall(self.command, self.path, headers, body))
            reply = script.answer(self.command, self.path, body)
            self.close_connection = self.close_connection or reply.is_cut
            if reply.is_cut and reply.lines is None:
                return
            self.send_response(reply.status)
            if reply.lines is None:
                data = (
                    reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                )
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                return

            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for line in reply.lines:
                data = line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                self.wfile.flush()
            if reply.hold is not None:
                reply.hold.wait(10)
            if reply.is_cut:
                return
            with contextlib.suppress(OSError):
                self.wfile.write(b"0\r\n\r\n")

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one  # noqa: N815 - the base's names

    server = ThreadingHTTPServer(("127.0.0.1", 0), ScriptHandler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
