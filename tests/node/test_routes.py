"""A pod has only its primary's default routes, for IPv4 and IPv6; other routes stay."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.node.harness import Node
    from tests.node.namespaces import Container

SUBNETS = {"weave": ("10.32.0.0/16", "fd00:32::/64"), "canal": ("10.244.0.0/16", "fd00:44::/64")}
OWN = {"weave": ("10.132.0.0/16", "fd00:132::/64"), "canal": ("10.144.0.0/16", "fd00:144::/64")}
FAMILIES = {4: "0.0.0.0/0", 6: "::/0"}


def _ipam(node: Node, name: str) -> dict[str, Any]:
    routes = [{"dst": dst} for dst in (*OWN[name], *FAMILIES.values())]
    return node.ipam(*SUBNETS[name], routes=routes)


def _bridge(node: Node, name: str) -> None:
    node.network(name, {**node.bridge_conf(name), "ipam": _ipam(node, name)})


def _bridge_that_is_the_default_gateway(node: Node, name: str) -> None:
    conf = {**node.bridge_conf(name), "isDefaultGateway": True, "ipam": _ipam(node, name)}
    conf["ipam"]["routes"] = [{"dst": dst} for dst in OWN[name]]
    node.network(name, conf)


def _ptp(node: Node, name: str) -> None:
    node.network(name, {"type": "ptp", "ipam": _ipam(node, name)})


RETURNS_WHAT_IT_DID_NOT_SET = """#!/usr/bin/python3 -IS
import json, os, subprocess, sys
done = subprocess.run(["REAL/bridge"], stdin=sys.stdin, stdout=subprocess.PIPE)
if os.environ["CNI_COMMAND"] == "ADD":
    result = json.loads(done.stdout)
    result["routes"] += [{"dst": "0.0.0.0/0", "gw": "10.9.9.9"}, {"dst": "::/0"}]
    print(json.dumps(result))
sys.exit(done.returncode)
"""


def _returns_what_it_did_not_set(node: Node, name: str) -> None:
    """Install a fake in front of bridge: no real plugin invents routes on demand."""
    program = RETURNS_WHAT_IT_DID_NOT_SET.replace("REAL", str(node.plugins))
    node.delegate("invents", "").write_text(program)
    ipam = node.ipam(*SUBNETS[name], routes=[{"dst": dst} for dst in OWN[name]])
    node.network(name, {**node.bridge_conf(name, kind="invents"), "ipam": ipam})


SECONDARIES: dict[str, Callable[[Node, str], None]] = {
    "bridge": _bridge,
    "bridge as default gateway": _bridge_that_is_the_default_gateway,
    "ptp": _ptp,
    "a plugin that returns routes it did not set": _returns_what_it_did_not_set,
}


def _defaults(node: Node, pod: Container, family: int) -> list[str]:
    return [each["dev"] for each in node.routes(pod, family) if each["dst"] == "default"]


PAIRS = [
    *(pytest.param(_bridge, how, id=f"bridge, {name}") for name, how in SECONDARIES.items()),
    pytest.param(_ptp, _bridge, id="ptp, bridge"),
    pytest.param(_ptp, _ptp, id="ptp, ptp"),
]


@pytest.mark.parametrize(("primary", "secondary"), PAIRS)
def test_only_the_primarys_default_routes_stay(
    node: Node, primary: Callable[[Node, str], None], secondary: Callable[[Node, str], None]
) -> None:
    """In either order: one default route per family; other routes of the secondary stay."""
    primary(node, "weave")
    secondary(node, "canal")
    orders = {"first": "weave,canal@net1", "second": "canal@net1,weave"}
    pods = {node.container(name): annotation for name, annotation in orders.items()}
    with ThreadPoolExecutor() as threads:  # IPv6 addresses take seconds to settle
        for answer in threads.map(node.add, pods, pods.values()):
            routes = {route["dst"] for route in answer.succeeded()["routes"]}
            assert routes >= {*OWN["weave"], *FAMILIES.values()}
    for pod in pods:
        for family, own in zip(FAMILIES, OWN["canal"], strict=True):
            assert _defaults(node, pod, family) == ["eth0"]
            devices = {each["dst"]: each["dev"] for each in node.routes(pod, family)}
            assert devices[own] == "net1"
        node.check(pod).succeeded()  # the real plugins find the rest as they made it
        node.delete(pod).succeeded()
    left = node.left(*pods)
    assert (left.links, any(left.addresses.values())) == ([], False)


def test_of_many_networks_with_default_routes_only_the_primarys_stay(node: Node) -> None:
    """The same network several times, the primary in the middle."""
    _bridge(node, "weave")
    _bridge(node, "canal")
    pod = node.container("pod")
    node.add(pod, "canal@a,canal@b,weave@eth0,weave@c").succeeded()
    assert node.links(pod) == ["a", "b", "c", "eth0"]
    for family in FAMILIES:
        assert _defaults(node, pod, family) == ["eth0"]
    node.delete(pod).succeeded()
    assert not any(node.left(pod).addresses.values())


def test_a_primary_without_default_route_leaves_the_pod_without_one(node: Node) -> None:
    """A secondary never provides the default route."""
    _ptp(node, "canal")
    pod = node.container("pod")
    node.add(pod, "weave,canal@net1").succeeded()
    for family in FAMILIES:
        assert _defaults(node, pod, family) == []
    node.delete(pod).succeeded()


def test_the_nodes_own_default_route_is_never_touched(node: Node) -> None:
    """The plugin removes routes inside the pod's namespace, and then leaves that namespace."""
    node.sh("ip link add up0 type bridge; ip link set up0 up; ip addr add 192.0.2.1/24 dev up0")
    node.sh("ip route add default via 192.0.2.2")
    _bridge(node, "weave")
    _bridge(node, "canal")
    pod = node.container("pod")
    node.add(pod, "weave,canal@net1").succeeded()
    assert "default via 192.0.2.2 dev up0" in node.sh("ip route")
    node.delete(pod).succeeded()


