"""Handlers: what a decision knows, and when the API server is asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest
from structlog.testing import capture_logs

from dispatcher.kube.client import KubeError
from tests.unit.apiserver import Api, delay, fail, namespace_object, node_object
from tests.unit.webhook.builders import pod, review, workload
from webhook.decision import Decision, NoDecisionError
from webhook.handlers import Handlers
from webhook.informer_caches import MAX_LOG_INTERVALS, InformerCaches
from webhook.review import MalformedReviewError
from webhook.settings import WebhookSettings
from webhook.snapshot import ClusterNetworks, NodeCount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dispatcher.kube.client import KubeClient

NODE = node_object("n1", {"network.cni-genie.io/weave": "true"})
AWAY = KubeError(0, "NoAnswer", "no answer")


class HandlersRig:
    """Handlers with filled caches over a stand-in for the API server."""

    def __init__(self, *, start: bool = True, **settings: Any) -> None:
        self.api = Api(
            namespace_object("team-a"), namespace_object("defaulted", {"cni": "weave"}), NODE
        )
        client = self.api.client()
        self.caches = InformerCaches(client, ("flannel",))
        self.handlers = Handlers(client, self.caches, WebhookSettings(**settings))
        if start:
            self.caches.start()
            assert self.caches.namespaces_cache.wait(5)
            assert self.caches.nodes_cache.wait(5)
            self.api.calls.clear()

    def admit(self, cni: str | None, namespace: str = "team-a") -> Decision:
        """ReviewHandler a pod."""
        manifest = pod(cni, metadata={"namespace": namespace})
        return asyncio.run(self.handlers.pods(review(manifest)))

    def close(self) -> None:
        """End the watches."""
        self.caches.stop()
        self.api.close()


@pytest.fixture
def rig() -> Iterator[HandlersRig]:
    handlers_rig = HandlersRig()
    yield handlers_rig
    handlers_rig.close()


def test_networks_are_the_nodes_and_the_settings(rig: HandlersRig) -> None:
    """Known by label or by setting; present by label."""
    known = frozenset({"weave", "flannel"})
    assert rig.caches.networks == ClusterNetworks(
        known=known, present=frozenset({"weave"}), nodes={"weave": NodeCount(1, 1)}
    )
    assert rig.caches.networks is rig.caches.networks


def too_many(name: str, version: int = 0) -> dict[str, Any]:
    """Return a Node with 300 networks, others in each *version*."""
    networks = range(version, version + 300)
    return node_object(name, {f"network.cni-genie.io/n{number}": "true" for number in networks})


def test_networks_of_nodes_that_name_too_many_are_counted_once_and_each_node_is_logged() -> None:
    """The nodes are named, and so is the total."""
    rig = HandlersRig(start=False)
    for name in ("n1", "n2"):
        rig.api.add(too_many(name))
    with capture_logs() as logged:
        rig.caches.start()
        assert rig.caches.nodes_cache.wait(5)
        assert rig.caches.networks.dropped_count == 44
    assert {line["node"] for line in logged if "labels for too many" in line["event"]} == {
        "n1",
        "n2",
    }
    assert [line["left_out"] for line in logged if "left_out" in line] == [44]
    rig.close()


def test_a_node_that_changes_its_labels_for_ever_fills_no_log() -> None:
    """It is logged once an hour; of nodes that come and go, not all are remembered for that."""
    now = [0.0]
    caches = InformerCaches(cast("KubeClient", None), (), clock=lambda: now[0])
    with capture_logs() as logged:
        for version in range(10):
            caches._keep_node(too_many("n1", version))
        assert len(logged) == 1
        now[0] = 3600.0
        caches._keep_node(too_many("n1"))
        assert len(logged) == 2
        for number in range(MAX_LOG_INTERVALS + 10):
            caches._keep_node(too_many(f"n{number}"))
    assert len(caches._logged_at) <= MAX_LOG_INTERVALS


def test_a_pod_in_a_cached_namespace_costs_no_request(rig: HandlersRig) -> None:
    """Nothing but memory is asked."""
    assert rig.admit("weave").allowed
    assert rig.admit(None, "defaulted").reason == "defaulted"
    assert rig.api.calls == []


def test_a_namespace_younger_than_the_cache_is_asked_for_once(rig: HandlersRig) -> None:
    """A manifest with a namespace and its pods is applied in one go."""
    rig.api.add(namespace_object("new", {"cni": "weave"}))
    assert rig.admit(None, "new").reason == "defaulted"
    assert [call[:2] for call in rig.api.calls] == [("GET", "/api/v1/namespaces/new")]


def test_a_default_younger_than_the_cache_is_asked_for(rig: HandlersRig) -> None:
    """The API server sent the pod because its namespace has a default; the cache is late."""
    rig.api.add(namespace_object("team-a", {"cni": "weave"}))
    assert rig.admit(None).reason == "defaulted"


@pytest.mark.parametrize(("minimum", "network"), [(50, "weave"), (51, "canal")])
def test_a_network_is_chosen_by_the_nodes_and_the_setting(minimum: int, network: str) -> None:
    """Of two nodes, one can attach weave. A DaemonSet there needs no label of a node."""
    rig = HandlersRig(start=False, choose_minimum=minimum)
    labels = {"network.cni-genie.io/weave": "false", "network.cni-genie.io/canal": "true"}
    rig.api.add(node_object("n2", labels))
    rig.api.add(namespace_object("choosing", {"cni-genie.io/choose": "weave,canal"}))
    rig.caches.start()
    assert rig.caches.namespaces_cache.wait(5)
    assert rig.caches.nodes_cache.wait(5)
    try:
        decision = rig.admit("", "choosing")
        assert (decision.audit["source"], decision.audit["networks"]) == ("choice", network)
        assert rig.admit("weave", "choosing").audit["source"] == "annotation"
        daemons = review(workload("", "DaemonSet", namespace="choosing"))
        assert asyncio.run(rig.handlers.workloads(daemons)).warnings == ()
    finally:
        rig.close()


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({"annotations": {"CNI": "weave"}}, id="near-miss"),
        pytest.param({"annotations": {"k8s.v1.cni.cncf.io/networks": "x"}}, id="another-product"),
        pytest.param({"labels": {"cni": "weave"}}, id="label"),
    ],
)
def test_a_pod_with_a_key_that_is_ignored_gets_a_default_younger_than_the_cache(
    rig: HandlersRig, metadata: dict[str, Any]
) -> None:
    """The key does not keep it from its namespace's network; the policy would refuse it without."""
    rig.api.add(namespace_object("team-a", {"cni": "weave"}))
    decision = asyncio.run(rig.handlers.pods(review(pod(metadata=metadata))))
    assert decision.reason == "defaulted"
    assert len(decision.warnings) == 1


