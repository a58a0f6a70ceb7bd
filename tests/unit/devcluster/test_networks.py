import ipaddress
from itertools import combinations

import pytest

from tests.devcluster.layout import MAX_NODES, SERVICE_SUBNET
from tests.devcluster.network.networks import NETWORKS


@pytest.mark.parametrize("name", NETWORKS)
def test_a_conflist_gives_a_default_route_for_each_of_its_families(name: str) -> None:
    """As the products do for which it stands."""
    bridge = NETWORKS[name].conflist(1)["plugins"][0]
    families = {ipaddress.ip_network(s).version for s in NETWORKS[name].subnets(1)}
    assert {r["dst"] for r in bridge["ipam"]["routes"]} == {
        {4: "0.0.0.0/0", 6: "::/0"}[family] for family in families
    }


def test_canal_is_ipv4_and_weave_is_dual_stack() -> None:
    """What the tests of both families rely on."""
    families = {
        name: [ipaddress.ip_network(s).version for s in network.subnets(1)]
        for name, network in NETWORKS.items()
    }
    assert families == {"canal": [4], "weave": [4, 6]}


def test_no_two_networks_or_nodes_share_a_subnet() -> None:
    """Nor is one of them the range of the services."""
    subnets = [ipaddress.ip_network(SERVICE_SUBNET)] + [
        ipaddress.ip_network(subnet)
        for network in NETWORKS.values()
        for node in range(1, MAX_NODES + 1)
        for subnet in network.subnets(node)
    ]
    overlapping = [(a, b) for a, b in combinations(subnets, 2) if a.overlaps(b)]
    assert overlapping == []


def test_each_network_has_a_bridge_and_a_file_of_its_own() -> None:
    """One word each; the file's stem ends in the name."""
    assert len({network.bridge for network in NETWORKS.values()}) == len(NETWORKS)
    assert all(n.file.endswith(f"-{name}.conflist") for name, n in NETWORKS.items())
