"""What kubelet and Prometheus ask: ``/healthz``, ``/readyz`` and ``/metrics``.

``/healthz`` says that the loops turn which look at the node, publish its labels and read its
records; ``/readyz`` that new pods of this node are attached as the settings say, else it gives
the reason. Neither tells a secret, and nothing is ever changed by a request.
"""

from __future__ import annotations

import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST_SECONDS = 5.0
"""A client that is slower than this is dropped."""


def start(
    address: tuple[str, int],
    *,
    health: Callable[[], str],
    readiness: Callable[[], str],
    registry: CollectorRegistry,
) -> ThreadingHTTPServer:
    """Serve on *address*, in threads. *health* and *readiness* return what is wrong, or ""."""

    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS

        def do_GET(self) -> None:
            if self.path == "/healthz":
                self._verdict(health())
            elif self.path == "/readyz":
                self._verdict(readiness())
            elif self.path == "/metrics":
                self._answer(HTTPStatus.OK, generate_latest(registry))
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"there are /healthz, /readyz and /metrics\n")

        def _verdict(self, wrong: str) -> None:
            status = HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK
            self._answer(status, (wrong or "ok").encode() + b"\n")

        def _answer(self, status: HTTPStatus, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Probes are not worth a line."""

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        daemon_threads = True

    server = Server(address, Handler)
    threading.Thread(target=server.serve_forever, name="web", daemon=True).start()
    return server