def test_a_blank_value_costs_no_request(rig: HandlersRig) -> None:
    """Any namespace sends such a pod, so the cache's word on the default stands."""
    assert rig.admit(" ").allowed
    assert rig.api.calls == []


def test_a_namespace_that_is_cached_will_do_if_there_is_no_answer(rig: HandlersRig) -> None:
    """Whether the default was filled in, a policy sees too."""
    rig.api.before = fail(AWAY)
    assert rig.admit(None).allowed


def test_a_namespace_that_is_cached_will_do_if_too_many_are_looked_up() -> None:
    """A workload of many pods in a namespace with a stale label gets its pods."""
    rig = HandlersRig(max_lookups=1)
    rig.api.before = delay(0.1)

    async def two() -> tuple[Decision, ...]:
        request = review(pod(metadata={"namespace": "team-a"}))
        return await asyncio.gather(rig.handlers.pods(request), rig.handlers.pods(request))

    assert all(decision.allowed for decision in asyncio.run(two()))
    assert len(rig.api.calls) == 1
    rig.close()


def test_a_namespace_that_is_gone_has_no_wishes(rig: HandlersRig) -> None:
    """Kubernetes itself refuses the pod."""
    assert rig.admit("weave", "gone").allowed


def test_look_ups_have_a_rate_for_all_of_the_replica() -> None:
    """Beyond it a review is not decided, so that failurePolicy decides."""
    rig = HandlersRig(max_lookups_per_second=1)
    assert rig.admit("weave", "new1").allowed
    with pytest.raises(NoDecisionError, match="too many look-ups of namespaces"):
        rig.admit("weave", "new2")
    assert rig.admit("weave").allowed
    rig.close()


