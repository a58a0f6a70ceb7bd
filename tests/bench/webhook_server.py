"""The servers that :mod:`tests.bench.webhook` measures, each a process of its own on one core.

``python -m tests.bench.webhook_server WHAT PORT FOLDER`` serves the echo, the same as a route of
FastAPI, or the webhook, with the certificate in FOLDER/leaf.pem.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
from fastapi import FastAPI, Request, Response

from dispatcher.kube import logs
from tests.devcluster.build import gobuild
from tests.unit.apiserver import Api, namespace_object, node_object
from tests.unit.webhook.builders import free_port
from webhook.app import create_app
from webhook.body_reader import BodyReader
from webhook.handlers import Handlers
from webhook.informer_caches import InformerCaches
from webhook.metrics import WebhookMetrics
from webhook.server import raise_descriptor_limit, webhook_server
from webhook.settings import WebhookSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

OBJECTS = 5000
LOOPBACK = "127.0.0.1"


@contextlib.contextmanager
def _process(
    command: list[str], port: int, core: int | None, address: str = LOOPBACK
) -> Iterator[tuple[int, int]]:
    """Run a server on one core, or on all; yield its process id and port."""
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    process = subprocess.Popen([*pinned, *command], stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection((address, port)):
                break
            time.sleep(0.1)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(20)


def ours(
    what: str, folder: Path, core: int, python: Sequence[str] = (sys.executable,)
) -> contextlib.AbstractContextManager[tuple[int, int]]:
    """Run the echo, its route or the webhook behind our server, with the command *python*."""
    port = free_port()
    command = [*python, "-m", "tests.bench.webhook_server", what, str(port), str(folder)]
    return _process(command, port, core)


def peer(
    folder: Path, core: int | None = None, address: str = LOOPBACK
) -> contextlib.AbstractContextManager[tuple[int, int]]:
    """Run the webhook in Go, with the certificate in FOLDER/leaf.pem."""
    port = free_port()
    program = gobuild.build(gobuild.WEBHOOK_PEER) / "webhook"
    command = [str(program), f"{address}:{port}", str(folder / "leaf.pem")]
    return _process(command, port, core, address)


def stand_in() -> Api:
    """Return an API server with 5,000 namespaces and 5,000 nodes."""
    labels = {f"network.cni-genie.io/net{n}": "true" for n in range(20)}
    namespaces = (namespace_object(f"ns{n}", {"cni": "net1,net2"}) for n in range(OBJECTS))
    nodes = (node_object(f"node{n}", labels) for n in range(OBJECTS))
    return Api(*namespaces, *nodes)


def route() -> FastAPI:
    """Return the same as a plain route of FastAPI."""
    app = FastAPI(openapi_url=None)

    @app.post("/pods")
    async def answer(request: Request) -> Response:
        return Response(await request.body(), media_type="application/json")

    return app


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request with its own body: a minimal ASGI application."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    length = (b"content-length", str(len(body)).encode())
    head = [(b"content-type", b"application/json"), length]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


def serve(what: str, port: int, folder: Path) -> None:
    """Serve the echo, its route or the webhook until the process ends."""
    logs.configure(json=True)
    raise_descriptor_limit()
    settings = WebhookSettings(address=LOOPBACK, port=port)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "leaf.pem")
    app: Any = route() if what == "route" else echo
    if what == "webhook":
        api = stand_in()
        caches = InformerCaches(api.client(), ())
        caches.start()
        if not (caches.namespaces_cache.wait(60) and caches.nodes_cache.wait(60)):
            raise SystemExit("the caches were not filled")
        api.objects.clear()
        handlers = Handlers(api.client(), caches, settings)
        names = ("pods", "namespaces", "workloads")
        endpoints = {f"/{name}": getattr(handlers, name) for name in names}
        body_reader = BodyReader(
            max_bytes=7 << 20, max_buffered_bytes=32 << 20, max_arriving=256, seconds=5
        )
        app = create_app(endpoints, body_reader, WebhookMetrics())
    uvloop.run(webhook_server(app, settings, context).serve())


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
