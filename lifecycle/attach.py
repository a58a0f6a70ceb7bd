"""The test of an installation, ``helm test``: creates pods on its networks and reports on each.

What each pod must show is in :mod:`lifecycle.trial`. Pods of an earlier test are deleted
first. A pod that failed stays until then, so that ``kubectl describe pod`` says why.

Its rights: list nodes; get the ConfigMap ``genie``; create, get and delete the test's pods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from dispatcher.kube.client import object_path
from dispatcher.kube.errors import FORBIDDEN, NOT_FOUND, UNPROCESSABLE, KubeError
from lifecycle import trial
from lifecycle.cluster import list_objects

if TYPE_CHECKING:
    from collections.abc import Callable

    from dispatcher.kube.client import KubeClient
    from lifecycle.trial import TrialPod

POLL_SECONDS = 1.0
"""Time between two readings of a pod."""

REFUSALS = frozenset({FORBIDDEN, UNPROCESSABLE})
"""How the API server answers where the webhook or a policy refuses."""


class TrialOptions(NamedTuple):
    """What the chart chose."""

    namespace: str
    """Where Genie is installed."""
    pods_namespace: str
    """Where the pods of the test are created; the webhook does not look at its own namespace."""
    image: str
    pull_policy: str
    pull_secrets: tuple[str, ...]
    has_webhook: bool
    timeout: float
    """Seconds for all pods together."""


class AttachTest:
    """One run; *report* gets a line for each pod, *clock* is monotonic."""

    def __init__(
        self,
        kube: KubeClient,
        options: TrialOptions,
        *,
        report: Callable[[str], None],
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._kube = kube
        self._options = options
        self._report = report
        self._clock = clock
        self._sleep = sleep
        self._deadline = clock() + options.timeout
        self._pods = f"/api/v1/namespaces/{options.pods_namespace}/pods"

    def run(self) -> bool:
        """Return whether every pod got what is expected. Raises KubeError."""
        path = object_path(f"/api/v1/namespaces/{self._options.namespace}/configmaps", "genie")
        default = (self._kube.get(path).get("data") or {}).get("default-network", "")
        nodes = list_objects(self._kube, "/api/v1/nodes")
        try:
            pods, skipped = trial.plan(nodes, default, has_webhook=self._options.has_webhook)
        except trial.TrialError as error:
            self._report(f"failed  {error}")
            return False

        for pod in pods:
            self._remove(pod)
        attached = [pod for pod in pods if pod.attachments]
        created = [pod for pod in attached if self._create(pod)]
        passed = [self._wait(pod) for pod in created]
        if skipped:
            self._report(f"skipped {trial.TWO_NETWORKS}: {skipped}")
        refused = [self._is_refused(pod) for pod in pods if not pod.attachments]
        return len(created) == len(attached) and all(passed) and all(refused)

    def _create(self, pod: TrialPod) -> bool:
        try:
            self._kube.create(self._pods, self._manifest(pod))
        except KubeError as error:
            if error.status not in REFUSALS:
                raise
            self._report(f"failed  {pod.name}: cni: {pod.value}: {error}")
            return False
        return True

    def _wait(self, pod: TrialPod) -> bool:
        """Wait until *pod* has what is expected, and delete it then."""
        while True:
            got = trial.read(pod, self._kube.get(object_path(self._pods, pod.name)))
            if not got.problem:
                place = f"{', '.join(got.addresses)} on {got.node}"
                self._report(f"ok      {pod.name}: cni: {pod.value}: {place}")
                self._remove(pod)
                return True
            if self._clock() >= self._deadline:
                see = f"kubectl -n {self._options.pods_namespace} describe pod {pod.name}"
                self._report(f"failed  {pod.name}: cni: {pod.value}: {got.problem}; see {see}")
                return False
            self._sleep(POLL_SECONDS)

    def _is_refused(self, pod: TrialPod) -> bool:
        try:
            self._kube.create(self._pods, self._manifest(pod))
        except KubeError as error:
            if error.status not in REFUSALS:
                raise
            self._report(f"ok      {pod.name}: cni: {pod.value}: refused: {error}")
            return True
        self._remove(pod)
        self._report(f"failed  {pod.name}: cni: {pod.value}: it was created, and must be refused")
        return False

    def _manifest(self, pod: TrialPod) -> dict[str, Any]:
        options = self._options
        return trial.manifest(pod, options.image, options.pull_policy, options.pull_secrets)

    def _remove(self, pod: TrialPod) -> None:
        """Delete a pod of this or an earlier test, and wait until it is gone."""
        path = object_path(self._pods, pod.name)
        try:
            self._kube.delete(path)
            while self._kube.get(path) and self._clock() < self._deadline:
                self._sleep(POLL_SECONDS)
        except KubeError as error:
            if error.status != NOT_FOUND:
                raise
