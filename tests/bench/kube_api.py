"""A stand-in for the API server that Multus asks: one pod, one definition, from memory.

It answers at once, without TLS, authentication or etcd, so what a caller waits for it is the least
that it can be. It counts the requests; ``GET /count`` returns the number, and is not counted. It is
a process of its own, which ends with its standard input.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFINITIONS = "/apis/k8s.cni.cncf.io/v1/namespaces/"


class KubeApi:
    """The stand-in at *address*, as its user sees it."""

    def __init__(self, address: str) -> None:
        self.address = address

    def count(self) -> int:
        """Return how many requests it has answered."""
        with urlopen(f"{self.address}/count", timeout=10) as answer:  # noqa: S310 - own address
            return int(answer.read())


@contextlib.contextmanager
def running(annotations: dict[str, str], config: str) -> Iterator[KubeApi]:
    """Run the stand-in: every pod has *annotations*, every definition has *config*."""
    given = json.dumps({"annotations": annotations, "config": config})
    command = [sys.executable, "-m", "tests.bench.kube_api", given]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as api:
        assert api.stdout is not None
        yield KubeApi(f"http://127.0.0.1:{int(api.stdout.readline())}")
        api.terminate()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    annotations: dict[str, str]
    config: str
    count = 0

    def do_GET(self) -> None:
        if self.path == "/count":
            self._answer(200, _Handler.count)
            return
        _Handler.count += 1
        namespace, _, name = self.path.partition("?")[0].split("/")[-3:]
        metadata: dict[str, Any] = {"namespace": namespace, "name": name, "uid": "u"}
        if self.path.startswith(DEFINITIONS):
            kind = {"apiVersion": "k8s.cni.cncf.io/v1", "kind": "NetworkAttachmentDefinition"}
            self._answer(200, {**kind, "metadata": metadata, "spec": {"config": self.config}})
            return
        metadata["annotations"] = self.annotations
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
        self._answer(200, {**pod, "spec": {"containers": []}, "status": {}})

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
    _Handler.annotations, _Handler.config = json.loads(sys.argv[1]).values()
    server = _Server(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
