"""The configurations of other projects' networks, as the tests write them to a node."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

from tests.devcluster.layout import SERVICE_SUBNET
from tests.devcluster.network.networks import NETWORKS
from tests.devcluster.network.products import (
    FLANNEL_NETWORK,
    PRODUCTS,
    flannel_conflist,
    whereabouts_conflist,
)

SUBNET_ENV = """\
FLANNEL_NETWORK=10.50.0.0/16
FLANNEL_SUBNET=10.50.2.1/24
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
"""
PUBLISHED: dict[str, Any] = {
    "name": "cbr0",
    "cniVersion": "1.0.0",
    "plugins": [
        {"type": "flannel", "delegate": {"hairpinMode": True, "isDefaultGateway": True}},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}


def test_flannels_configuration_takes_the_nodes_subnet_from_subnet_env() -> None:
    """The rest stays as flannel publishes it: name, gateway, hairpin mode, port mappings."""
    conflist = flannel_conflist(PUBLISHED, SUBNET_ENV)
    bridge, portmap = conflist["plugins"]
    assert (conflist["name"], conflist["cniVersion"]) == ("cbr0", "1.0.0")
    assert bridge["ipam"] == {
        "type": "host-local",
        "ranges": [[{"subnet": "10.50.2.0/24"}]],
        "routes": [{"dst": "10.50.0.0/16"}],
    }
    assert (bridge["isDefaultGateway"], bridge["hairpinMode"], bridge["mtu"]) == (True, True, 1450)
    assert portmap == PUBLISHED["plugins"][1]


def test_whereabouts_gives_no_pod_the_gateway_of_a_node() -> None:
    """One range for all nodes, and a gateway on each, which the range excludes."""
    for node in (1, 9):
        ipam = whereabouts_conflist(node)["plugins"][0]["ipam"]
        assert IPv4Address(ipam["gateway"]) in IPv4Network(ipam["exclude"][0])
        assert IPv4Network(ipam["exclude"][0]).subnet_of(IPv4Network(ipam["range"]))


def test_no_range_overlaps_another() -> None:
    """Neither between these networks nor with the stand-ins and the Services."""
    ranges = [IPv4Network(SERVICE_SUBNET)]
    ranges += [IPv4Network(p.subnet_on(1)) for p in PRODUCTS.values()]
    ranges += [IPv4Network(n.subnets(1)[0]) for n in NETWORKS.values()]
    ours = [(a, b) for a in ranges for b in ranges if a is not b and a.overlaps(b)]
    assert ours == []
    assert IPv4Network(PRODUCTS["flannel"].subnet_on(1)).subnet_of(IPv4Network(FLANNEL_NETWORK))
