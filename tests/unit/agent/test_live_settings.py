"""An agent that runs while its mounted settings change; the API server alone is a fake."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dispatcher.agent.agent import Agent
from dispatcher.node import accepted_settings
from dispatcher.state.store import AGENT_PROBLEM
from tests.unit.agent.builders import (
    CANAL,
    NODE,
    WEAVE,
    SteppedAgent,
    emitted,
    eventually,
    fetch,
    node_api,
    node_labels,
)
from tests.unit.mounts import Mount

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.host import Host


@pytest.fixture
def mount(host: Host, tmp_path: Path) -> Mount:
    """Mount a ConfigMap on a node with canal and weave."""
    host.executable("bridge")
    for name in ("canal", "weave"):
        host.network(name)
    mount = Mount(tmp_path / "settings")
    mount.write({"default-network": "canal"})
    return mount


def test_a_changed_configmap_wakes_a_running_agent(host: Host, mount: Mount) -> None:
    """Long before its next regular check; a refused value shows in metrics and for the doctor."""
    options = {"settings_dir": mount.path, "settings_delay_seconds": 0.0, "look_seconds": 60}
    api = node_api()
    agent = Agent(host.settings(port=0, **options), host.plugin(), api.client())
    port = int(agent.start().server_address[1])
    conflist = host.conf / "00-genie.conflist"
    try:
        eventually(lambda: conflist.exists() and b'"canal"' in conflist.read_bytes())
        mount.write({"default-network": "weave"})
        eventually(lambda: b'"default": "weave"' in conflist.read_bytes())
        eventually(
            lambda: 'genie_agent_settings{default_network="weave"' in fetch(port, "/metrics")[1]
        )

        mount.write({"default-network": "a/b"})
        eventually(lambda: "SettingsRefused" in {each["reason"] for each in emitted(api)})
        eventually(lambda: "genie_agent_settings_refused{problem=" in fetch(port, "/metrics")[1])
        eventually(lambda: "must be the name of one network" in _problem(host))
        assert fetch(port, "/readyz")[0] == 200
        assert b'"default": "weave"' in conflist.read_bytes()
    finally:
        agent.stop()


def _problem(host: Host) -> str:
    path = host.state / AGENT_PROBLEM
    return path.read_text() if path.exists() else ""


def test_a_first_start_with_invalid_settings_leaves_the_node_alone(
    host: Host, mount: Mount
) -> None:
    """Nothing is installed, no label is written, and the readiness says why."""
    mount.write({"default-network": "canal", "mode": "gone"})
    api = node_api({CANAL: "true"})
    stepped = SteppedAgent(host, api, settings_dir=mount.path)
    stepped.reconcile()
    assert node_labels(api) == {CANAL: "true"}
    assert not (host.conf / "00-genie.conflist").exists()
    assert not (host.bin / "genie").exists()
    assert 'setting "mode" of the ConfigMap genie' in stepped.agent.readiness()
    assert accepted_settings.read(host.state) is None

    mount.write({"default-network": "canal"})
    stepped.reconcile()
    assert node_labels(api) == {CANAL: "true", WEAVE: "true"}
    assert stepped.agent.readiness() == ""


def test_a_mode_that_changes_waits_for_the_labels_of_that_mode(host: Host, mount: Mount) -> None:
    """Those of the former mode, which the agent has published, do not count."""
    stepped = SteppedAgent(
        host, node_api(), settings_dir=mount.path, settings_delay_seconds=0.0, start_seconds=300
    )
    stepped.reconcile()
    conflist = host.conf / "00-genie.conflist"
    before = conflist.read_bytes()
    mount.write({"default-network": "canal", "mode": "disable"})
    reconcile, publish, _ = stepped.agent.loops
    reconcile.run_once()
    assert conflist.read_bytes() == before
    assert "node labels to be updated" in stepped.agent.readiness()
    publish.run_once()
    reconcile.run_once()
    assert b'"agentSocket": ""' in conflist.read_bytes()
    assert stepped.agent.readiness() == ""


def test_a_forced_removal_begins_when_the_node_is_annotated(host: Host, mount: Mount) -> None:
    """And Genie comes back when the mode is taken back."""
    api = node_api()
    stepped = SteppedAgent(
        host, api, settings_dir=mount.path, settings_delay_seconds=0.0, deadline_seconds=30
    )
    stepped.reconcile()
    mount.write({"default-network": "canal", "mode": "remove --force"})
    stepped.reconcile()
    conflist = host.conf / "00-genie.conflist"
    assert conflist.exists()
    assert "is not confirmed for this node" in stepped.agent.readiness()

    stepped.agent._confirmation._read_at = None  # ten seconds later
    api.objects[NODE]["metadata"]["annotations"] = {"cni-genie.io/confirm-remove": "force"}
    stepped.publish()
    for _ in range(2):
        stepped.reconcile()
    assert not conflist.exists()
    assert stepped.agent.readiness() == ""
    stepped.publish()
    assert node_labels(api) == {}

    mount.write({"default-network": "weave"})
    stepped.reconcile()
    assert b'"default": "weave"' in conflist.read_bytes()
    assert node_labels(api) == {CANAL: "true", WEAVE: "true"}
