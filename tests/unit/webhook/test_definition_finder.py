"""Where the webhook finds the definitions that pods select, and what that costs the API server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.keys import ATTACHMENTS, DEFAULT_NETWORK, NETWORKS
from dispatcher.kube.client import KubeError
from dispatcher.nad import definition
from dispatcher.nad.definition import COLLECTION
from tests.unit.agent.builders import eventually
from tests.unit.apiserver import Api, definition_object, delay, fail, namespace_object, node_object
from tests.unit.reflectors import reporting_changes, retry_at_once
from tests.unit.webhook.builders import patched, pod, review, workload
from webhook import definition_cache
from webhook.definition_cache import DefinitionCache
from webhook.definition_finder import DefinitionFinder
from webhook.definition_snapshot import Definitions
from webhook.handlers import Handlers
from webhook.informer_caches import InformerCaches
from webhook.selections import read_selections
from webhook.settings import WebhookSettings
from webhook.snapshot import ClusterNetworks, Namespace

if TYPE_CHECKING:
    from collections.abc import Iterator

BRIDGE = '{"type":"bridge","capabilities":{"ips":true}}'
SHOP = Namespace("shop")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the delays between retries be short."""
    retry_at_once(monkeypatch)


@pytest.fixture
def api() -> Iterator[Api]:
    """Yield an API server that reports changes; its watches end with the test."""
    yield from reporting_changes(Api())


class FinderRig:
    """A finder, whose cache is filled only if the test starts it."""

    def __init__(self, api: Api, **settings: Any) -> None:
        self.api = api
        self.finder = DefinitionFinder(api.client(), WebhookSettings(**settings))

    def find(self, selection: str, namespace: Namespace = SHOP) -> Definitions:
        """Find what a pod with *selection* selects."""
        return asyncio.run(self.later(selection, namespace))

    async def later(self, selection: str, namespace: Namespace = SHOP) -> Definitions:
        """Find it among others."""
        selections = read_selections({NETWORKS: selection}, namespace, ClusterNetworks())
        return await self.finder.find(selections, namespace)


@pytest.fixture
def rig(api: Api) -> Iterator[FinderRig]:
    finder_rig = FinderRig(api)
    yield finder_rig
    finder_rig.finder.cache.stop()


@pytest.mark.parametrize(
    ("annotations", "mode", "is_of_multus"),
    [
        pytest.param({}, "enforce", True, id="the-default"),
        pytest.param({"cni": "weave"}, "enforce", False, id="another-network"),
        pytest.param({DEFAULT_NETWORK: "blue"}, "enforce", True, id="instead-of-the-namespaces"),
        pytest.param({}, "observe", False, id="observe"),
    ],
)
def test_the_clusters_default_may_be_a_network_of_multus(
    api: Api, annotations: dict[str, str], mode: Any, *, is_of_multus: bool
) -> None:
    """In the mode ``enforce`` Multus attaches such a pod, unless it names a network itself."""
    settings = WebhookSettings(attachment_definitions_mode=mode, networks=("weave", "multus"))
    api.add(definition_object("shop", "blue", BRIDGE))
    api.add(namespace_object("shop", {"cni": "weave"} if DEFAULT_NETWORK in annotations else {}))
    caches = InformerCaches(api.client(), settings.networks)
    finder = DefinitionFinder(api.client(), settings)
    handlers = Handlers(api.client(), caches, settings, finder, lambda: "multus")
    caches.start()
    try:
        eventually(lambda: caches.synced)
        selecting = {NETWORKS: "blue", **annotations}
        manifest = pod(metadata={"namespace": "shop", "annotations": selecting})
        decision = asyncio.run(handlers.pods(review(manifest)))
        written = patched(manifest, decision)["metadata"]["annotations"][ATTACHMENTS]
        assert written[:10] == ("" if is_of_multus else "shop/blue:")
    finally:
        caches.stop()


def test_a_default_network_without_a_namespace_is_one_of_multus(api: Api) -> None:
    """As with Multus itself, whose configuration says which namespace that is."""
    settings = WebhookSettings(
        attachment_definitions_mode="enforce",
        networks=("weave",),
        multus_namespace="multus",
        shared_namespaces=("multus",),
    )
    api.add(definition_object("multus", "blue", BRIDGE))
    api.add(definition_object("shop", "blue", BRIDGE))
    api.add(namespace_object("shop", {}))
    caches = InformerCaches(api.client(), settings.networks)
    handlers = Handlers(api.client(), caches, settings, DefinitionFinder(api.client(), settings))
    caches.start()
    try:
        eventually(lambda: caches.synced)
        selecting = {DEFAULT_NETWORK: "blue", NETWORKS: "blue"}
        manifest = pod(metadata={"namespace": "shop", "annotations": selecting})
        decision = asyncio.run(handlers.pods(review(manifest)))
        written = patched(manifest, decision)["metadata"]["annotations"][ATTACHMENTS]
        assert [each.partition(":")[0] for each in written.split(",")] == [
            "=multus/blue",
            "shop/blue",
        ]
    finally:
        caches.stop()


