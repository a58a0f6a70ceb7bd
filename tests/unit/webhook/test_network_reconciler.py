"""The reconciler of networks.cni-genie.io, over a stand-in for the API server."""

from __future__ import annotations

import contextlib
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import keys
from dispatcher.kube.cache import WatchCache
from dispatcher.kube.client import KubeError
from dispatcher.kube.lease import Lease
from tests.unit.apiserver import Api, fail, node_object
from webhook import network_reconciler
from webhook.informer_caches import NODES
from webhook.network_objects import NETWORKS
from webhook.network_reconciler import NetworkReconciler
from webhook.snapshot import parse_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LEASE = "/apis/coordination.k8s.io/v1/namespaces/genie-system/leases/networks"
SETTINGS = "/api/v1/namespaces/genie-system/configmaps/genie"
FORBIDDEN = KubeError(403, "Forbidden", "forbidden")


def until(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < limit, "waited 5 s in vain"
        time.sleep(0.005)


def node(name: str, *, weave: bool) -> dict[str, Any]:
    labels = {keys.network_label("weave"): str(weave).lower()}
    return node_object(name, labels, {keys.PLUGIN_TYPES: "weave=weave-net,portmap"})


def set_default(api: Api, network: str) -> None:
    metadata = {"name": "genie", "namespace": "genie-system"}
    api.store(SETTINGS, {"metadata": metadata, "data": {"default-network": network}})


def cluster(*nodes: dict[str, Any]) -> Api:
    """Return an API server with a Lease, the settings and *nodes*, by default one with weave."""
    api = Api(*(nodes or [node("n1", weave=True)]))
    api.reports_changes = True
    api.store(LEASE, {"metadata": {"name": "networks"}})
    set_default(api, "weave")
    return api


class Replica:
    """A reconciler, and what it counted."""

    def __init__(self, api: Api, identity: str = "a", *listed: str) -> None:
        kube = api.client()
        self.results: list[str] = []
        self.nodes = WatchCache(kube, NODES, keep=parse_node)
        self.reconciler = NetworkReconciler(
            kube,
            self.nodes,
            Lease(kube, "genie-system", "networks", identity),
            namespace="genie-system",
            listed=listed,
            count=self.results.append,
        )

    def start(self) -> None:
        """Start cache and reconciler."""
        self.nodes.start()
        self.reconciler.start()


@pytest.fixture(autouse=True)
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_reconciler, "INTERVAL", 0.03)
    monkeypatch.setattr(network_reconciler, "SYNC_INTERVAL", 0.005)
    monkeypatch.setattr(network_reconciler, "WRITE_INTERVAL", 0.001)


@contextlib.contextmanager
def running(api: Api, *replicas: Replica) -> Iterator[None]:
    for each in replicas:
        each.start()
    try:
        yield
    finally:
        for each in replicas:
            each.reconciler.stop()
            each.nodes.stop()
        api.close()
        for thread in threading.enumerate():
            if thread.name.startswith("cache "):
                thread.join(5)


def stored(api: Api, name: str = "weave") -> dict[str, Any]:
    return api.objects.get(f"{NETWORKS}/{name}", {})


def ready(api: Api, name: str = "weave") -> str:
    status: dict[str, Any] = stored(api, name).get("status", {})
    return str(status.get("columns", {}).get("ready", ""))


def writes(api: Api) -> list[tuple[str, str]]:
    return [
        (call.method, call.path.removeprefix(NETWORKS))
        for call in api.calls_of("POST", "PATCH", "DELETE")
    ]


def test_networks_of_nodes_and_of_the_setting_have_objects() -> None:
    """Created without a description, with everything that kubectl prints."""
    api = cluster(node("n1", weave=True), node("n2", weave=False))
    with running(api, Replica(api, "a", "GPU")):
        until(lambda: len(writes(api)) == 4)
    weave = stored(api)
    assert weave["apiVersion"] == "cni-genie.io/v1alpha1"
    assert weave["kind"] == "Network"
    assert weave["spec"] == {"network": "weave"}
    assert weave["status"] == {
        "readyNodes": 1,
        "configuredNodes": 2,
        "totalNodes": 2,
        "default": True,
        "pluginTypes": ["weave-net", "portmap"],
        "columns": {"ready": "1/2", "plugins": "weave-net,portmap"},
    }
    [gpu] = [each for each in api.objects.values() if each.get("spec") == {"network": "GPU"}]
    assert gpu["status"]["columns"]["ready"] == "0/2"


def test_nothing_is_written_while_nothing_changes() -> None:
    """Beyond the renewals of the Lease, which are far apart."""
    api = cluster()
    replica = Replica(api)
    with running(api, replica):
        until(lambda: ready(api) == "1/1")
        time.sleep(0.3)
        assert writes(api) == [("POST", ""), ("PATCH", "/weave/status")]
        assert replica.results == ["done"]


def test_changes_of_nodes_and_of_the_default_reach_the_objects() -> None:
    """From the informer caches."""
    api = cluster()
    with running(api, Replica(api)):
        until(lambda: ready(api) == "1/1")
        api.add(node("n2", weave=False))
        until(lambda: ready(api) == "1/2")
        set_default(api, " canal\n")
        until(lambda: stored(api)["status"]["default"] is False)
        api.remove(SETTINGS)
        api.remove(f"{NODES}/n2")
        until(lambda: ready(api) == "1/1")


