"""The label of a network follows its health: STATUS, and failed ADDs where it has no STATUS.

Pods of a namespace with a list to choose from get another network meanwhile.

Shortened: STATUS is asked every second instead of every 30, and counts after 3 seconds, not 60.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.cluster.support.agents import agent_settings, label, metrics, node_events
from tests.cluster.support.node_networks import node_networks
from tests.cluster.support.observe import interfaces
from tests.cluster.support.pods import pod_manifest, wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster

NODE = "node1"
MOODY = "moody"
PLUGIN = f"/opt/cni/bin/{MOODY}"
DOWN = "/run/moody-is-down"

SCRIPT = f"""#!/bin/sh
# The plugin "bridge", and a fault: its STATUS and ADD fail while the file exists.
case $CNI_COMMAND in STATUS|ADD)
  if [ -e {DOWN} ]; then
    printf '{{"code": 50, "msg": "the daemon does not answer"}}'
    exit 1
  fi
esac
exec /opt/cni/bin/bridge
"""


@contextmanager
def moody_network(cluster: Cluster, cni_version: str) -> Iterator[None]:
    """Put a network onto the node that fails while the file DOWN exists."""
    node = cluster.node(NODE)
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/24"}]]}
    plugin = {"type": MOODY, "bridge": "moody0", "isGateway": True, "ipam": ipam}
    conflist = {"cniVersion": cni_version, "name": MOODY, "plugins": [plugin]}
    node.run(["sh", "-c", f"cat > {PLUGIN} && chmod 755 {PLUGIN}"], input=SCRIPT)
    try:
        with node_networks(cluster, NODE, conflist):
            yield
    finally:
        node.run(["rm", "-f", PLUGIN, DOWN])


def wait_for_label(cluster: Cluster, value: str) -> None:
    """Wait until the node's label of the network has this value."""
    cluster.wait_for(lambda: label(cluster, NODE, MOODY) == value, 120, f"the label {value}")


def test_pods_get_the_next_network_while_the_status_of_the_first_fails(
    cluster: Cluster, namespace: str
) -> None:
    """Event, metric and doctor have the network's own sentence; the first is back when it recovers.

    A pod that names the network waits for it.
    """
    node = cluster.node(NODE)
    choose = f"cni-genie.io/choose={MOODY},canal"
    cluster.kubectl("annotate", "namespace", namespace, choose)
    with (
        agent_settings(cluster, status_seconds=1, gone_seconds=3),
        moody_network(cluster, "1.1.0"),
    ):
        wait_for_choice(cluster, namespace)
        assert create(cluster, namespace, "before") == ""
        wait_until_ready(cluster, namespace, "before")
        node.run(["touch", DOWN])
        wait_for_label(cluster, "false")
        reason = "STATUS of the network returned code 50: the daemon does not answer"
        shown = f'genie_agent_network_unavailable{{network="{MOODY}",reason="{reason}"}} 1.0'
        assert shown in metrics(cluster, NODE)
        wait_for_event(cluster, reason)
        doctor = node.run(["/opt/cni/bin/genie", "doctor"], check=False).stdout
        assert f'problem: network: network "{MOODY}": {reason}' in doctor

        cluster.apply(pod_manifest("waits", MOODY), "-n", namespace)
        cluster.wait_for(
            lambda: "only 0 of 1 node can attach" in create(cluster, namespace, "checks", dry=True),
            120,
            "the webhook to know of the label",
        )
        create(cluster, namespace, "meanwhile")
        wait_until_ready(cluster, namespace, "meanwhile")

        node.run(["rm", DOWN])
        wait_for_label(cluster, "true")
        wait_until_ready(cluster, namespace, "waits")
        wait_for_choice(cluster, namespace)
        assert create(cluster, namespace, "after") == ""
        wait_until_ready(cluster, namespace, "after")
        bridges = {
            name: interfaces(cluster, name, namespace)["eth0"].bridge
            for name in ("before", "meanwhile", "waits", "after")
        }
        assert bridges == {
            "before": "moody0",
            "meanwhile": "canal0",
            "waits": "moody0",
            "after": "moody0",
        }
        cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--grace-period=1")


def wait_for_choice(cluster: Cluster, namespace: str) -> None:
    """Wait until the webhook, which watches the labels, gives a new pod the network."""
    command = ("create", "-f", "-", "-n", namespace, "--dry-run=server")
    manifest = json.dumps(pod_manifest("checks", ""))

    def chosen() -> str:
        cni = ("-o", "jsonpath={.metadata.annotations.cni}")
        return cluster.kubectl(*command, *cni, input=manifest).stdout

    cluster.wait_for(lambda: chosen() == MOODY, 120, f"the webhook to choose {MOODY}")


def create(cluster: Cluster, namespace: str, name: str, *, dry: bool = False) -> str:
    """Create a pod that lets Genie choose its network; return the warnings."""
    manifest = json.dumps(pod_manifest(name, ""))
    options = ("--dry-run=server",) if dry else ()
    return cluster.kubectl(
        "create", "-f", "-", "-n", namespace, *options, input=manifest
    ).stderr.strip()


def wait_for_event(cluster: Cluster, words: str) -> None:
    """Wait until an Event says with these words why the network is not available."""
    cluster.wait_for(
        lambda: any(words in each for each in node_events(cluster, NODE, "NetworkUnavailable")),
        120,
        f"an Event with {words}",
    )


def test_a_network_whose_adds_fail_loses_its_label_until_one_succeeds(
    cluster: Cluster, namespace: str
) -> None:
    """Its configuration is of CNI 1.0, so the reaper asks for no STATUS. Nothing is shortened."""
    node = cluster.node(NODE)
    with moody_network(cluster, "1.0.0"):
        node.run(["touch", DOWN])
        for name in ("one", "two"):
            cluster.apply(pod_manifest(name, MOODY), "-n", namespace)
        wait_for_label(cluster, "false")
        wait_for_event(cluster, "ADD failed for 2 pods")
        node.run(["rm", DOWN])
        wait_for_label(cluster, "true")
        wait_until_ready(cluster, namespace, "one", "two")
        cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--grace-period=1")
