"""Networks that a known plugin cannot attach to one pod, from the agent to ``kubectl apply``.

Two networks of the node use a plugin that is called ``calico``, and is the real bridge plugin.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.support.agents import pod_events
from tests.cluster.support.node_networks import node_networks
from tests.cluster.support.observe import interfaces
from tests.cluster.support.pods import pod_manifest, wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster

NODE = "node1"
TYPES = "cni-genie.io/plugin-types"
STAND_INS = {"north": "10.61.0.0/24", "south": "10.62.0.0/24"}
REFUSAL = (
    'Invalid value: "south": item 2: item 1 ("north") uses the same plugin "calico", which can '
    "attach a pod only once: it names the host side of the link after the pod, so the second "
    "attachment deletes the first interface; choose one of the two networks"
)


def conflist(name: str, subnet: str) -> dict[str, Any]:
    ipam = {"type": "host-local", "ranges": [[{"subnet": subnet}]]}
    plugin = {"type": "calico", "bridge": f"{name}0", "isGateway": True, "ipam": ipam}
    return {"cniVersion": "1.0.0", "name": name, "plugins": [plugin]}


def annotation(cluster: Cluster) -> str:
    """Return the plugin types that the node's agent has published."""
    return str(cluster.get("node", NODE)["metadata"].get("annotations", {}).get(TYPES, ""))


@pytest.fixture(scope="module", autouse=True)
def stand_ins(cluster: Cluster) -> Iterator[None]:
    """Install both networks on the node, for all tests of this module."""
    node = cluster.node(NODE)
    node.run(["cp", "/opt/cni/bin/bridge", "/opt/cni/bin/calico"])
    with node_networks(cluster, NODE, *(conflist(*each) for each in STAND_INS.items())):
        yield
    node.run(["rm", "-f", "/opt/cni/bin/calico"])


@pytest.fixture
def other_node(cluster: Cluster) -> Iterator[None]:
    """Create a second Node, which has all networks and no kubelet.

    Of its plugins it says nothing of the stand-ins, and that weave is one that it is not.
    """
    networks = ("canal", "weave", *STAND_INS)
    about = {
        "name": "other",
        "labels": {f"network.cni-genie.io/{name}": "true" for name in networks},
        "annotations": {TYPES: "canal=calico;weave=weave-net"},
    }
    cluster.apply({"apiVersion": "v1", "kind": "Node", "metadata": about})
    yield
    cluster.kubectl("delete", "node", "other")


def said_at_apply(cluster: Cluster, namespace: str, value: str) -> str:
    """Return kubectl's messages about a pod with *value*, in a dry run."""
    pod = pod_manifest("tried", value)
    return cluster.apply(pod, "-n", namespace, "--dry-run=server", check=False).stderr


def wait_to_hear(cluster: Cluster, namespace: str, value: str, words: str) -> None:
    """Wait until kubectl prints *words* for a pod with *value*; each replica has its own cache."""
    heard = 0

    def often_enough() -> bool:
        nonlocal heard
        heard = heard + 1 if words in said_at_apply(cluster, namespace, value) else 0
        return heard >= 4  # so that both replicas have answered

    cluster.wait_for(often_enough, 120, f'"{words}" at kubectl apply')


def test_the_agent_publishes_the_plugin_types_of_the_nodes_networks(cluster: Cluster) -> None:
    """It publishes those of every network, and restores them after a change by another client."""
    every = "canal=bridge,portmap;north=calico;south=calico;weave=bridge,portmap"
    cluster.wait_for(lambda: annotation(cluster) == every, 120, "the annotation")
    cluster.kubectl("annotate", "node", NODE, "--overwrite", f"{TYPES}=weave=weave-net")
    cluster.wait_for(lambda: annotation(cluster) == every, 120, "the annotation to be put right")


def test_kubectl_apply_and_the_node_refuse_with_the_same_message(
    cluster: Cluster, namespace: str
) -> None:
    """A pod on one of the networks runs."""
    wait_to_hear(cluster, namespace, "north,south@net1", f"metadata.annotations[cni]: {REFUSAL}")
    refused = cluster.apply(pod_manifest("both", "north,south@net1"), "-n", namespace, check=False)
    print(refused.stderr)
    assert refused.stderr.startswith('The Pod "both" is invalid: ')

    manifest = json.dumps(pod_manifest("both", "north,south@net1"))
    explained = cluster.node(NODE).run(
        ["/opt/cni/bin/genie", "explain", "-"], input=manifest, check=False
    )
    assert explained.returncode == 1
    assert REFUSAL in explained.stderr

    cluster.apply(pod_manifest("one", "weave,south@net1"), "-n", namespace)
    wait_until_ready(cluster, namespace, "one")
    assert interfaces(cluster, "one", namespace)["net1"].bridge == "south0"


def test_kubectl_warns_of_an_unreachable_secondary(cluster: Cluster, namespace: str) -> None:
    """The pod is admitted; kubectl prints the warning."""
    warning = 'Warning: "south" works only as the primary (on eth0)'
    wait_to_hear(cluster, namespace, "weave,south@net1", warning)


@pytest.mark.usefixtures("other_node")
def test_when_nodes_disagree_the_pod_is_created_and_its_node_decides(
    cluster: Cluster, namespace: str
) -> None:
    """The webhook warns; the node refuses before it attaches anything."""
    warning = 'Warning: some nodes will refuse the pod: "north", "south": plugin "calico"'
    wait_to_hear(cluster, namespace, "north,south@net1", warning)
    before = {name: cluster.node(NODE).addresses(name) for name in STAND_INS}
    pod = pod_manifest("both", "north,south@net1")
    pod["spec"]["nodeName"] = NODE
    cluster.apply(pod, "-n", namespace)
    cluster.wait_for(
        lambda: pod_events(cluster, namespace, "both", "NetworkNotAttached"), 120, "the Event"
    )
    assert REFUSAL in pod_events(cluster, namespace, "both", "NetworkNotAttached")[0]
    assert {name: cluster.node(NODE).addresses(name) for name in STAND_INS} == before


@pytest.mark.usefixtures("other_node")
def test_wrong_plugin_types_of_one_node_prevent_no_pod_from_running(
    cluster: Cluster, namespace: str
) -> None:
    """A hostile node can only cause a warning."""
    warning = 'Warning: some nodes will refuse the pod: "weave" listed twice: plugin "weave-net"'
    wait_to_hear(cluster, namespace, "weave,weave@net1", warning)
    cluster.apply(pod_manifest("twice", "weave,weave@net1"), "-n", namespace)
    wait_until_ready(cluster, namespace, "twice")