def test_what_was_changed_by_hand_is_restored() -> None:
    """A deleted object, and any field of a status; a description stays."""
    api = cluster()
    with running(api, Replica(api)):
        until(lambda: ready(api) == "1/1")
        api.remove(f"{NETWORKS}/weave")
        until(lambda: ready(api) == "1/1")
        edited = stored(api) | {
            "spec": {"network": "weave", "description": "fast"},
            "status": {**stored(api)["status"], "default": False},
        }
        api.store(f"{NETWORKS}/weave", edited)
        until(lambda: stored(api)["status"]["default"] is True)
        assert stored(api)["spec"]["description"] == "fast"


def test_a_network_that_no_node_has_any_more_loses_its_object() -> None:
    """Not while somebody has described it."""
    api = cluster()
    with running(api, Replica(api)):
        until(lambda: ready(api) == "1/1")
        described = {"network": "gpu", "description": "x"}
        api.store(f"{NETWORKS}/gpu", {"metadata": {"name": "gpu"}, "spec": described})
        api.remove(f"{NODES}/n1")
        until(lambda: not stored(api))
        until(lambda: ready(api, "gpu") == "0/0")


def test_a_network_is_written_once_per_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often its nodes change."""
    monkeypatch.setattr(network_reconciler, "INTERVAL", 0.2)
    api = cluster()
    times: list[float] = []

    def record(method: str, path: str) -> None:
        if method == "PATCH" and path.startswith(NETWORKS):
            times.append(time.monotonic())

    api.after = record
    with running(api, Replica(api)):
        limit = time.monotonic() + 30
        while len(times) < 4:
            assert time.monotonic() < limit, "waited 30 s in vain"
            api.add(node(f"n{len(api.changes)}", weave=True))
            time.sleep(0.01)
    assert min(later - earlier for earlier, later in pairwise(times)) >= 0.2


def test_one_replica_writes_and_another_continues() -> None:
    """At once where the first one stops in good order."""
    api = cluster()
    first, second = Replica(api, "a"), Replica(api, "b")
    with running(api, first, second):
        until(lambda: first.reconciler.is_writer or second.reconciler.is_writer)
        if second.reconciler.is_writer:
            first, second = second, first
        time.sleep(0.1)
        assert not second.reconciler.is_writer
        first.reconciler.stop()
        until(lambda: second.reconciler.is_writer)
        api.remove(f"{NETWORKS}/weave")
        until(lambda: ready(api) == "1/1")


def test_without_the_custom_resource_nothing_happens_until_it_is_there() -> None:
    """No write, no Lease, no failure."""
    api = cluster()
    missing = KubeError(404, "NotFound", "the server could not find the requested resource")
    api.before = fail(missing, path=NETWORKS)
    replica = Replica(api)
    with running(api, replica):
        time.sleep(0.1)
        assert writes(api) == []
        assert not replica.reconciler.is_writer
        api.before = lambda _method, _path: None
        until(lambda: ready(api) == "1/1")
    assert set(replica.results) == {"done"}


def test_a_custom_resource_that_goes_away_is_not_written_to() -> None:
    """Its cache has an error until it is back."""
    api = cluster()
    replica = Replica(api)
    with running(api, replica):
        until(lambda: ready(api) == "1/1")
        replica.reconciler._objects._error = KubeError(404, "NotFound", "gone")
        api.add(node("n2", weave=True))
        time.sleep(0.1)
        assert ready(api) == "1/1"
        replica.reconciler._objects._error = None
        until(lambda: ready(api) == "2/2")


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (KubeError(409, "AlreadyExists", "exists"), "stale"),
        (KubeError(404, "NotFound", "not found"), "stale"),
        (KubeError(422, "Invalid", "invalid"), "failed"),
        (FORBIDDEN, "failed"),
    ],
)
def test_a_failed_write_is_counted_and_repeated(error: KubeError, result: str) -> None:
    """Lost races are expected; an administrator must know of the rest."""
    api = cluster()
    api.before = fail(error, "POST")
    replica = Replica(api)
    with running(api, replica):
        until(lambda: len(replica.results) > 1)
        assert set(replica.results) == {result}
        api.before = lambda _method, _path: None
        until(lambda: ready(api) == "1/1")


def test_a_lease_that_cannot_be_held_is_counted() -> None:
    """Nothing is written without it."""
    api = cluster()
    api.before = fail(FORBIDDEN, path=LEASE)
    replica = Replica(api)
    with running(api, replica):
        until(lambda: len(replica.results) > 1)
    assert set(replica.results) == {"failed"}
    assert writes(api) == []


def test_a_lease_that_is_lost_ends_the_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other replica writes the rest."""
    api = cluster()
    replica = Replica(api, "a", "gpu")
    answers = iter([True, True])
    monkeypatch.setattr(Lease, "hold", lambda _lease: next(answers, False))
    with running(api, replica):
        until(lambda: len(writes(api)) == 2)
        time.sleep(0.1)
    assert replica.results == ["done"]


def test_a_lease_that_cannot_be_released_expires() -> None:
    """The end of the replica does not wait for the API server."""
    api = cluster()
    replica = Replica(api)
    with running(api, replica):
        until(lambda: replica.reconciler.is_writer)
        api.before = fail(KubeError(0, "NoAnswer", "no answer"))
        replica.reconciler.stop()
    assert not replica.reconciler.is_writer
