"""The networks that a node can have: each is a conflist of real CNI plugins.

`canal` and `weave` stand in for the products of those names. Like these, each has a bridge, an
address range per node and a default route. For Genie, a network is any conflist with that name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Network:
    """One network; `{node}` in a subnet stands for the node's number."""

    name: str
    file: str
    bridge: str
    ipv4: str
    ipv6: str = ""

    def subnets(self, node: int) -> list[str]:
        """Return the address ranges of this network on one node, IPv4 first."""
        return [s.format(node=node) for s in (self.ipv4, self.ipv6) if s]

    def conflist(self, node: int) -> dict[str, Any]:
        """Return the network's configuration on one node."""
        default_routes = [{"dst": "0.0.0.0/0"}] + ([{"dst": "::/0"}] if self.ipv6 else [])
        bridge = {
            "type": "bridge",
            "bridge": self.bridge,
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": subnet}] for subnet in self.subnets(node)],
                "routes": default_routes,
            },
        }
        portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
        return {"cniVersion": "1.0.0", "name": self.name, "plugins": [bridge, portmap]}


NETWORKS = {
    network.name: network
    for network in (
        Network("canal", "10-canal.conflist", "canal0", "10.244.{node}.0/24"),
        Network(
            "weave", "20-weave.conflist", "weave0", "10.32.{node}.0/24", "fd00:32:0:{node}::/64"
        ),
    )
}
