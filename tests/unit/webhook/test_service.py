"""One replica from its start to its end, with real sockets and a stand-in for Kubernetes."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from dispatcher.kube.client import KubeError
from dispatcher.nad.definition import COLLECTION
from tests.ports import free_port
from tests.unit.apiserver import Api, fail, namespace_object, node_object
from tests.unit.webhook.builders import FakeCertificates, envelope, pod
from webhook.server import ListenError
from webhook.service import Service
from webhook.settings import WebhookSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


NODE = node_object("n1", {"network.cni-genie.io/weave": "true"})


class Replica:
    """A running service, and what the outside sees of it."""

    def __init__(self, api: Api, **settings: Any) -> None:
        self.api = api
        self.certificates = FakeCertificates()
        self.settings = WebhookSettings(
            address="127.0.0.1", port=free_port(), probe_port=free_port(), **settings
        )
        self.service = Service(self.settings, api.client(), self.certificates)

    def _probe(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.settings.probe_port, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()

    async def probe(self, path: str) -> tuple[int, str]:
        """Return status and text of a probe, (0, "") while nobody listens."""
        with contextlib.suppress(OSError):
            return await asyncio.to_thread(self._probe, path)
        return 0, ""

    async def until(self, path: str, status: int, text: str = "") -> None:
        """Wait for a probe to answer so."""
        async with asyncio.timeout(10):
            while True:
                result = await self.probe(path)
                if result[0] == status and text in result[1]:
                    return
                await asyncio.sleep(0.02)

    def _review(self) -> tuple[int, str | None]:
        context = ssl.create_default_context()
        self.certificates.authority.configure_trust(context)
        connection = http.client.HTTPSConnection(
            "localhost", self.settings.port, timeout=5, context=context
        )
        with contextlib.closing(connection):
            body = json.dumps(envelope(pod("weave")))
            connection.request("POST", "/pods", body, {"content-type": "application/json"})
            response = connection.getresponse()
            return response.status, response.headers["connection"]

    async def review(self) -> tuple[int, str | None]:
        """Return status and Connection header of the answer to a review."""
        return await asyncio.to_thread(self._review)


@contextlib.asynccontextmanager
async def started(replica: Replica) -> AsyncIterator[Replica]:
    running = asyncio.create_task(replica.service.run())
    try:
        yield replica
    finally:
        replica.service.stop()
        await running
        replica.api.close()


def healthy() -> Api:
    return Api(namespace_object("team-a"), NODE)


def test_a_replica_starts_serves_drains_and_leaves() -> None:
    """On SIGTERM it goes on answering, each time closing the connection, until it is drained."""

    async def scene() -> None:
        replica = Replica(healthy(), drain_seconds=20)
        async with started(replica):
            await replica.until("/readyz", 200, "ok")
            assert await replica.review() == (200, None)
            assert replica.certificates.calls == ["start"]
            os.kill(os.getpid(), signal.SIGTERM)
            await replica.until("/readyz", 503, "draining")
            assert await replica.review() == (200, "close")
            assert (await replica.probe("/healthz"))[0] == 200
            assert replica.service.webhook is not None
            replica.service.webhook.stop()  # instead of waiting for 20 s
        assert replica.certificates.calls == ["start", "stop"]
        assert (await replica.probe("/healthz"))[0] == 0

    uvloop.run(scene())


def test_liveness_does_not_depend_on_the_api_server_and_readiness_does() -> None:
    """Without an API server a replica lives, and says what it waits for."""

    async def scene() -> None:
        api = healthy()
        api.before = fail(KubeError(0, "NoAnswer", "no answer"))
        replica = Replica(api, drain_seconds=0)
        async with started(replica):
            await replica.until("/healthz", 200)
            await replica.until("/readyz", 503, "caches of namespaces and nodes are not synced yet")
            assert await replica.review() == (503, "close")

    uvloop.run(scene())


def test_readiness_waits_for_trusted_certificates() -> None:
    """A leaf that no configuration trusts yet would be refused by every API server."""

    async def scene() -> None:
        replica = Replica(healthy(), drain_seconds=0)
        replica.certificates.missing = "the bundle is not written yet"
        async with started(replica):
            await replica.until("/readyz", 503, "the bundle is not written yet")
            replica.certificates.missing = ""
            await replica.until("/readyz", 200)

    uvloop.run(scene())


def test_metrics_are_served() -> None:
    """Decisions, latency, caches and networks."""

    async def scene() -> str:
        replica = Replica(healthy(), networks=("canal",), drain_seconds=0.1)
        async with started(replica):
            await replica.until("/readyz", 200)
            await replica.review()
            return (await replica.probe("/metrics"))[1]

    metrics = uvloop.run(scene())
    for line in (
        'genie_webhook_decisions_total{endpoint="pods",outcome="patched",reason="scheduled"} 1.0',
        'genie_webhook_request_duration_seconds_bucket{endpoint="pods",le="0.0005"}',
        "genie_webhook_in_flight_requests 0.0",
        "genie_webhook_known_networks 2.0",
        "genie_webhook_namespace_cache_objects 1.0",
        "genie_webhook_node_cache_objects 1.0",
    ):
        assert line in metrics
    assert "genie_webhook_node_cache_age_seconds NaN" not in metrics
    assert "_created" not in metrics


def test_labels_are_repaired_from_the_start() -> None:
    """Of namespaces that were written while no webhook ran."""

    async def scene() -> None:
        api = Api(namespace_object("team-a", {"cni": "weave"}), NODE)
        replica = Replica(api, drain_seconds=0)
        async with started(replica):
            await replica.until(
                "/metrics", 200, 'genie_webhook_label_repairs_total{result="done"} 1.0'
            )
        assert [call.path for call in api.calls_of("PATCH")] == ["/api/v1/namespaces/team-a"]

    uvloop.run(scene())


@pytest.mark.parametrize(
    ("taken", "setting"),
    [("port", r"--port \(GENIE_PORT\)"), ("probe_port", r"--probe-port \(GENIE_PROBE_PORT\)")],
)
def test_a_port_that_is_taken_ends_the_replica(taken: str, setting: str) -> None:
    """With an error that names the setting, not by waiting; the other port is free again."""

    async def scene() -> None:
        replica = Replica(healthy(), drain_seconds=0)
        async with started(replica):
            await replica.until("/readyz", 200)
            free = {"port": free_port(), "probe_port": free_port()}
            settings = replica.settings.model_copy(
                update={**free, taken: getattr(replica.settings, taken)}
            )
            second = Service(settings, replica.api.client(), replica.certificates)
            sentence = rf"setting {setting}: cannot listen on port .* address already in use"
            with pytest.raises(ListenError, match=sentence):
                await second.run()

    uvloop.run(scene())


@pytest.mark.parametrize("mode", ["off", "observe"])
def test_definitions_are_followed_in_a_mode_alone(mode: str) -> None:
    """A cluster without the kind delays no replica, and in the mode off none is asked for."""

    async def scene() -> set[str]:
        api = healthy()
        api.missing.add(COLLECTION)
        replica = Replica(api, drain_seconds=0, attachment_definitions_mode=mode)
        async with started(replica):
            await replica.until("/readyz", 200)
            return {call.path for call in api.calls}

    assert (COLLECTION in uvloop.run(scene())) is (mode == "observe")
