"""When a node attaches pods to definitions, and its label says so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.agent.conflist import ConflistFile, render
from dispatcher.plugin.genie_conf import read_conf
from tests.unit.agent.builders import SteppedAgent, eventually, node_api, node_labels
from tests.unit.reflectors import reporting_changes, retry_at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dispatcher.agent.reconciler import NodeReconciler
    from dispatcher.plugin.genie_conf import PluginSettings
    from tests.unit.apiserver import Api
    from tests.unit.host import Clock, Host

LABEL = "node.cni-genie.io/attachments"
ENFORCE: dict[str, Any] = {
    "attachment_definitions_mode": "enforce",
    "attachment_definitions_delay_seconds": 0,
}
OBSERVE = {**ENFORCE, "attachment_definitions_mode": "observe"}


@pytest.fixture(autouse=True)
def ready(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the default network be ready, and retries be quick."""
    host.network("canal")
    host.executable("bridge")
    retry_at_once(monkeypatch)


@pytest.fixture
def api() -> Iterator[Api]:
    """Yield an API server that reports changes; its watches end with the test."""
    yield from reporting_changes(node_api())


def of_plugin(host: Host, **settings: Any) -> PluginSettings:
    """Return what the plugin reads of the conflist."""
    [plugin] = json.loads(render(host.settings(**settings)))["plugins"]
    own = {**plugin, "name": "genie", "cniVersion": "1.1.0"}
    return read_conf(json.dumps(own).encode(), "ADD").settings


def test_the_plugin_attaches_definitions_in_one_mode_only(host: Host) -> None:
    """With the options of that mode, also where the limits of static pods only warn."""
    for mode in ("off", "observe"):
        assert not of_plugin(host, attachment_definitions_mode=mode).attaches_definitions
    settings = of_plugin(host, **ENFORCE, limits="warn")
    assert (settings.attaches_definitions, settings.allows_cni_args) == (True, False)
    assert settings.excluded_namespaces == ["kube-system", "genie-system"]
    assert settings.multus_namespace == "kube-system"
    settings = of_plugin(
        host,
        **ENFORCE,
        missing_capability="cni-args",
        excluded_namespaces=("kube-system", "cni"),
        multus_namespace="multus",
    )
    assert settings.allows_cni_args
    assert settings.multus_namespace == "multus"
    assert settings.excluded_namespaces == ["kube-system", "cni"]
    assert (settings.max_attachments, settings.max_per_network) == (4, 2)
    assert not of_plugin(host, **ENFORCE, mode="disable").attaches_definitions


@pytest.mark.parametrize(
    "content", [None, b"", b"[]", b'{"plugins": []}', b'{"plugins": [{"args": null}]}']
)
def test_a_conflist_that_cannot_be_read_attaches_none(host: Host, content: bytes | None) -> None:
    """Another program may have written it."""
    conflist = ConflistFile(host.conf)
    if content is not None:
        conflist.path.write_bytes(content)
    assert not conflist.attaches_definitions


def test_the_label_needs_a_conflist_that_attaches_besides_the_copies(host: Host, api: Api) -> None:
    """It is not there before the default network is, and goes with the executable of the plugin."""
    default = host.conf / "10-canal.conflist"
    default.rename(host.root / "aside")
    stepped = SteppedAgent(host, api, **ENFORCE)
    stepped.agent._copy_definitions()
    eventually(lambda: stepped.agent._definitions.is_complete)
    stepped.reconcile()
    assert LABEL not in node_labels(api)

    (host.root / "aside").rename(default)
    stepped.reconcile()
    assert node_labels(api)[LABEL] == "true"
    stepped.agent._definitions.stop()


def test_a_node_that_multus_serves_has_the_label_too(host: Host, api: Api) -> None:
    """Multus attaches definitions there. Without Multus and without Genie the label goes."""
    multus = host.network("m", ["multus"], file="00-multus.conflist")
    host.executable("multus")
    stepped = SteppedAgent(host, api, **ENFORCE)
    stepped.agent._copy_definitions()
    eventually(lambda: stepped.agent._definitions.is_complete)
    stepped.reconcile()
    assert "calls Multus" in stepped.agent.readiness()
    assert node_labels(api)[LABEL] == "true"

    (host.conf / "10-canal.conflist").rename(host.conf / "00-canal.conflist")
    (host.bin / "bridge").unlink()
    multus.unlink()
    stepped.reconcile()
    assert LABEL not in node_labels(api)
    stepped.agent._definitions.stop()


@pytest.mark.parametrize("plugin_type", ["multus", "multus-shim"])
def test_multus_without_its_file_is_replaced_once_its_definitions_are_attached(
    host: Host, make_reconciler: Callable[..., NodeReconciler], plugin_type: str
) -> None:
    """Its daemon removes the file when it starts; pods would lose networks for good."""
    host.executable(plugin_type)
    problem = make_reconciler(**OBSERVE).reconcile().problem
    assert f"Multus is on this node ({host.bin / plugin_type})" in problem
    assert "set attachmentDefinitions.mode: enforce" in problem
    assert make_reconciler(**OBSERVE, allow_replacing_multus=True).reconcile().problem == ""
    (host.conf / "00-genie.conflist").unlink()
    assert make_reconciler(**ENFORCE).reconcile().problem == ""
    assert make_reconciler(**OBSERVE).reconcile().problem == ""  # it is installed


def test_pods_lose_definitions_only_when_the_label_is_gone(host: Host, api: Api) -> None:
    """Otherwise a pod that waits for a node would be scheduled here, and silently lose them."""
    attaching = SteppedAgent(host, api, **ENFORCE)
    attaching.agent._copy_definitions()
    eventually(lambda: attaching.agent._definitions.is_complete)
    attaching.reconcile()
    attaching.agent._definitions.stop()
    conflist = ConflistFile(host.conf)
    assert conflist.attaches_definitions

    off = SteppedAgent(host, api)
    reconcile, publish, *_ = off.agent.loops
    reconcile.run_once()
    assert conflist.attaches_definitions
    waits = 'node labels to be updated before it applies attachmentDefinitions.mode "off"'
    assert waits in off.agent.readiness()
    off.agent._definitions.refresh(is_leaving=False)
    publish.run_once()
    assert LABEL not in node_labels(api)
    reconcile.run_once()
    assert off.agent.readiness() == ""
    assert not conflist.attaches_definitions


def test_definitions_are_taken_from_pods_also_while_the_api_server_is_away(
    host: Host, make_reconciler: Callable[..., NodeReconciler], clock: Clock
) -> None:
    """After a minute; to attach more needs no label at all."""
    unpublished = {"labels_published": False}
    conflist = ConflistFile(host.conf)
    assert make_reconciler(**unpublished).reconcile().problem == ""
    assert make_reconciler(**ENFORCE, **unpublished).reconcile().problem == ""
    assert conflist.attaches_definitions

    reconciler = make_reconciler(**OBSERVE, **unpublished)
    waits = 'before it applies attachmentDefinitions.mode "observe"'
    assert waits in reconciler.reconcile().problem
    clock.now += 60
    assert reconciler.reconcile().problem == ""
    assert not conflist.attaches_definitions