def test_what_the_cache_has_costs_no_request(rig: FinderRig) -> None:
    """And follows the API server: created, changed, deleted."""
    rig.api.add(definition_object("shop", "blue", BRIDGE))
    cache = rig.finder.cache
    cache.start()
    eventually(lambda: len(cache) == 1)
    calls = len(rig.api.calls)
    first = rig.find("blue").known["shop/blue"]
    assert first is not None
    assert (first.capabilities, first.refused) == (frozenset({"ips"}), "")
    assert len(rig.api.calls) == calls

    rig.api.add(definition_object("shop", "blue", '{"type":"../x"}'))
    eventually(lambda: getattr(cache.get("shop", "blue"), "refused", "") != "")
    rig.api.remove(f"{definition.collection_of('shop')}/blue")
    eventually(lambda: len(cache) == 0)
    assert cache.names("shop") == frozenset()


def test_who_takes_the_cni_name_of_another_definition_is_warned(rig: FinderRig) -> None:
    """With another config: one store of addresses would serve two networks."""
    store = rig.finder.cache
    named = '{"type":"ptp","name":"blue"}'
    for space, config in (("bank", BRIDGE), ("copy", named), ("shop", BRIDGE)):
        store.put(definition.read(definition_object(space, "blue", config)))
    settings = WebhookSettings(attachment_definitions_mode="observe")
    caches = InformerCaches(rig.api.client(), ())
    handlers = Handlers(rig.api.client(), caches, settings, rig.finder)

    def warned(config: str, old: str = "") -> list[str]:
        stored = definition_object("shop", "blue", old) if old else None
        written = definition_object("shop", "blue", config)
        return list(asyncio.run(handlers.definitions(review(written, stored))).warnings)

    [text] = warned(named)
    assert text.startswith(
        'spec.config: name: "bank/blue" has the same CNI name "blue" and another'
    )
    [text] = warned('{"type":"vlan","name":"blue"}')
    assert '"bank/blue" and 1 more has the same CNI name' in text
    assert warned(named, old=named) == []
    assert warned('{"type":"ptp","name":"own"}') == warned("") == []


def test_one_that_is_corrected_with_the_pod_is_looked_up(rig: FinderRig) -> None:
    """The cache may not have the correction yet; without an answer the cache counts."""
    selection = '[{"name":"blue","ips":["10.0.0.2"]}]'
    for stale in ('{"type":"../x"}', '{"type":"bridge"}'):
        rig.finder.cache.put(definition.read(definition_object("shop", "blue", stale)))
        rig.api.before = fail(KubeError(500, "x", "y"), "GET")
        known = rig.find(selection).known["shop/blue"]
        assert known is not None
        assert known.capabilities == frozenset()
        rig.api.before = delay(0)
        rig.api.add(definition_object("shop", "blue", BRIDGE))
        known = rig.find(selection).known["shop/blue"]
        assert known is not None
        assert (known.refused, known.capabilities) == ("", frozenset({"ips"}))


def test_one_that_is_created_with_the_pod_is_looked_up_once(rig: FinderRig) -> None:
    """By all pods that wait for it."""
    rig.api.add(definition_object("shop", "blue", BRIDGE))

    async def run() -> list[Definitions]:
        return await asyncio.gather(*(rig.later("blue,blue@x") for _ in range(5)))

    actual = asyncio.run(run())
    assert all(each.known["shop/blue"] for each in actual)
    assert [call.path for call in rig.api.calls] == [f"{definition.collection_of('shop')}/blue"]


def test_a_missing_one_is_asked_for_once_a_second(rig: FinderRig) -> None:
    """In between it counts as missing; the others of its namespace are for the suggestion."""
    now = [100.0]
    rig.finder._lookups._clock = lambda: now[0]
    rig.finder.cache.put(definition.read(definition_object("shop", "blue", BRIDGE)))
    for _ in range(3):
        assert rig.find("bleu") == Definitions({"shop/bleu": None}, {"shop": frozenset({"blue"})})
    assert len(rig.api.calls) == 1
    rig.api.add(definition_object("shop", "bleu", BRIDGE))
    now[0] += 1.1
    assert rig.find("bleu").known["shop/bleu"]


def test_a_cluster_without_the_kind_has_no_definition(rig: FinderRig) -> None:
    """The webhook serves; the kind may come at any time."""
    rig.api.missing.add(COLLECTION)
    rig.finder.cache.start()
    assert rig.find("blue").known == {"shop/blue": None}
    rig.api.add(definition_object("shop", "red", BRIDGE))
    rig.api.missing.clear()
    eventually(lambda: len(rig.finder.cache) == 1)


