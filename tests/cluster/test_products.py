"""Networks whose plugins treat default routes as products do, through kubelet and containerd.

The plugin is a fake (``tests/node/product.py``); the whole matrix runs in ``tests/node``.
"""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cluster.support.node_networks import node_networks
from tests.cluster.support.observe import default_routes
from tests.cluster.support.pods import pod_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster

NODE = "node1"
PRODUCT = Path(__file__).parents[1] / "node" / "product.py"
STORE = "/var/lib/cni/networks"
NETWORKS = {"like-calico": "fails", "like-weave": "skips", "like-flannel": "appends"}
"""Each network, with the behaviour of its plugin when a default route exists."""


@pytest.fixture(scope="module")
def products(cluster: Cluster) -> Iterator[None]:
    """Install the networks on the node; remove them afterwards."""
    node = cluster.node(NODE)
    program = node.path("/opt/cni/bin/product")
    shutil.copy(PRODUCT, program)
    conflists = []
    for number, (name, how) in enumerate(NETWORKS.items(), 71):
        plugin = {"type": "product", "number": number, "families": [4, 6], "default": how}
        plugins = [{**plugin, "dataDir": STORE}]
        conflists.append({"cniVersion": "1.0.0", "name": name, "plugins": plugins})

    with node_networks(cluster, NODE, *conflists, file="/etc/cni/net.d/50-{}.conflist"):
        yield
    program.unlink()


def _orders() -> dict[str, str]:
    """Return pods with every order of the networks, and each network as the primary."""
    pods = {}
    for number, (order, primary) in enumerate(
        itertools.product(itertools.permutations(NETWORKS), NETWORKS)
    ):
        items = (name if name == primary else f"{name}@net{at}" for at, name in enumerate(order))
        pods[f"order-{number}"] = ",".join(items)
    return pods


@pytest.mark.usefixtures("products")
def test_pods_start_with_networks_in_every_order_and_use_their_primary(
    cluster: Cluster, namespace: str
) -> None:
    """18 pods on three networks each; after their deletion no address is allocated."""
    pods = _orders()
    for name, annotation in pods.items():
        cluster.apply(pod_manifest(name, annotation), "-n", namespace)
    cluster.kubectl(
        "wait", "-n", namespace, "--for=condition=Ready", "--timeout=120s",
        *(f"pod/{name}" for name in pods),
    )  # fmt: skip
    actual = {name: default_routes(cluster, name, namespace) for name in pods}
    assert actual == {name: [("-4", "eth0"), ("-6", "eth0")] for name in pods}

    cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--grace-period=1", "--wait=true")
    folders = [cluster.node(NODE).path(f"{STORE}/{name}") for name in NETWORKS]
    cluster.wait_for(
        lambda: not any(any(folder.iterdir()) for folder in folders), 120, "the addresses"
    )
