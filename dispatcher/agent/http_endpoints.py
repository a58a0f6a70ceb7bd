"""What kubelet and Prometheus ask: ``/healthz``, ``/readyz`` and ``/metrics``.

``/healthz`` says that the loops turn which look at the node, publish its labels and read its
records; ``/readyz`` that new pods of this node are attached as the settings say, else it gives
the reason. Neither tells a secret, and nothing is ever changed by a request.
"""

from __future__ import annotations

import io
import socket
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST_SECONDS = 5.0
"""A client that takes longer to send its request, or to take a part of the answer, is dropped."""

LARGEST = 8192
"""Bytes of a request. Who asks has a few hundred."""


def start(
    address: tuple[str, int],
    *,
    health: Callable[[], str],
    readiness: Callable[[], str],
    registry: CollectorRegistry,
) -> ThreadingHTTPServer:
    """Serve on *address*, in threads. *health* and *readiness* return what is wrong, or ""."""

    class Handler(_Handler):
        def do_GET(self) -> None:
            if self.path == "/healthz":
                self._verdict(health())
            elif self.path == "/readyz":
                self._verdict(readiness())
            elif self.path == "/metrics":
                self._answer(HTTPStatus.OK, generate_latest(registry))
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"there are /healthz, /readyz and /metrics\n")

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        daemon_threads = True

    server = Server(address, Handler)
    threading.Thread(target=server.serve_forever, name="web", daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_SECONDS

    def setup(self) -> None:
        """Read the request at once, under one limit of time and one of size."""
        super().setup()
        self.rfile = io.BytesIO(_request(self.connection))

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


def _request(connection: socket.socket) -> bytes:
    """Return what *connection* asks, b"" if that does not come in time."""
    until, data = time.monotonic() + REQUEST_SECONDS, b""
    try:
        while b"\r\n\r\n" not in data and len(data) < LARGEST:
            connection.settimeout(max(0.001, until - time.monotonic()))
            received = connection.recv(LARGEST - len(data))
            if not received:
                break
            data += received
    except OSError:
        return b""
    connection.settimeout(REQUEST_SECONDS)
    return data
