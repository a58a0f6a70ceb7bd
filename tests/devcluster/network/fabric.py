"""The network between the machines of a cluster: namespaces, one bridge, routes.

    machine ──genie<slot>──┐
                     ┌─────┴──────┐
                     │ cp: fabric │──eth0 of each node (default route: outside)
                     └─────┬──────┘──eth0 of outside

Pod subnets are routed between cp and the nodes. As on the internet, `outside` has no route to them:
it answers a pod only if the pod's node masquerades.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.devcluster.commands import run
from tests.devcluster.layout import MAX_NODES, OUTSIDE_IPV4, OUTSIDE_IPV6, Layout, NodeLayout
from tests.devcluster.network.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Iterable

NETNS_FOLDER = Path("/run/netns")
_BRIDGE = "fabric"
_FORWARDING = (
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/default/forwarding",
)


def namespaces(layout: Layout) -> list[str]:
    """Return the names of the cluster's existing network namespaces."""
    if not NETNS_FOLDER.is_dir():
        return []
    names = (path.name for path in NETNS_FOLDER.iterdir())
    return sorted(name for name in names if name.startswith(layout.netns_prefix))


def create_control_plane(layout: Layout) -> None:
    """Create the control plane's namespace with the bridge, and the link to the machine."""
    netns = layout.netns("cp")
    _add_namespace(netns)
    _batch(
        netns,
        f"link add {_BRIDGE} type bridge",
        f"link set {_BRIDGE} up",
        f"addr add {layout.api_ipv4}/24 dev {_BRIDGE}",
        f"addr add {layout.ipv6(2)}/64 dev {_BRIDGE} nodad",
        f"route add default via {layout.outside_ipv4}",
        f"route add default via {layout.outside_ipv6}",
        *_pod_routes(layout, range(1, MAX_NODES + 1)),
    )
    run(["ip", "link", "add", layout.host_link, "type", "veth",
         "peer", "name", "host", "netns", netns])  # fmt: skip
    _batch(netns, f"link set host master {_BRIDGE}", "link set host up")
    run(["ip", "addr", "add", f"{layout.host_ipv4}/24", "dev", layout.host_link])
    run(["ip", "link", "set", layout.host_link, "alias", _alias(layout), "up"])


def create_outside(layout: Layout) -> None:
    """Create the namespace that represents the outside world."""
    _join(layout, "outside", layout.outside_ipv4, layout.outside_ipv6)
    _batch(
        layout.netns("outside"),
        f"addr add {OUTSIDE_IPV4}/32 dev lo",
        f"addr add {OUTSIDE_IPV6}/128 dev lo nodad",
    )


def create_node(node: NodeLayout) -> None:
    """Create a node's namespace, with routes to the pods of the other nodes."""
    layout = node.cluster
    _join(layout, node.name, node.ipv4, node.ipv6)
    others = (number for number in range(1, MAX_NODES + 1) if number != node.number)
    _batch(
        node.netns,
        f"route add default via {layout.outside_ipv4}",
        f"route add default via {layout.outside_ipv6}",
        *_pod_routes(layout, others),
    )


def delete(layout: Layout) -> None:
    """Delete the cluster's namespaces and the link to the machine, as far as they exist."""
    for netns in namespaces(layout):
        run(["ip", "netns", "delete", netns])
    for link in links(layout):  # usually deleted with the namespace of its peer
        run(["ip", "link", "delete", link], check=False)


def links(layout: Layout) -> list[str]:
    """Return the names of the cluster's links in the machine's own namespace."""
    aliases = Path("/sys/class/net").glob("*/ifalias")
    return sorted(a.parent.name for a in aliases if a.read_text().strip() == _alias(layout))


def _alias(layout: Layout) -> str:
    return f"genie-cluster {layout.name}"


def _add_namespace(netns: str) -> None:
    run(["ip", "netns", "add", netns])
    settings = "".join(f"echo 1 > /proc/sys/{name}\n" for name in _FORWARDING)
    run(["nsenter", f"--net={NETNS_FOLDER / netns}", "sh", "-eu"], input=settings)
    _batch(netns, "link set lo up")


def _join(layout: Layout, machine: str, ipv4: str, ipv6: str) -> None:
    netns = layout.netns(machine)
    _add_namespace(netns)
    port = f"to-{machine}"[:15]
    _batch(
        layout.netns("cp"),
        f"link add {port} type veth peer name eth0 netns {netns}",
        f"link set {port} master {_BRIDGE}",
        f"link set {port} up",
    )
    _batch(
        netns,
        f"addr add {ipv4}/24 dev eth0",
        f"addr add {ipv6}/64 dev eth0 nodad",
        "link set eth0 up",
    )


def _pod_routes(layout: Layout, nodes: Iterable[int]) -> list[str]:
    """Return routes to the pods of nodes by number; the nodes may be added later."""
    routes = []
    for number in nodes:
        node = layout.node("", number)
        for network in NETWORKS.values():
            for subnet in network.subnets(number):
                gateway = node.ipv6 if ":" in subnet else node.ipv4
                routes.append(f"route add {subnet} via {gateway}")
    return routes


def _batch(netns: str, *lines: str) -> None:
    run(["ip", "-netns", netns, "-batch", "-"], input="\n".join(lines) + "\n")
