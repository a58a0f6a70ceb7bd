"""The servers that :mod:`tests.bench.webhook` measures.

``python -m tests.bench.webhook_server WHAT PORT FOLDER [API]`` serves the echo, the same as a route
of FastAPI, or the webhook, with the certificate in FOLDER/leaf.pem. The webhook fills its caches
from the API server at the URL API.

It imports only what the image has, and all that a replica loads, so that its memory is a replica's.
"""

from __future__ import annotations

import ssl
import sys
from pathlib import Path
from typing import Any

import urllib3
import uvloop
from fastapi import FastAPI, Request, Response

import webhook.__main__  # noqa: F401 - what a replica loads besides, for its certificates
from dispatcher.kube import logs
from dispatcher.kube.client import Kube
from dispatcher.kube.login import Login
from webhook.app import create_app
from webhook.body_reader import BodyReader
from webhook.handlers import Handlers
from webhook.informer_caches import InformerCaches
from webhook.metrics import WebhookMetrics
from webhook.server import raise_descriptor_limit, webhook_server
from webhook.settings import WebhookSettings

LOOPBACK = "127.0.0.1"


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


def serve(what: str, port: int, folder: Path, api: str = "") -> None:
    """Serve the echo, its route or the webhook until the process ends."""
    logs.configure(json=True)
    raise_descriptor_limit()
    settings = WebhookSettings(address=LOOPBACK, port=port)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "leaf.pem")
    app: Any = route() if what == "route" else echo
    if what == "webhook":
        kube = Kube(Login(api, urllib3.PoolManager(), str), "bench")
        caches = InformerCaches(kube, ())
        caches.start()
        if not (caches.namespaces_cache.wait(60) and caches.nodes_cache.wait(60)):
            raise SystemExit("the caches were not filled")
        handlers = Handlers(kube, caches, settings)
        names = ("pods", "namespaces", "workloads")
        endpoints = {f"/{name}": getattr(handlers, name) for name in names}
        body_reader = BodyReader(
            max_bytes=7 << 20, max_buffered_bytes=32 << 20, max_arriving=256, seconds=5
        )
        app = create_app(endpoints, body_reader, WebhookMetrics())
    uvloop.run(webhook_server(app, settings, context).serve())


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
