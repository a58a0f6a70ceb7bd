"""An agent, its API server, and helpers to wait for what its threads do."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from prometheus_client import generate_latest

from dispatcher.agent.agent import Agent
from dispatcher.state import journal
from tests.unit.apiserver import Api, node_object
from tests.unit.builders import ARGS

if TYPE_CHECKING:
    from pathlib import Path

    from dispatcher.cni_errors import CNIError
    from tests.unit.host import Host

CANAL = "network.cni-genie.io/canal"
WEAVE = "network.cni-genie.io/weave"

NODE = "/api/v1/nodes/n1"


def node_api(labels: dict[str, str] | None = None) -> Api:
    """Return an API server with the node of the tests."""
    return Api(node_object("n1", labels))


def node_labels(api: Api) -> dict[str, str]:
    """Return the labels of the node."""
    labels: dict[str, str] = api.objects[NODE]["metadata"]["labels"]
    return labels


def emitted(api: Api) -> list[dict[str, Any]]:
    """Return the Events at the API server, in order."""
    return [found for path, found in list(api.objects.items()) if "/events/" in path]


def eventually(holds: Any) -> None:
    """Wait for what another thread brings about."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in 10 s"
        time.sleep(0.02)


def fetch(port: int, path: str) -> tuple[int, str]:
    """Return status and body of an HTTP answer of the agent."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def write_journal(
    folder: Path, failure: CNIError | None = None, *, pod: str = "u1", now: float = 1.0
) -> None:
    """Add a line to the journal in *folder*, as the plugin does. *pod* is the UID."""
    code = failure.code if failure else 0
    steps = [journal.attachment_entry("weave", "eth0", 0.03, code)]
    journal.append(
        str(folder),
        command="ADD",
        container_id="c1",
        args=ARGS.replace("u1", pod),
        attachments=steps,
        error=failure,
        now=now,
        seconds=0.04,
    )


class SteppedAgent:
    """An agent whose loops run when the test says so, without delays of labels."""

    def __init__(self, host: Host, api: Api, **settings: Any) -> None:
        at_once = {"gone_seconds": 0, "start_seconds": 0}
        node_settings = host.settings(**{**at_once, **settings})
        self.agent = Agent(node_settings, host.plugin(), api.client())
        self._reconcile_loop, self._publish_loop, self._records_loop, *_ = self.agent.loops

    def reconcile(self) -> None:
        """Reconcile, publish the labels, and reconcile again, as the agent does."""
        for loop in (self._reconcile_loop, self._publish_loop, self._reconcile_loop):
            loop.run_once()

    def publish(self) -> None:
        """Publish without reconciling before."""
        self._publish_loop.run_once()

    def read(self) -> None:
        """Read journal and records."""
        self._records_loop.run_once()

    def shows(self, series: str) -> bool:
        """Return whether the metrics have a line that begins with *series*."""
        lines = generate_latest(self.agent.metrics.registry).decode().splitlines()
        return any(line.startswith(series) for line in lines)
