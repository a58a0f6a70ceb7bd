"""Load on the real API server: clients that create pods until the ``with`` block ends."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from dispatcher.kube.client import KubeError
from tests.cluster.support.admission import api, pod
from tests.workers import Workers

if TYPE_CHECKING:
    from dispatcher.kube.client import Kube
    from tests.devcluster.cluster import Cluster

PODS = "/api/v1/namespaces/busy/pods"
"""The path for new pods; tests create this namespace, and empty it."""


class Load(Workers):
    """Several clients that create pods, *pause* seconds apart; each pod must be normalised.

    No scheduler handles the pods: the load is on admission.
    """

    def __init__(self, cluster: Cluster, clients: int = 3, *, pause: float = 0.0) -> None:
        super().__init__(*(partial(self._run, api(cluster)) for _ in range(clients)))
        self.calls = 0
        self.faults: list[str] = []
        self._pause = pause
        self._pod = pod(" weave , canal ", schedulerName="nobody")
        self._lock = threading.Lock()

    def _run(self, kube: Kube, stopping: threading.Event) -> None:
        while not stopping.wait(self._pause):
            try:
                # Like kubectl, without a short deadline: on a busy machine an answer may take long.
                created = kube.create(PODS, self._pod, timeout=60)
                stored = created["metadata"]["annotations"]["cni"]
                fault = "" if stored == "weave,canal" else f"stored as {stored!r}"
            except KubeError as error:
                fault = str(error)
            with self._lock:
                self.calls += 1
                if fault:
                    self.faults.append(fault)
