"""The loop of pods of a benchmark: how many exist at one time, and what is counted.

The API server is a fake that is Ready at once: it exists to decide when each event arrives, and to
refuse requests.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.kube.errors import KubeError
from tests.bench.pod_loop import PodLoop
from tests.devcluster.commands import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator


class FakeApi:
    """Emits, for each creation, a pod that is not Ready, and one that is; ends with its events."""

    def __init__(self, *, refused: str = "", keeps: str = "") -> None:
        self.events: deque[dict[str, Any]] = deque()
        self.existing: set[str] = set()
        self.most = 0
        self._refused, self._keeps = refused, keeps

    def get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        """Return an empty list."""
        assert (path, query) == ("/api/v1/namespaces/space/pods", {"limit": "1"})
        return {"metadata": {"resourceVersion": "7"}}

    @contextlib.contextmanager
    def watch(
        self, path: str, query: dict[str, str], *, seconds: int
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """Yield the events so far, then those that follow from the requests."""
        assert (path, query) == ("/api/v1/namespaces/space/pods", {"resourceVersion": "7"})
        assert seconds > 0
        self._emit("MODIFIED", "another", ready=True)
        self.events.append({"type": "BOOKMARK", "object": {"metadata": {}}})
        yield iter(self._next, None)

    def create(self, path: str, pod: dict[str, Any]) -> None:
        """Let the pod exist, and be Ready."""
        name = pod["metadata"]["name"]
        if name == self._refused:
            raise KubeError(403, "Forbidden", f"{path}: refused")
        self.existing.add(name)
        self.most = max(self.most, len(self.existing))
        self._emit("ADDED", name, ready=False)
        self._emit("MODIFIED", name, ready=True)

    def delete(self, path: str) -> None:
        """Let the pod terminate and be gone."""
        name = path.rpartition("/")[2]
        self._emit("MODIFIED", name, ready=True)  # with its deletionTimestamp
        if name != self._keeps:
            self.existing.remove(name)
            self._emit("DELETED", name, ready=False)

    def _emit(self, event: str, name: str, *, ready: bool) -> None:
        status = {"conditions": [{"type": "Ready", "status": str(ready)}]}
        self.events.append(
            {"type": event, "object": {"metadata": {"name": name}, "status": status}}
        )

    def _next(self) -> dict[str, Any] | None:
        return self.events.popleft() if self.events else None


def loop(api: FakeApi, count: int, at_once: int) -> tuple[PodLoop, list[str], list[str]]:
    """Run a loop; return it, and the names of the pods that were checked, and that were deleted."""
    names: tuple[list[str], list[str]] = ([], [])
    check, gone = (lambda pod, to=each: to.append(pod["metadata"]["name"]) for each in names)
    pods = [{"metadata": {"name": f"p{number}"}} for number in range(count)]
    one = PodLoop(api, "space", pods, check, gone)  # type: ignore[arg-type]
    one.run(at_once)
    return one, *names


@pytest.mark.parametrize(("count", "at_once"), [(1, 1), (7, 3), (3, 5)])
def test_all_pods_come_and_go_and_never_more_exist_than_permitted(count: int, at_once: int) -> None:
    """Each is timed once, the first is checked, and other pods of the namespace do not count."""
    api = FakeApi()
    one, checked, gone = loop(api, count, at_once)
    assert sorted(one.ready) == [f"p{number}" for number in range(count)]
    assert min(one.ready.values()) >= 0
    assert one.pods_per_minute == pytest.approx(60 * count / one.seconds)
    assert (api.most, api.existing) == (min(count, at_once), set())
    assert (checked, sorted(gone)) == (["p0"], sorted(one.ready))


def test_a_refused_pod_ends_the_loop() -> None:
    """The API server's reason is not lost."""
    with pytest.raises(KubeError, match="refused"):
        loop(FakeApi(refused="p2"), 4, 2)


def test_a_pod_that_stays_ends_the_loop_with_its_name() -> None:
    """The watch ends after its time."""
    with pytest.raises(ClusterError, match=r"not gone after .* s: p1$"):
        loop(FakeApi(keeps="p1"), 3, 3)
