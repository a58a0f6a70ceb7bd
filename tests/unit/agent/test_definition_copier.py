"""The agent follows the cluster's definitions, on an API server that may lack the kind."""

from __future__ import annotations

import json
import shutil
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from dispatcher import networks
from dispatcher.agent.agent import Agent
from dispatcher.agent.definition_copier import RELIST_SECONDS, DefinitionCopier
from dispatcher.kube.definition_reflector import DefinitionReflector
from dispatcher.kube.errors import KubeError
from dispatcher.nad.definition import COLLECTION
from dispatcher.nad.definition_copy import SyncState, encode_sync
from dispatcher.nad.tenant_templates import read_templates
from tests.unit.agent.builders import NODE, SteppedAgent, eventually, node_api, node_labels
from tests.unit.apiserver import Api, definition_object, fail
from tests.unit.reflectors import reporting_changes, retry_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.unit.host import Clock, Host

BRIDGE = '{"type":"bridge"}'
LABEL = "node.cni-genie.io/attachments"
OBSERVE: dict[str, Any] = {
    "attachment_definitions_mode": "observe",
    "attachment_definitions_delay_seconds": 0,
}
GONE = KubeError(410, "Expired", "too old resource version")


@pytest.fixture
def api() -> Iterator[Api]:
    """Yield an API server that reports changes; its watches end with the test."""
    yield from reporting_changes(node_api())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the delays between retries be short."""
    retry_at_once(monkeypatch)


@pytest.fixture
def start(host: Host, api: Api) -> Iterator[Callable[..., DefinitionCopier]]:
    """Return a function that starts a copier with settings; all of them end with the test."""
    copiers = []

    def begin(clock: Callable[[], float] = time.monotonic, **settings: Any) -> DefinitionCopier:
        node_settings = host.settings(**{**OBSERVE, **settings})
        copier = DefinitionCopier(api.client(), node_settings, clock)
        copier.refresh(is_leaving=False)
        copiers.append(copier)
        return copier

    yield begin
    for copier in copiers:
        copier.stop()


def names(host: Host) -> set[str]:
    folder = host.state / "nad"
    return {str(each.relative_to(folder)) for each in folder.glob("*/*")}


def config(file: Path) -> str:
    return str(json.loads(file.read_bytes())["config"]) if file.exists() else ""


def test_definitions_are_copied_when_they_change(
    host: Host, api: Api, start: Callable[..., DefinitionCopier]
) -> None:
    """Those that exist first, then each change; one request in all."""
    api.add(definition_object("shop", "blue", BRIDGE))
    copier = start()
    eventually(lambda: copier.is_complete)
    assert names(host) == {"shop/blue"}

    api.add(definition_object("bank", "red", BRIDGE))
    eventually(lambda: names(host) == {"shop/blue", "bank/red"})
    api.add(definition_object("shop", "blue", '{"type":"macvlan"}'))
    eventually(lambda: "macvlan" in config(host.state / "nad/shop/blue"))
    api.remove(f"/apis/k8s.cni.cncf.io/v1/namespaces/bank/{COLLECTION.rpartition('/')[2]}/red")
    eventually(lambda: names(host) == {"shop/blue"})
    assert [call.method for call in api.calls] == ["WATCH"]


def test_a_missing_kind_is_logged_once_and_awaited(
    host: Host, api: Api, start: Callable[..., DefinitionCopier]
) -> None:
    """Copies of an earlier time stay; the kind may come at any time."""
    kept = host.state / "nad" / "shop" / "old"
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    api.missing.add(COLLECTION)
    with capture_logs() as logs:
        copier = start()
        eventually(lambda: len(api.calls) > 5)
    assert [each["event"] for each in logs] == ["informer cache cannot list or watch"]
    assert not copier.is_complete
    assert names(host) == {"shop/old"}

    api.add(definition_object("shop", "blue", BRIDGE))
    api.missing.clear()
    eventually(lambda: copier.is_complete)
    assert names(host) == {"shop/blue"}


def test_an_error_leads_to_a_new_list(
    host: Host, api: Api, start: Callable[..., DefinitionCopier]
) -> None:
    """What was deleted meanwhile goes, and nothing before the list is complete."""
    kept = host.state / "nad" / "shop" / "blue"
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    state = SyncState(1, is_complete=True)
    (host.state / "nad" / ".synced").write_bytes(encode_sync(state))
    api.before = fail(GONE, "WATCH")
    copier = start()
    eventually(lambda: len(api.calls) > 3)
    assert names(host) == {"shop/blue"}
    assert copier.is_complete  # of an earlier agent: pods may start with these copies
    api.before = lambda _method, _path: None
    eventually(lambda: names(host) == set())


class ScriptedCopies:
    """Records the calls of a reflector, for its order of events."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: self.calls.append(name)


