"""A scripted stand-in for the API server, to inject what a real one does only on bad days.

It answers each request with the next thing in its script; the behaviour of the real API
server is tested on the real one, under tests/cluster.
"""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Answer:
    """One answer: a status and a body, or lines that are sent as a watch sends them."""

    body: Any = field(default_factory=dict)
    status: int = 200
    lines: list[Any] | None = None
    hold: threading.Event | None = None
    """Where given, the connection stays open after the lines until this is set."""


@dataclass
class Script:
    """What the stand-in was asked, and what it shall answer."""

    answer: Callable[[str, str, bytes], Answer]
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""


@contextlib.contextmanager
def serve(answer: Callable[[str, str, bytes], Answer]) -> Iterator[Script]:
    """Serve on a loopback port; *answer(method, path with query, body)* decides."""
    script = Script(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {key.lower(): value for key, value in self.headers.items()}
            script.asked.append((self.command, self.path, headers, body))
            reply = script.answer(self.command, self.path, body)
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
            with contextlib.suppress(OSError):
                self.wfile.write(b"0\r\n\r\n")

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one  # noqa: N815 - the base's names

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
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
