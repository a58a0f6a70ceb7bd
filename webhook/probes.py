"""Probes and metrics, over plain HTTP on a port of their own.

``/healthz`` succeeds whenever the process responds: an unreachable API server is no reason to
restart it. ``/readyz`` says whether this replica should get reviews, and if not, why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.telemetry import TelemetryConfig
    from prometheus_client import CollectorRegistry


def create_probes(not_ready: Callable[[], str], registry: CollectorRegistry) -> FastAPI:
    """Return the application; *not_ready* returns why the replica is not ready, or is empty."""
    off: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, telemetry=off)

    @app.get("/healthz")
    async def healthz() -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    @app.get("/readyz")
    async def readyz() -> PlainTextResponse:
        reason = not_ready()
        return PlainTextResponse(
            f"not ready: {reason}\n" if reason else "ok\n", 503 if reason else 200
        )

    @app.get("/metrics")
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return app