MOVES_ITS_DEFAULT_ROUTE = """
if [ $CNI_COMMAND = ADD ]; then
  nsenter --net=$CNI_NETNS ip route del default dev $CNI_IFNAME
  nsenter --net=$CNI_NETNS ip route add default via 10.244.0.1 dev $CNI_IFNAME table 100
  exec sed 's/.*"prevResult"://; s/}$//'
fi"""


def test_a_default_route_in_a_table_of_its_own_stays(node: Node) -> None:
    """The chained plugin sbr (here a script) moves it there; it is not used by default."""
    _bridge(node, "weave")
    node.delegate("mover", MOVES_ITS_DEFAULT_ROUTE)
    ipam = node.ipam("10.244.0.0/16", routes=[{"dst": "0.0.0.0/0"}])
    node.network("canal", {**node.bridge_conf("canal"), "ipam": ipam}, {"type": "mover"})
    pod = node.container("pod")
    node.add(pod, "weave,canal@net1").succeeded()
    assert _defaults(node, pod, 4) == ["eth0"]
    moved = node.sh("ip route show table 100", net=pod.netns)
    assert "default via 10.244.0.1 dev net1" in moved
    node.delete(pod).succeeded()
    assert not any(node.left(pod).addresses.values())


REPLACES_THE_DEFAULT_ROUTE = """
if [ $CNI_COMMAND = ADD ]; then
  nsenter --net=$CNI_NETNS ip route del default dev $CNI_IFNAME
  nsenter --net=$CNI_NETNS ip route replace default via 10.244.0.1 dev $CNI_IFNAME
  exec sed 's/.*"prevResult"://; s/}$//'
fi"""
ADDS_A_NEXT_HOP = """
if [ $CNI_COMMAND = ADD ]; then
  in="nsenter --net=$CNI_NETNS ip route"
  $in del default; $in del default
  $in add default nexthop FIRST nexthop SECOND
  exec sed 's/.*"prevResult"://; s/}$//'
fi"""
OWN_HOP, PRIMARYS_HOP = "via 10.244.0.1 dev $CNI_IFNAME", "via 10.32.0.1 dev eth0"


def _adds(first: str, second: str) -> str:
    return ADDS_A_NEXT_HOP.replace("FIRST", first).replace("SECOND", second)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(REPLACES_THE_DEFAULT_ROUTE, id="its own in the place of the primary's"),
        pytest.param(_adds(OWN_HOP, PRIMARYS_HOP), id="itself as the first of two next hops"),
        pytest.param(_adds(PRIMARYS_HOP, OWN_HOP), id="itself as the second of two next hops"),
    ],
)
def test_the_primarys_default_route_survives_what_a_plugin_made_of_it(
    node: Node, script: str
) -> None:
    """The plugin is a script in a chain behind bridge; the pod uses its primary's route."""
    weave = node.ipam("10.32.0.0/16", routes=[{"dst": "0.0.0.0/0"}])
    node.network("weave", {**node.bridge_conf("weave"), "ipam": weave})
    node.delegate("meddler", script)
    canal = node.ipam("10.244.0.0/16", routes=[{"dst": "0.0.0.0/0"}])
    node.network("canal", {**node.bridge_conf("canal"), "ipam": canal}, {"type": "meddler"})
    pod = node.container("pod")
    node.add(pod, "weave,canal@net1").succeeded()
    defaults = [each for each in node.routes(pod, 4) if each["dst"] == "default"]
    assert [(each["dev"], each["gateway"]) for each in defaults] == [("eth0", "10.32.0.1")]
    node.delete(pod).succeeded()
    assert not any(node.left(pod).addresses.values())


WITHOUT_AN_INTERFACE = """
if [ $CNI_COMMAND = ADD ]; then
  echo '{"cniVersion": "1.0.0", "routes": [{"dst": "0.0.0.0/0"}]}'
fi"""


def test_a_network_without_an_interface_of_the_kernels_is_attached(node: Node) -> None:
    """Networks for user space (here a script) have no kernel interface and no routes to remove."""
    node.delegate("userspace", WITHOUT_AN_INTERFACE)
    node.network("canal", {"type": "userspace"})
    pod = node.container("pod")
    node.add(pod, "weave,canal@net1").succeeded()
    node.delete(pod).succeeded()