def test_a_binding_is_decided_before_the_caches_are_filled() -> None:
    """It depends on nothing but itself: a scheduler need not wait."""
    rig = HandlersRig(start=False)
    metadata = {"name": "web", "namespace": "team-a", "annotations": {"cni": "weave"}}
    request = review({"kind": "Binding", "metadata": metadata}, subResource="binding")
    assert asyncio.run(rig.handlers.bindings(request)).reason == "stripped"


def test_a_namespace_that_cannot_be_read_is_no_decision(rig: HandlersRig) -> None:
    """Neither a yes nor a no would be right."""
    rig.api.before = fail(AWAY)
    with pytest.raises(NoDecisionError, match='cannot read namespace "new"'):
        rig.admit("weave", "new")


def test_too_many_look_ups_are_refused_fast() -> None:
    """A burst of young namespaces does not pile up behind a slow API server."""
    rig = HandlersRig(max_lookups=1)
    rig.api.before = delay(0.2)

    async def two() -> list[Any]:
        requests = [
            rig.handlers.pods(review(pod("weave", metadata={"namespace": name})))
            for name in ("new1", "new2")
        ]
        results: list[Any] = await asyncio.gather(*requests, return_exceptions=True)
        return results

    first, second = asyncio.run(two())
    assert first.allowed
    assert isinstance(second, NoDecisionError)
    rig.close()


def test_before_the_caches_are_filled_pods_and_workloads_are_not_decided() -> None:
    """A replica that has just started knows nothing and says so."""
    rig = HandlersRig(start=False)
    with pytest.raises(NoDecisionError, match="are not synced yet"):
        rig.admit("weave")
    manifest = {"kind": "Deployment", "metadata": {"namespace": "team-a"}}
    with pytest.raises(NoDecisionError, match="are not synced yet"):
        asyncio.run(rig.handlers.workloads(review(manifest)))


def test_a_namespace_is_decided_by_its_form_before_the_caches_are_filled() -> None:
    """Bad grammar is bad whatever the cluster has."""
    rig = HandlersRig(start=False)
    manifest = {"kind": "Namespace", "metadata": {"name": "n", "annotations": {"cni": "a/b"}}}
    assert asyncio.run(rig.handlers.namespaces(review(manifest))).code == 422


def test_workloads_are_decided_with_their_namespace(rig: HandlersRig) -> None:
    """Cached or asked for, like a pod's."""
    rig.api.add(namespace_object("new", {"cni-genie.io/allowed": "flannel"}))
    template = {"metadata": {"annotations": {"cni": "weave"}}}
    for namespace, warned in (("team-a", 0), ("new", 1)):
        manifest = {
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {"template": template},
        }
        decision = asyncio.run(rig.handlers.workloads(review(manifest)))
        assert len(decision.warnings) == warned


@pytest.mark.parametrize("endpoint", ["pods", "bindings", "namespaces", "workloads"])
def test_each_endpoint_accepts_its_own_kinds(rig: HandlersRig, endpoint: str) -> None:
    """A rule that sends something else here is an error in the configuration."""
    manifest = {"kind": "Service", "metadata": {"name": "x"}}
    with pytest.raises(MalformedReviewError, match='not "Service"'):
        asyncio.run(getattr(rig.handlers, endpoint)(review(manifest)))


@pytest.mark.parametrize("kind", ["Pod", "Deployment"])
@pytest.mark.parametrize("namespace", ["", "..", "a/b", "A", "x" * 64], ids=repr)
def test_what_is_no_name_of_a_namespace_is_never_asked_for(
    rig: HandlersRig, kind: str, namespace: str
) -> None:
    """Who can reach our port may send anything; the API server is not asked for it."""
    manifest = {"kind": kind, "metadata": {"name": "web", "namespace": namespace}}
    endpoint = rig.handlers.pods if kind == "Pod" else rig.handlers.workloads
    with pytest.raises(MalformedReviewError, match="is not a valid name of a namespace"):
        asyncio.run(endpoint(review(manifest)))
    assert rig.api.calls == []