@pytest.mark.parametrize("status", [0, 403, 500])
def test_without_an_answer_nothing_is_known(rig: FinderRig, status: int) -> None:
    """Neither that it exists nor that it does not, and the next pod asks again."""
    rig.api.before = fail(KubeError(status, "x", "y"), "GET")
    assert rig.find("blue").known == {}
    assert rig.find("blue").known == {}
    assert len(rig.api.calls) == 2


def test_hostile_pods_cannot_flood_the_api_server(api: Api) -> None:
    """A hundred pods with 32 unknown names each give as many requests as the limit permits."""
    rig = FinderRig(api, max_lookups=4, max_lookups_per_second=10)

    async def run() -> None:
        for number in range(100):
            await rig.later(",".join(f"n{number}-{item}" for item in range(32)))

    asyncio.run(run())
    assert 10 <= len(api.calls) <= 40


def test_a_pod_learns_nothing_of_namespaces_that_it_may_not_use(rig: FinderRig) -> None:
    """Not asked for, not found, no names."""
    rig.api.add(definition_object("bank", "gold", BRIDGE))
    rig.finder.cache.put(definition.read(definition_object("bank", "gold", BRIDGE)))
    assert rig.find("bank/gold,bank/silver") == Definitions({}, {})
    assert rig.api.calls == []
    allowed = Namespace("shop", allowed=("bank/*",))
    assert rig.find("bank/gold", allowed).known["bank/gold"]


@pytest.mark.parametrize("value", ["", " ", "[null]", "a,,b", '[{"name":"../x"}]'])
def test_nothing_is_asked_for_a_pod_without_a_valid_selection(rig: FinderRig, value: str) -> None:
    """So no text of its author becomes a path."""
    assert rig.find(value) == Definitions({}, {})
    assert rig.api.calls == []


def test_the_cache_is_bounded(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """In number, and in what it keeps of one: the rest is looked up."""
    monkeypatch.setattr(definition_cache, "MAX_DEFINITIONS", 3)
    cache = DefinitionCache(api.client(), WebhookSettings().tenant_rules)
    cache.begin_list()
    types = [f"t{number}" for number in range(400)]
    configs = [
        "x" * 1_000_000,
        '{"type":"' + "/" * 5000 + '"}',
        '{"type":"a","capabilities":{' + ",".join(f'"{each}":true' for each in types) + "}}",
        BRIDGE,
    ]
    for number, config in enumerate(configs):
        cache.put(definition.read(definition_object("shop", f"n{number}", config)))
    assert len(cache) == 3
    for name in cache.names("shop"):
        known = cache.get("shop", name)
        assert known is not None
        assert len(str(known)) < 500
    cache.put(definition.read(definition_object("shop", "n0", BRIDGE)))  # one that it has
    cache.put(definition.read(definition_object("../x", "n9", BRIDGE)))  # no name of Kubernetes
    cache.remove("shop", "n1")
    cache.remove("shop", "other")
    assert len(cache) == 2
    cache.end_list()
    cache.begin_list()
    cache.put(definition.read(definition_object("shop", "n2", BRIDGE)))
    cache.end_list()
    assert cache.names("shop") == {"n2"}


def test_pods_and_templates_are_admitted_with_what_was_found(api: Api) -> None:
    """Through the handlers, as the service has them; a pod that exists costs no request."""
    api.add(namespace_object("team-a"))
    api.add(node_object("n1", {"network.cni-genie.io/weave": "true"}))
    api.add(definition_object("team-a", "blue", BRIDGE))
    settings = WebhookSettings(attachment_definitions_mode="observe")
    caches = InformerCaches(api.client(), ())
    caches.start()
    assert caches.namespaces_cache.wait(5)
    assert caches.nodes_cache.wait(5)
    finder = DefinitionFinder(api.client(), settings)
    handlers = Handlers(api.client(), caches, settings, finder)

    manifest = pod(metadata={"annotations": {NETWORKS: "blue"}})
    decision = asyncio.run(handlers.pods(review(manifest)))
    written = patched(manifest, decision)["metadata"]["annotations"][ATTACHMENTS]
    assert written.startswith("team-a/blue:")
    template = {"metadata": {"annotations": {NETWORKS: "bleu"}}}
    result = asyncio.run(handlers.workloads(review(workload(None, template=template))))
    assert "Not found" in result.warnings[-1]
    count = len(api.calls)
    stored = patched(manifest, decision)
    again = asyncio.run(handlers.pods(review(manifest, stored)))
    assert patched(manifest, again)["metadata"] == stored["metadata"]
    assert len(api.calls) == count
    caches.stop()