def event(event_type: str, version: str, **annotations: str) -> tuple[str, dict[str, Any]]:
    metadata = {"namespace": "a", "name": "b", "resourceVersion": version}
    return event_type, {"metadata": {**metadata, "annotations": annotations}}


def test_a_watch_is_resumed_only_after_its_initial_events(api: Api) -> None:
    """Otherwise what came before it broke would count as the complete list."""
    copies: Any = ScriptedCopies()
    follower = DefinitionReflector(api.client(), copies, 0)
    follower._list()
    first = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
    steps = [
        (event("ADDED", "5"), first),
        (event("BOOKMARK", "6"), first),
        (event("DELETED", "7"), first),
        (event("BOOKMARK", "8", **{"k8s.io/initial-events-end": "true"}), {}),
        (event("MODIFIED", "9"), {}),
        (event("BOOKMARK", "12"), {}),
    ]
    for (event_type, item), query in steps:
        follower._apply(event_type, item)
        version = "0" if query else item["metadata"]["resourceVersion"]
        assert follower._watch_query() == {**query, "resourceVersion": version}
    assert copies.calls == ["begin_list", "put", "remove", "end_list", "put"]
    assert follower.synced


def test_the_sign_of_life_is_written(
    host: Host, api: Api, start: Callable[..., DefinitionCopier]
) -> None:
    """By each refresh after an answer of the API server."""
    copier = start()
    eventually(lambda: copier.is_complete)
    (host.state / "nad" / ".synced").unlink()
    again = start()
    eventually(lambda: len(api.calls) >= 2 and again.is_complete)
    again.refresh(is_leaving=False)
    state = json.loads((host.state / "nad" / ".synced").read_bytes())
    assert state["complete"] is True
    assert state["alive"] > 0


def test_a_copy_that_another_program_removes_comes_back_while_the_agent_runs(
    host: Host, api: Api, start: Callable[..., DefinitionCopier], clock: Clock
) -> None:
    """By a new list, but not by one list after the other if that program goes on."""
    api.add(definition_object("shop", "blue", BRIDGE))
    copier = start(clock)
    eventually(lambda: copier.is_complete)
    copier.refresh(is_leaving=False)
    assert len(api.calls) == 1

    with capture_logs() as logs:
        (host.state / "nad/shop/blue").unlink()
        copier.refresh(is_leaving=False)
        eventually(lambda: config(host.state / "nad/shop/blue") == BRIDGE)
    [log] = [each for each in logs if each["event"].startswith("copy lost")]
    assert log["path"] == str(host.state / "nad/shop/blue")

    reflector = copier._reflector
    assert reflector is not None
    eventually(lambda: reflector.synced)
    shutil.rmtree(host.state / "nad")
    for _ in range(2):
        copier.refresh(is_leaving=False)
        assert not copier.is_complete, "no pod may be scheduled here without its definitions"
        assert copier._reflector is not None
        assert copier._reflector._start_delay == RELIST_SECONDS
    assert [call.method for call in api.calls] == ["WATCH"] * 2


def test_after_a_minute_lost_copies_are_listed_again_at_once(
    host: Host, api: Api, start: Callable[..., DefinitionCopier], clock: Clock
) -> None:
    """Also the whole folder."""
    api.add(definition_object("shop", "blue", BRIDGE))
    copier = start(clock)
    for _ in range(2):
        eventually(lambda: copier.is_complete)
        shutil.rmtree(host.state / "nad")
        copier.refresh(is_leaving=False)
        eventually(lambda: names(host) == {"shop/blue"})
        clock.now += RELIST_SECONDS


def test_a_node_that_genie_leaves_loses_the_copies(
    host: Host, api: Api, start: Callable[..., DefinitionCopier]
) -> None:
    """And gets them again with the next installation."""
    api.add(definition_object("shop", "blue", BRIDGE))
    copier = start()
    eventually(lambda: copier.is_complete)
    copier.refresh(is_leaving=True)
    copier.refresh(is_leaving=True)
    assert not (host.state / "nad").exists()
    assert not copier.is_complete
    copier.refresh(is_leaving=False)
    eventually(lambda: names(host) == {"shop/blue"})


