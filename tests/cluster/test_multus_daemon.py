"""Genie's agent on a node that Multus serves with its daemon ("thick"), in the default mode.

The daemon removes its configuration when it ends, also for a restart. In the mode "off" Genie would
attach pods without their definitions, so the agent must not take the node over meanwhile.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.cluster.support.agents import CONFLIST, node_events
from tests.cluster.support.names import name_of
from tests.devcluster import helm
from tests.devcluster.cluster import BOTH_NETWORKS, Cluster
from tests.devcluster.genie import chart_values, import_genie
from tests.devcluster.network import multus_daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

NODE = "node1"
SHIM = "/opt/cni/bin/multus-shim"
RESTART_SECONDS = 6.0
"""How long the daemon is away: the agent notices at once, and looks every 4 seconds besides."""


@pytest.fixture(scope="module")
def served_by_multus() -> Iterator[Cluster]:
    """Yield a node that Multus' daemon serves, with Genie's agent and without its webhook."""
    cluster = Cluster.up(name_of("multus-daemon"), {NODE: BOTH_NETWORKS})
    try:
        multus_daemon.install_multus_daemon(cluster, "canal")
        multus_daemon.start(cluster, cluster.node(NODE))
        values = chart_values(import_genie(cluster), "canal")
        helm.install(cluster, {**values, "webhook": {"enabled": False}})
        yield cluster
    finally:
        cluster.down()


def test_genie_does_not_replace_multus_while_its_daemon_restarts(served_by_multus: Cluster) -> None:
    """Nor without a restart; but as soon as the executable of Multus is removed, too."""
    cluster = served_by_multus
    node = cluster.node(NODE)
    conflist = node.path(CONFLIST)

    def is_refused(problem: str) -> bool:
        return any(problem in each for each in node_events(cluster, NODE, "NotInstalled"))

    cluster.wait_for(lambda: is_refused("runtime calls Multus"), 120, "the agent to refuse")
    multus_daemon.stop(node)
    end = time.monotonic() + RESTART_SECONDS
    while time.monotonic() < end:
        assert not conflist.exists()
        time.sleep(0.1)
    cluster.wait_for(lambda: is_refused("its daemon may be about to"), 120, "the agent to wait")
    multus_daemon.start(cluster, node)
    assert not conflist.exists()

    multus_daemon.stop(node)
    node.path(SHIM).unlink()
    cluster.wait_for(conflist.exists, 120, "Genie to be installed")
