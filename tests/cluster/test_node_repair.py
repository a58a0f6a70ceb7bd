"""The agent restores what is lost of plugin and conflist, and backs off from another program."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.cluster.support.agents import CONFLIST, LAUNCHER, fresh_agents, node_events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster
    from tests.devcluster.node.node import Node

NODE = "node1"
BIN = "/opt/cni/bin"
GONE = "/opt/cni/gone"


def gone(*names: str) -> list[str]:
    """Return the command that moves these names out of the directory of plugins."""
    return ["sh", "-ec", f"mkdir {GONE}; cd {BIN}; mv {' '.join(names)} {GONE}"]


@pytest.fixture
def others_plugins(cluster: Cluster) -> Iterator[None]:
    """Restore other plugins that a test has moved away."""
    yield
    others = f"rm -rf {GONE}/genie {GONE}/.genie; cp -a {GONE}/. {BIN}"
    script = f"if test -e {GONE}; then {others}; rm -rf {GONE}; fi"
    cluster.node(NODE).run(["sh", "-ec", script])


def restored_at(node: Node) -> float:
    """Return when the last part of the plugin got its name, in seconds since the epoch."""
    launcher = node.path(LAUNCHER)
    folder = launcher.read_text().splitlines()[0].partition("#!")[2].rpartition("/")[0]
    return max(launcher.stat().st_ctime, node.path(folder).stat().st_ctime)


@pytest.mark.usefixtures("others_plugins")
@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(gone("genie"), id="the launcher"),
        pytest.param(gone(".genie"), id="the hidden folder"),
        pytest.param(gone("genie", ".genie"), id="the whole plugin"),
        pytest.param(["sh", "-c", f"echo more >> {LAUNCHER}"], id="an edit of the launcher"),
        pytest.param(gone("*", ".genie"), id="all of its directory"),
        pytest.param(["mv", BIN, GONE], id="its directory itself"),
    ],
)
def test_a_lost_part_of_the_plugin_is_restored_within_5_seconds(
    cluster: Cluster, loss: list[str]
) -> None:
    """The plugin answers the runtime again.

    The change times of the files count, not the time at which the test notices.
    """
    node = cluster.node(NODE)
    before = node.path(LAUNCHER).read_bytes()
    lost_at = time.time()
    node.run(loss)
    version = ["env", "-i", "CNI_COMMAND=VERSION", LAUNCHER]

    def works() -> bool:
        restored = node.path(LAUNCHER)
        whole = restored.exists() and restored.read_bytes() == before
        return whole and node.run(version, input="", check=False).returncode == 0

    cluster.wait_for(works, 120, "the plugin to be restored")
    assert lost_at < restored_at(node) < lost_at + 5


def test_the_agent_backs_off_when_its_conflist_is_removed_twice_in_a_minute(
    cluster: Cluster,
) -> None:
    """Cilium's ``cni.exclusive`` renames it: the agent restores it once, then emits an Event.

    It is restored within 5 seconds, by the change times of the files.
    """
    node = cluster.node(NODE)
    path, renamed = node.path(CONFLIST), node.path(f"{CONFLIST}.cilium_bak")

    def cilium_events() -> int:
        return sum("Cilium" in message for message in node_events(cluster, NODE, "NotInstalled"))

    fresh_agents(cluster)  # they have not seen a loss yet
    before = cilium_events()
    try:
        node.run(["mv", CONFLIST, f"{CONFLIST}.cilium_bak"])
        cluster.wait_for(path.exists, 120, "the conflist to be restored")
        assert path.stat().st_ctime - renamed.stat().st_ctime < 5
        node.run(["mv", CONFLIST, f"{CONFLIST}.cilium_bak"])
        cluster.wait_for(lambda: cilium_events() > before, 120, "an Event that names Cilium")
        assert not path.exists()
    finally:
        node.run(["mv", f"{CONFLIST}.cilium_bak", CONFLIST])
        fresh_agents(cluster)  # they make the node ready at once
