"""A stand-in for the API server that Multus and our webhook ask: objects from memory.

It answers at once, without authentication or etcd, so what a caller waits for it is the least that
it can be. Multus asks for pods and one definition. Its daemon needs more: TLS, lists, and watches,
in which nothing ever happens. So does the webhook, for namespaces and nodes.
It counts the requests; ``GET /count`` returns the number, and is not counted. It is a process of
its own, which ends with its standard input.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs
from urllib.request import urlopen

from dispatcher import keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

DEFINITIONS = "/apis/k8s.cni.cncf.io/v1/namespaces/"
LISTS = {
    "/api/v1/namespaces": {"apiVersion": "v1", "kind": "NamespaceList"},
    "/api/v1/nodes": {"apiVersion": "v1", "kind": "NodeList"},
    "/api/v1/pods": {"apiVersion": "v1", "kind": "PodList"},
    "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions": {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinitionList",
    },
}
NAMESPACE = "bench"
"""Of the pods in the list; single pods exist in any."""

NETWORKS = 20
"""Networks of each node in the list."""


class KubeApi:
    """The stand-in at *address*, as its user sees it."""

    def __init__(self, address: str) -> None:
        self.address = address

    def count(self) -> int:
        """Return how many requests it has answered."""
        with urlopen(f"{self.address}/count", timeout=10) as answer:  # noqa: S310 - own address
            return int(answer.read())


@contextlib.contextmanager
def running(
    annotations: dict[str, str],
    config: str,
    *,
    pods: Sequence[str] = (),
    objects: int = 0,
    certificate: Path | None = None,
) -> Iterator[KubeApi]:
    """Run the stand-in: every pod has *annotations*, every definition has *config*.

    *pods* are the names in its list; it has *objects* namespaces (ns0, …) with the same annotations
    and as many nodes. *certificate* is a file with a certificate and its key.
    """
    content = {"annotations": annotations, "config": config, "pods": list(pods), "objects": objects}
    command = [sys.executable, "-m", "tests.bench.kube_api", str(certificate or "")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as api:
        assert api.stdin is not None
        assert api.stdout is not None
        print(json.dumps(content), file=api.stdin, flush=True)
        scheme = "https" if certificate else "http"
        yield KubeApi(f"{scheme}://127.0.0.1:{int(api.stdout.readline())}")
        api.terminate()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    annotations: dict[str, str]
    config: str
    pods: list[str]
    objects: int
    count = 0

    def do_GET(self) -> None:
        if self.path == "/count":
            self._answer(200, _Handler.count)
            return
        _Handler.count += 1
        path, _, query = self.path.partition("?")
        if "watch=" in query:
            self._watch()
        elif path in LISTS:
            self._list(LISTS[path], parse_qs(query))
        else:
            namespace, _, name = path.split("/")[-3:]
            is_definition = path.startswith(DEFINITIONS)
            get = self._definition if is_definition else self._pod
            self._answer(200, get(namespace, name))

    def _list(self, head: dict[str, Any], query: dict[str, list[str]]) -> None:
        """Answer a list, or the page of it that the query asks for."""
        items = self._items(head["kind"])
        begin = int(query.get("continue", ["0"])[0])
        end = begin + int(query.get("limit", [str(len(items))])[0])
        metadata = {"resourceVersion": "1", "continue": str(end) if end < len(items) else ""}
        self._answer(200, {**head, "metadata": metadata, "items": items[begin:end]})

    def _items(self, kind: str) -> list[dict[str, Any]]:
        if kind == "PodList":
            return [self._pod(NAMESPACE, name) for name in self.pods]
        if kind == "NamespaceList":
            return [
                self._object(f"ns{n}", annotations=self.annotations) for n in range(self.objects)
            ]
        if kind == "NodeList":
            labels = {keys.network_label(f"net{n}"): "true" for n in range(NETWORKS)}
            return [self._object(f"node{n}", labels=labels) for n in range(self.objects)]
        return []

    def _object(self, name: str, **metadata: Any) -> dict[str, Any]:
        return {"metadata": {"name": name, "uid": "u", "resourceVersion": "1", **metadata}}

    def _pod(self, namespace: str, name: str) -> dict[str, Any]:
        metadata = {"namespace": namespace, "name": name, "uid": "u", "resourceVersion": "1"}
        pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": []}, "status": {}}
        return {**pod, "metadata": {**metadata, "annotations": self.annotations}}

    def _definition(self, namespace: str, name: str) -> dict[str, Any]:
        kind = {"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition"}
        metadata = {"namespace": namespace, "name": name, "uid": "u"}
        return {**kind, "metadata": metadata, "spec": {"config": self.config}}

    def _watch(self) -> None:
        """Answer a watch, and wait until the client closes it."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        self.rfile.read(1)
        self.close_connection = True

    def do_PUT(self) -> None:
        self._take()
        self.do_GET()

    def do_POST(self) -> None:
        self._take()
        _Handler.count += 1
        self._answer(201, {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}})

    def _take(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/status"):
            self.path = self.path.removesuffix("/status")

    def _answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Do not report a caller that ends without closing its connection."""


def main() -> None:
    """Serve until standard input ends; print the port."""
    content = json.loads(sys.stdin.readline())
    _Handler.annotations, _Handler.config, _Handler.pods, _Handler.objects = content.values()
    server = _Server(("127.0.0.1", 0), _Handler)
    if certificate := sys.argv[1]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
