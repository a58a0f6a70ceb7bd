"""What agents ask the API server in some seconds, and what other requests take meanwhile.

The API server's audit log has every request of an agent, with the node that its token is bound to.
Its metrics count the events that it sends to watches.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.bench.process_cost import processor_seconds
from tests.cluster.support.admission import pod
from tests.devcluster.commands import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dispatcher.kube.client import Kube
    from tests.devcluster.cluster import Cluster

OTHERS_EVERY = 0.1
"""Seconds between two other requests."""

_NODE_CLAIM = "authentication.kubernetes.io/node-name"


class Period(NamedTuple):
    """What happened in some seconds: requests of agents, by node and kind, and other requests."""

    seconds: float
    requests: Counter[tuple[str, str]]
    others: list[float]  # milliseconds
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
        self._others = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"

    def during(self, action: Callable[[], object]) -> Period:
        """Return what happened during *action*."""
        entries = len(self._cluster.control_plane.audit_entries())
        events, processor = self._watch_events(), self._processor()
        begun = time.monotonic()
        with self._other_requests() as others:
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
    def _other_requests(self) -> Iterator[list[float]]:
        """Yield the milliseconds of requests of somebody else, which go on during the block."""
        stopping = threading.Event()
        times: list[float] = []
        value = pod("weave,canal@net1")

        def ask() -> None:
            while not stopping.wait(OTHERS_EVERY):
                begun = time.perf_counter()
                self._kube.create(self._others, value)
                times.append((time.perf_counter() - begun) * 1000)

        with ThreadPoolExecutor(1) as executor:
            asking = executor.submit(ask)
            try:
                yield times
            finally:
                stopping.set()
                asking.result()


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
