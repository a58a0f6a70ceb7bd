"""Serves ``/healthz``, ``/readyz`` and ``/metrics`` to kubelet and Prometheus.

``/healthz`` answers 503 if a thread of the agent is stuck, ``/readyz`` if new pods of this node are
not attached as the settings say, with the reason. No answer contains a secret, and no request
changes anything. A client that leaves before its answer is ordinary, and no line of the log.
"""

from __future__ import annotations

import errno
import io
import socket
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import structlog
from prometheus_client import CollectorRegistry, generate_latest

from dispatcher.node.startup import StartError

if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST_SECONDS = 5.0
"""Longest time in which a client sends its request, or receives a part of the answer."""

MAX_REQUEST = 8192
"""Bytes of a request. Those of kubelet and Prometheus have a few hundred."""

log = structlog.get_logger("agent")


def start(
    address: tuple[str, int],
    *,
    health: Callable[[], str],
    readiness: Callable[[], str],
    registry: CollectorRegistry,
) -> ThreadingHTTPServer:
    """Serve on *address*, in threads. *health* and *readiness* return a problem or "".

    Raises :class:`dispatcher.node.startup.StartError`.
    """

    class EndpointHandler(_TextHandler):
        def do_GET(self) -> None:
            if self.path == "/healthz":
                self._answer_problem(health())
            elif self.path == "/readyz":
                self._answer_problem(readiness())
            elif self.path == "/metrics":
                self._answer(HTTPStatus.OK, generate_latest(registry))
            else:
                self._answer(
                    HTTPStatus.NOT_FOUND, b"not found: use /healthz, /readyz or /metrics\n"
                )

    class EndpointServer(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        daemon_threads = True

        def handle_error(self, _request: object, client_address: object) -> None:
            # A probe that times out closes its connection, and a slow reader is given up.
            error = sys.exception()
            if not isinstance(error, (ConnectionError, TimeoutError)):
                log.error("HTTP request failed", client=client_address, exc_info=error)

    try:
        server = EndpointServer(address, EndpointHandler)
    except OSError as error:
        raise StartError(_listen_problem(address, error)) from None
    threading.Thread(target=server.serve_forever, name="web", daemon=True).start()
    return server


def _listen_problem(address: tuple[str, int], error: OSError) -> str:
    host, port = address
    fix = ""
    if error.errno == errno.EADDRINUSE:
        fix = "; another program on this node uses the port: configure another one there"
    return (
        f"settings --listen and --port (GENIE_LISTEN, GENIE_PORT): cannot listen on {host}, port "
        f"{port}: {error.strerror}{fix}"
    )


class _TextHandler(BaseHTTPRequestHandler):
    timeout = REQUEST_SECONDS

    def setup(self) -> None:
        """Read the whole request, limited in time and size."""
        super().setup()
        self.rfile = io.BytesIO(_request(self.connection))

    def _answer_problem(self, problem: str) -> None:
        status = HTTPStatus.SERVICE_UNAVAILABLE if problem else HTTPStatus.OK
        self._answer(status, (problem or "ok").encode() + b"\n")

    def _answer(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: probes come every few seconds."""


def _request(connection: socket.socket) -> bytes:
    """Return the request on *connection*, or b"" if it does not arrive in time."""
    deadline, data = time.monotonic() + REQUEST_SECONDS, b""
    try:
        while b"\r\n\r\n" not in data and len(data) < MAX_REQUEST:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            received = connection.recv(MAX_REQUEST - len(data))
            if not received:
                break
            data += received
    except OSError:
        return b""
    connection.settimeout(REQUEST_SECONDS)
    return data