def test_a_tenant_may_not_take_the_name_of_a_network_of_the_node(
    host: Host, api: Api, start: Callable[..., DefinitionCopier]
) -> None:
    """Two networks with one CNI name would share the store of addresses."""
    host.network("shop.blue")
    template = {"namespaces": ["*"], "plugins": [{"type": "ptp"}]}
    for name in ("blue", "red"):
        text = json.dumps({"type": "ptp", "name": f"shop.{name}"})
        api.add(definition_object("shop", name, text))
    copier = start(trusted_namespaces=(), tenant_templates=read_templates(json.dumps([template])))
    eventually(lambda: copier.is_complete)
    refused = json.loads((host.state / "nad/shop/blue").read_bytes())["refused"]
    assert 'is taken by the network "shop.blue" of this node' in refused
    assert config(host.state / "nad/shop/red") != ""


def test_the_networks_of_the_node_are_read_once_for_a_list(
    host: Host, api: Api, start: Callable[..., DefinitionCopier], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of a thousand definitions of tenants asks for them; a later one reads them again."""
    scans = []

    def scan(directories: Any) -> Any:
        scans.append(directories)
        return networks.scan(directories)

    monkeypatch.setattr("dispatcher.agent.definition_copier.networks", SimpleNamespace(scan=scan))
    template = {"namespaces": ["*"], "plugins": [{"type": "ptp"}]}
    text = json.dumps({"type": "ptp", "name": "shop.x"})
    for number in range(20):
        api.add(definition_object("shop", f"blue-{number}", text))
    copier = start(trusted_namespaces=(), tenant_templates=read_templates(json.dumps([template])))
    eventually(lambda: copier.is_complete)
    assert len(scans) == 1
    host.network("shop.x")
    api.add(definition_object("shop", "red", text))
    refused = host.state / "nad/shop/red"
    eventually(lambda: refused.exists() and "is taken by" in refused.read_text())
    assert len(scans) == 2


def test_the_label_follows_the_first_complete_copy(host: Host, api: Api) -> None:
    """It is removed, with the copies, when the mode is off again."""
    host.network("canal")
    host.executable("bridge", "host-local")
    api.missing.add(COLLECTION)
    stepped = SteppedAgent(host, api, **OBSERVE)
    [*_, copying] = stepped.agent.loops
    assert copying.name == "definitions"
    copying.run_once()
    stepped.reconcile()
    assert LABEL not in node_labels(api)

    api.missing.clear()
    eventually(lambda: stepped.agent._definitions.is_complete)
    stepped.publish()
    assert node_labels(api)[LABEL] == "true"
    assert "network.cni-genie.io/canal" in node_labels(api)
    stepped.agent._definitions.stop()

    restarted = SteppedAgent(host, api, **OBSERVE)
    restarted.reconcile()
    assert node_labels(api)[LABEL] == "true", "the copies are complete from before"

    off = SteppedAgent(host, api)
    off.agent._definitions.refresh(is_leaving=False)  # as Agent.start does
    off.reconcile()
    assert LABEL not in node_labels(api)
    assert not (host.state / "nad").exists()


def test_the_label_goes_with_genie(host: Host, api: Api) -> None:
    """And labels of others stay."""
    labels = {LABEL: "true", "network.cni-genie.io/canal": "true", "other": "x"}
    api.objects[NODE]["metadata"]["labels"] = labels
    stepped = SteppedAgent(host, api)
    stepped.agent._labels.withdraw()
    assert node_labels(api) == {"other": "x"}


def test_a_removal_purges_the_copies_too(host: Host, api: Api) -> None:
    """Genie leaves nothing on a node."""
    agent = Agent(host.settings(**OBSERVE), host.plugin(), api.client())
    agent._copy_definitions()
    eventually(lambda: agent._definitions.is_complete)
    agent._state = agent._state._replace(plugin_removed=True)
    agent._read()
    agent._copy_definitions()
    assert list(host.state.iterdir()) == []


def test_without_the_mode_no_loop_copies(host: Host, api: Api) -> None:
    """And the agent asks for nothing."""
    agent = Agent(host.settings(), host.plugin(), api.client())
    assert "definitions" not in [loop.name for loop in agent.loops]
