"""Create and delete pods in a closed loop, and take their times by the clock of this process.

So many pods exist at one time. Each is deleted as soon as it is Ready, and the next is created as
soon as one is gone. Times are from a watch: the API itself has whole seconds only.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

from tests.bench.cluster import is_ready
from tests.devcluster.commands import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dispatcher.kube.client import KubeClient

PATIENCE = 240
"""Seconds for all pods of one loop; it only ends a benchmark that hangs."""


class PodLoop:
    """One loop over *pods*.

    *check_first* gets the first pod that is Ready, while it exists, and *gone* each deleted pod.
    """

    def __init__(
        self,
        kube: KubeClient,
        namespace: str,
        pods: Sequence[dict[str, Any]],
        check_first: Callable[[dict[str, Any]], None] | None = None,
        gone: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.ready: dict[str, float] = {}
        """By pod: seconds from before the request that creates it to the event that it is Ready."""
        self.seconds = 0.0
        """Of the whole loop."""
        self._kube = kube
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._waiting = iter(pods)
        self._remaining = {pod["metadata"]["name"] for pod in pods}
        self._check_first = check_first
        self._gone = gone
        self._started: dict[str, float] = {}

    @property
    def pods_per_minute(self) -> float:
        """How many pods were created, Ready and deleted in a minute."""
        return 60 * len(self.ready) / self.seconds

    def run(self, at_once: int) -> None:
        """Let all pods come and go, at most *at_once* at a time.

        Raises ClusterError after PATIENCE seconds, and KubeError if a request is refused.
        """
        since = self._kube.get(self._path, {"limit": "1"})["metadata"]["resourceVersion"]
        begin = time.perf_counter()
        with self._kube.watch(self._path, {"resourceVersion": since}, seconds=PATIENCE) as events:
            self._create(at_once)
            for event in events:
                self._handle(event["type"], event["object"], time.perf_counter())
                if not self._remaining:
                    break
        self.seconds = time.perf_counter() - begin

        if self._remaining:
            names = ", ".join(sorted(self._remaining))
            raise ClusterError(f"pods that are not gone after {PATIENCE} s: {names}")

    def _create(self, count: int) -> None:
        for pod in itertools.islice(self._waiting, count):
            self._started[pod["metadata"]["name"]] = time.perf_counter()
            self._kube.create(self._path, pod)

    def _handle(self, event: str, pod: dict[str, Any], now: float) -> None:
        name = pod["metadata"].get("name")  # a bookmark has none
        if name not in self._remaining:
            return

        if event == "DELETED":
            self._remaining.remove(name)
            self._create(1)
            if self._gone:
                self._gone(pod)
        elif name not in self.ready and is_ready(pod):
            if self._check_first and not self.ready:
                self._check_first(pod)
            self.ready[name] = now - self._started[name]
            self._kube.delete(f"{self._path}/{name}")
