"""A changed ConfigMap takes effect without a restart: node1 has both networks, node2 only weave.

The kubelets of these nodes sync a pod every 10 to 15 seconds (syncFrequency), not every 60 to 90,
and the agents wait 2 seconds at most (GENIE_SETTINGS_DELAY_SECONDS), not 30. So the times here are
shorter than on other clusters by the difference of these settings.
"""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING

import pytest

from tests.cluster.support.agents import (
    CONFLIST,
    agent_pod,
    label,
    metrics,
    node_events,
    removal_confirmed,
)
from tests.cluster.support.observe import interfaces
from tests.cluster.support.pods import pod_on_node, wait_until_ready
from tests.devcluster.genie import NAMESPACE, wait_until_working

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster

BOTH, WEAVE_ONLY = "node1", "node2"
DEFAULT = "weave"
WITHIN = 60
"""Seconds for the kubelet's sync, the agent's delay, and two of the agent's periods."""


def change(cluster: Cluster, **values: str) -> None:
    """Change the ConfigMap, and nothing else."""
    data = {name.replace("_", "-"): value for name, value in values.items()}
    patch = json.dumps({"data": data})
    cluster.kubectl("patch", "configmap", "genie", "-n", NAMESPACE, "--type=merge", "-p", patch)


def in_force(cluster: Cluster, node: str, default: str, mode: str = "install") -> bool:
    """Return whether the agent's metrics show these settings."""
    series = f'default_network="{default}",generation="'
    lines = [line for line in metrics(cluster, node).splitlines() if series in line]
    return any(f'mode="{mode}"' in line for line in lines)


def problem(cluster: Cluster, node: str) -> str:
    """Return the answer of the agent's /readyz."""
    return cluster.node(node).run(["curl", "-sS", "http://127.0.0.1:9471/readyz"]).stdout


@pytest.fixture
def restored(uneven_cluster: Cluster) -> Iterator[dict[str, str]]:
    """Yield the agents' pods; afterwards restore the settings, and check that none was replaced."""
    pods = {node: agent_pod(uneven_cluster, node) for node in uneven_cluster.nodes}
    yield pods
    change(uneven_cluster, default_network=DEFAULT, mode="install", ignored_networks="")
    for node in uneven_cluster.nodes:
        is_restored = functools.partial(in_force, uneven_cluster, node, DEFAULT)
        uneven_cluster.wait_for(is_restored, 120, f"{node}'s settings")
    wait_until_working(uneven_cluster, DEFAULT)
    assert {node: agent_pod(uneven_cluster, node) for node in pods} == pods


@pytest.mark.usefixtures("restored")
def test_a_new_default_is_given_where_it_can_be_attached_and_refused_if_invalid(
    uneven_cluster: Cluster, uneven_namespace: str
) -> None:
    """node2 keeps its default, with an Event and in its readiness; then a value is misspelled."""
    cluster = uneven_cluster
    change(cluster, default_network="canal")
    cluster.wait_for(lambda: in_force(cluster, BOTH, "canal"), WITHIN, "the new default on node1")
    cluster.apply(pod_on_node("changed", None, BOTH), "-n", uneven_namespace)
    wait_until_ready(cluster, uneven_namespace, "changed")
    assert interfaces(cluster, "changed", uneven_namespace)["eth0"].bridge == "canal0"

    cluster.wait_for(
        lambda: node_events(cluster, WEAVE_ONLY, "DefaultNetworkKept"), WITHIN, "node2's Event"
    )
    [message] = set(node_events(cluster, WEAVE_ONLY, "DefaultNetworkKept"))
    assert 'default network "canal" is not ready on this node' in message
    assert message.endswith('new pods without a choice still get "weave"')
    cluster.wait_for(  # the Event is sent before the reconciliation ends
        lambda: problem(cluster, WEAVE_ONLY).strip() == message, 120, "the same in /readyz"
    )
    cluster.apply(pod_on_node("kept", None, WEAVE_ONLY), "-n", uneven_namespace)
    wait_until_ready(cluster, uneven_namespace, "kept")
    assert interfaces(cluster, "kept", uneven_namespace)["eth0"].bridge == "weave0"

    change(cluster, default_network="weave", mode="destroy")
    refused = 'setting "mode" of the ConfigMap genie: must be one of'
    cluster.wait_for(
        lambda: any(refused in each for each in node_events(cluster, BOTH, "SettingsRefused")),
        WITHIN,
        "an Event about the invalid value",
    )
    cluster.wait_for(
        lambda: "genie_agent_settings_refused{problem=" in metrics(cluster, BOTH), 120, "the metric"
    )
    assert in_force(cluster, BOTH, "canal")
    assert '"default": "canal"' in cluster.node(BOTH).path(CONFLIST).read_text()


@pytest.mark.usefixtures("restored")
def test_a_forced_removal_without_confirmation_changes_nothing(
    uneven_cluster: Cluster, uneven_namespace: str
) -> None:
    """Only the node that is confirmed loses Genie; the other one keeps its pod on two networks."""
    cluster = uneven_cluster
    cluster.apply(pod_on_node("needy", "weave,canal@net1", BOTH), "-n", uneven_namespace)
    wait_until_ready(cluster, uneven_namespace, "needy")
    before = cluster.node(BOTH).path(CONFLIST).read_text()
    with removal_confirmed(cluster, WEAVE_ONLY):
        change(cluster, mode="remove --force")
        cluster.wait_for(
            lambda: node_events(cluster, BOTH, "RemovalUnconfirmed"), WITHIN, "node1's Event"
        )
        assert in_force(cluster, BOTH, DEFAULT, "install")
        cluster.wait_for(
            lambda: in_force(cluster, WEAVE_ONLY, DEFAULT, "remove --force"), WITHIN, "node2's mode"
        )
        [message] = set(node_events(cluster, BOTH, "RemovalUnconfirmed"))
        assert f"kubectl annotate node {BOTH} cni-genie.io/confirm-remove=force" in message
        cluster.wait_for(
            lambda: label(cluster, WEAVE_ONLY, "weave") is None, 60, "Genie to leave node2"
        )
    assert not cluster.node(WEAVE_ONLY).path(CONFLIST).exists()
    assert cluster.node(BOTH).path(CONFLIST).read_text() == before
    assert set(interfaces(cluster, "needy", uneven_namespace)) >= {"eth0", "net1"}
