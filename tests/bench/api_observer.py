"""What agents ask the API server in some seconds, and what other requests take meanwhile.

The API server's audit log has every request of an agent, with the node that its token is bound to.
Its metrics count the events that it sends to watches.
"""

from __future__ import annotations

import re
import statistics
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from dispatcher.kube.errors import KubeError
from tests.bench.process_cost import processor_seconds
from tests.cluster.support.admission import pod
from tests.devcluster.commands import ClusterError
from tests.workers import Workers

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from dispatcher.kube.client import Kube
    from tests.devcluster.cluster import Cluster

PAUSE = 0.1
"""Seconds between two pod creations."""

_NODE_CLAIM = "authentication.kubernetes.io/node-name"


@dataclass
class Latencies:
    """How long requests took; *failures* are those that were not answered as they should be."""

    milliseconds: list[float] = field(default_factory=list)
    failures: int = 0

    @property
    def p99(self) -> float:
        """The 99th percentile, in milliseconds."""
        return sorted(self.milliseconds)[int(len(self.milliseconds) * 0.99)]

    def __str__(self) -> str:
        """Return median and 99th percentile, and the number of failures."""
        if not self.milliseconds:
            return "-"
        text = f"{statistics.median(self.milliseconds):.1f} / {self.p99:.1f}"
        return f"{text}, {self.failures} failed" if self.failures else text


class Period(NamedTuple):
    """What happened in some seconds: requests of agents, by node and kind, and other requests."""

    seconds: float
    requests: Counter[tuple[str, str]]
    others: Latencies
    processor: float  # seconds, of the API server
    watch_events: int  # of definitions, to all watches

    def of(self, nodes: list[str]) -> Counter[str]:
        """Return the number of requests of these nodes' agents, by kind."""
        count = Counter[str]()
        for (node, request), number in self.requests.items():
            if node in nodes:
                count[request] += number
        return count


class ApiObserver:
    """Counts what agents ask the API server, and measures what others wait for.

    The others create pods in *namespace*, as a dry run.
    """

    def __init__(self, cluster: Cluster, kube: Kube, namespace: str) -> None:
        self._cluster = cluster
        self._kube = kube
        self._namespace = namespace

    def during(self, action: Callable[[], object]) -> Period:
        """Return what happened during *action*."""
        entries = len(self._cluster.control_plane.audit_entries())
        events, processor = self._watch_events(), self._processor()
        begun = time.monotonic()
        with pod_creations(self._kube, self._namespace, "weave,canal@net1", PAUSE) as others:
            action()
        seconds = time.monotonic() - begun
        later = self._cluster.control_plane.audit_entries()[entries:]
        return Period(
            seconds,
            requests_of_agents(later),
            others,
            self._processor() - processor,
            self._watch_events() - events,
        )

    def _processor(self) -> float:
        pid = self._cluster.control_plane.services["kube-apiserver"].pid()
        if pid is None:
            raise ClusterError("the API server has ended")
        return processor_seconds(pid)

    def _watch_events(self) -> int:
        """Return how many events of definitions the API server has sent to watches."""
        text = self._kube.get_text("/metrics")
        line = r"^apiserver_watch_events_total\{[^}]*network-attachment-definitions[^}]*\} (\S+)$"
        return int(sum(float(value) for value in re.findall(line, text, re.MULTILINE)))


@contextmanager
def pod_creations(kube: Kube, namespace: str, networks: str, pause: float) -> Iterator[Latencies]:
    """Create pods on *networks*, as a dry run, during the block: one after the other.

    *pause* is in seconds. Yields how long they took so far.
    """
    latencies = Latencies()
    value = pod(networks)

    def create(stopping: threading.Event) -> None:
        while not stopping.wait(pause):
            begun = time.perf_counter()
            try:
                kube.create(f"/api/v1/namespaces/{namespace}/pods?dryRun=All", value)
            except KubeError:
                latencies.failures += 1
            latencies.milliseconds.append((time.perf_counter() - begun) * 1000)

    with Workers(create):
        yield latencies


def requests_of_agents(entries: list[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """Return the number of requests in an audit log by node and verb with resource.

    A watch has two entries, at its begin and at its end: the first counts.
    """
    count = Counter[tuple[str, str]]()
    for entry in entries:
        node = (entry["user"].get("extra") or {}).get(_NODE_CLAIM, [""])[0]
        is_end = entry["verb"] == "watch" and entry["stage"] == "ResponseComplete"
        if node and not is_end:
            resource = entry.get("objectRef", {}).get("resource", "")
            count[node, f"{entry['verb']} {resource}".strip()] += 1
    return count
