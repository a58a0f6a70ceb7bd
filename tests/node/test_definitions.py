"""Pods with NetworkAttachmentDefinitions, on the real CNI plugins.

Each test ends with the DEL of its pod, after which nothing may be left. The copies are removed
first: DEL and CHECK work from the record.
"""

from __future__ import annotations

import json
import random
import shutil
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import cni_errors
from tests.node.calls import DIE
from tests.node.definitions import asks, define, permit, permit_copies, sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.node.harness import Left, Node
    from tests.node.namespaces import Container

BURST = (1 << 32) - 1


@pytest.fixture
def definitions(node: Node) -> Node:
    """Return a node with the definitions blue (a list), red (one plugin, no name) and weave."""
    red = node.bridge_conf("red", "10.61.0.0/24")
    define(node, "blue", {"name": "blue", "plugins": [node.bridge_conf("blue", "10.60.0.0/24")]})
    define(node, "red", red)
    define(node, "weave", "")
    sync(node)
    return node


@pytest.fixture
def pod(definitions: Node) -> Iterator[Container]:
    """Yield a container, and after the test check and release it without any copy."""
    container = definitions.container("pod")
    before = _left(definitions, container)
    yield container
    shutil.rmtree(definitions.state / "nad")
    definitions.check(container).succeeded()
    definitions.delete(container).succeeded()
    assert _left(definitions, container) == before


def _left(node: Node, pod: Container) -> tuple[Left, list[str]]:
    """Return what is left on *node*: empty stores of addresses do not count."""
    rules = node.sh("iptables-save -t nat | grep -e CNI-DN -e 10.6 || true")
    left = node.left(pod)
    for network in [name for name, addresses in left.addresses.items() if not addresses]:
        del left.addresses[network]
    left.state[:] = [name for name in left.state if name != "nad"]
    return left, rules.splitlines()


def _addresses(node: Node, pod: Container) -> dict[str, str]:
    listed = json.loads(node.sh("ip -json -4 address", net=pod.netns))
    return {
        each["ifname"]: each["addr_info"][0]["local"]
        for each in listed
        if each["addr_info"] and each["ifname"] != "lo"
    }


_REFUSED = """
import socket, sys
with socket.socket() as peer:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, sys.argv[1].encode())
    peer.settimeout(5)
    try:
        peer.connect((sys.argv[2], 9))
    except ConnectionRefusedError:
        pass
"""


def _networks(node: Node, pod: Container) -> dict[str, str]:
    """Return by interface the network of its address, whose gateway must answer there."""
    networks = {}
    for interface, address in _addresses(node, pod).items():
        network = ".".join(address.split(".")[:2])
        gateway = f"{network}.0.1"  # its answer is that nothing listens there
        node.sh(f"python3 -c '{_REFUSED}' {interface} {gateway}", net=pod.netns)
        networks[interface] = network
    return networks


PLANS: dict[str, tuple[dict[str, Any], tuple[str, ...], dict[str, str]]] = {
    "networks beside the default": (
        {"networks": "blue,ns/red@data"},
        ("blue", "red"),
        {"eth0": "10.32", "net1": "10.60", "data": "10.61"},
    ),
    "cni and networks": (
        {"networks": "blue", "cni": "canal,weave@net1"},
        ("blue",),
        {"eth0": "10.244", "net1": "10.32", "net2": "10.60"},
    ),
    "one definition twice": (
        {"networks": "red,red"},
        ("red", "red"),
        {"eth0": "10.32", "net1": "10.61", "net2": "10.61"},
    ),
    "another primary and a network of the node": (
        {"networks": "weave", "default": "ns/blue"},
        ("=blue", "weave+nodeNetwork"),
        {"eth0": "10.60", "net1": "10.32"},
    ),
}


@pytest.mark.parametrize(("annotations", "marks", "expected"), PLANS.values(), ids=PLANS)
def test_a_pod_gets_an_address_of_each_network(
    definitions: Node,
    pod: Container,
    annotations: dict[str, Any],
    marks: tuple[str, ...],
    expected: dict[str, str],
) -> None:
    """Short form; a list, one plugin, no name, no configuration. Each gateway answers."""
    node = definitions
    permitted = permit_copies(node, *marks)
    result = node.add(pod, **asks(permitted=permitted, **annotations)).succeeded()
    assert _networks(node, pod) == expected
    assert result["ips"][0]["address"].startswith(expected["eth0"])


def test_addresses_and_hardware_addresses_are_those_of_the_pod(
    definitions: Node, pod: Container
) -> None:
    """``static`` and ``bridge`` get them as capability arguments, host-local as ``cni-args``."""
    node = definitions
    bridge = {"type": "bridge", "bridge": "green0", "ipam": {"type": "static"}}
    define(node, "green", {**bridge, "capabilities": {"ips": True, "mac": True}})
    networks = [
        {"name": "green", "ips": ["10.62.0.77/24"], "mac": "02:23:45:67:89:01"},
        {"name": "red", "cni-args": {"ips": ["10.61.0.99"]}},
    ]
    node.add(pod, **asks(networks, permit_copies(node, "green", "red"))).succeeded()
    addresses = _addresses(node, pod)
    assert (addresses["net1"], addresses["net2"]) == ("10.62.0.77", "10.61.0.99")
    assert "02:23:45:67:89:01" in node.sh("ip link show net1", net=pod.netns)


def test_port_mappings_and_bandwidth_are_applied(definitions: Node, pod: Container) -> None:
    """``portmap`` forwards the node's port, and ``bandwidth`` limits the interface."""
    node = definitions
    plugins = [
        node.bridge_conf("green", "10.63.0.0/24"),
        {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
        {"type": "bandwidth", "capabilities": {"bandwidth": True}},
    ]
    define(node, "green", {"plugins": plugins})
    element = {
        "name": "green",
        "portMappings": [{"hostPort": 8080, "containerPort": 80}],
        "bandwidth": {"ingressRate": 8_000_000},
    }
    node.add(pod, **asks([element], permit("green"))).failed(cni_errors.INVALID_ANNOTATION)
    node.add(pod, **asks([element], permit_copies(node, "green+hostPort"))).succeeded()
    assert "--to-destination 10.63.0.2:80" in node.sh("iptables-save -t nat")
    assert "tbf" in node.sh("tc qdisc")
    [_, attachment] = node.records()["pod"]["attachments"]
    assert attachment["capabilityArgs"]["bandwidth"] == {
        "ingressRate": 8_000_000,
        "ingressBurst": BURST,
    }


def _default_routes(node: Node, pod: Container) -> list[str]:
    """Return gateway, interface and metric of each default route, those of IPv4 first."""
    listed = [*node.routes(pod), *node.routes(pod, family=6)]
    return [
        f"{each.get('gateway')} {each['dev']} {each.get('metric', 0)}"
        for each in listed
        if each["dst"] == "default"
    ]


@pytest.mark.parametrize(
    ("gateways", "expected"),
    [
        pytest.param([], ["10.70.0.1 eth0 0", "fd70::1 eth0 1024"], id="none"),
        pytest.param(["10.66.0.1"], ["10.66.0.1 net1 0", "fd70::1 eth0 1024"], id="IPv4"),
        pytest.param(
            ["fd66::1", "10.66.0.9", "fd66::9", "10.66.0.1"],
            ["10.66.0.9 net1 0", "10.66.0.1 net1 1", "fd66::1 net1 1", "fd66::9 net1 2"],
            id="several of both families",
        ),
    ],
)
def test_the_default_gateways_are_those_that_the_pod_asks_for(
    definitions: Node, pod: Container, gateways: list[str], expected: list[str]
) -> None:
    """The other family keeps the primary's, whose plugin adds default routes of both."""
    node = definitions
    everywhere = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    node.network("base", node.bridge_conf("base", "10.70.0.0/24", "fd70::/64", routes=everywhere))
    define(node, "green", node.bridge_conf("gr", "10.66.0.0/24", "fd66::/64", routes=everywhere))
    selection = [{"name": "green", "default-route": gateways}]
    permitted = permit_copies(node, "green")
    node.add(pod, **asks(selection, permitted, cni="base")).succeeded()
    assert _default_routes(node, pod) == expected


def test_a_gateway_that_the_network_does_not_reach_is_rolled_back(
    definitions: Node, pod: Container
) -> None:
    """The kernel refuses the route; the pod may be attached after that."""
    node = definitions
    before = _left(node, pod)
    selection = [{"name": "blue", "default-route": ["192.0.2.1"]}]
    permitted = permit_copies(node, "blue")
    error = node.add(pod, **asks(selection, permitted)).failed(cni_errors.IO_FAILURE)
    assert 'default gateways 192.0.2.1 of network "ns/blue" on interface net1' in error["msg"]
    assert _left(node, pod) == before

    primary = '[{"name": "blue", "namespace": "ns", "default-route": ["10.60.0.1"]}]'
    node.add(pod, **asks(permitted=permit_copies(node, "=blue"), default=primary)).succeeded()
    assert _default_routes(node, pod) == ["10.60.0.1 eth0 0"]


def test_a_forged_annotation_attaches_nothing(definitions: Node, pod: Container) -> None:
    """Missing, reordered, of another namespace, for another primary; code 100."""
    node = definitions
    for networks, permitted, default in (
        ("blue,red", None, None),
        ("blue,red", permit("red", "blue"), None),
        ("other/blue", permit("blue"), None),
        ("blue", permit("=blue"), None),
        (None, permit("blue"), "ns/blue"),
    ):
        request = asks(networks, permitted, default=default)
        node.add(pod, **request).failed(cni_errors.INVALID_ANNOTATION)
    assert (node.links(pod), node.records()) == ([], {})
    node.add(pod, **asks("blue,red", source="file")).succeeded()


def test_a_definition_that_was_created_with_the_pod_is_awaited(
    definitions: Node, pod: Container
) -> None:
    """Its copy comes half a second later; the plugin waits for 3 s at most."""
    node = definitions
    config = node.bridge_conf("green", "10.64.0.0/24")
    define(node, "green", config)
    permitted = permit_copies(node, "green")
    (node.state / "nad" / "ns" / "green").unlink()
    writer = threading.Timer(0.5, define, (node, "green", config))
    writer.start()
    answer = node.add(pod, **asks("green", permitted))
    writer.join()
    answer.succeeded()
    assert 0.4 < answer.seconds < 3


def test_a_copy_that_is_missing_refused_or_changed(definitions: Node, pod: Container) -> None:
    """Code 11 while the agent is down; code 102; attached, if the agent is in contact."""
    node = definitions
    sync(node, age=600)
    answer = node.add(pod, **asks("green", permit("green")))
    error = answer.failed(cni_errors.TRY_AGAIN)
    assert "the agent of this node last heard of the API server 60" in error["msg"]
    assert answer.seconds >= 3
    define(node, "bad", node.bridge_conf("bad", "10.65.0.0/24"), refused="it is not permitted")
    error = node.add(pod, **asks("bad", permit_copies(node, "bad"))).failed(
        cni_errors.BROKEN_NETWORK
    )
    assert "it is not permitted" in error["msg"]
    assert (node.links(pod), node.records()) == ([], {})
    sync(node)
    node.add(pod, **asks("blue", permit("blue"))).succeeded()


INSTANTS, FULL_INSTANTS = 10, 100


@pytest.mark.repeats
def test_killed_while_two_definitions_are_attached(
    definitions: Node, counted: Callable[[str], None], *, full: bool
) -> None:
    """Before ten of the effects of ADD, with --full before each; DEL releases everything."""
    node = definitions
    pod = node.container("pod")
    networks = [{"name": "blue"}, {"name": "red", "default-route": ["10.61.0.1"]}]
    request = asks(networks, permit_copies(node, "blue", "red"))
    before = _left(node, pod)
    step, killed = 0, 0
    start = time.monotonic()
    while True:
        program = ["/usr/bin/python3", "-IS", DIE, str(step), node.genie]
        died = node.add(pod, program=program, **request)
        node.delete(pod, **request).succeeded()
        assert _left(node, pod) == before, f"killed before effect {step}"
        if not died.killed:
            break
        killed += 1
        step += 1 if full else 3
    assert killed >= INSTANTS, f"the call had {step} effects, {time.monotonic() - start:.0f} s"
    counted(f"killed before {killed} effects, nothing left")


@pytest.mark.repeats
def test_killed_at_random_instants_of_two_definitions(
    definitions: Node, counted: Callable[[str], None], *, full: bool
) -> None:
    """Also while a delegate runs, which then goes on: ten times, with --full a hundred."""
    node = definitions
    pod = node.container("pod")
    request = asks("blue,red", permit_copies(node, "blue", "red"))
    longest = 1.2 * node.add(pod, **request).seconds
    node.delete(pod, **request).succeeded()
    before = _left(node, pod)
    seed = time.time_ns()
    chance = random.Random(seed)  # noqa: S311 - instants
    killed = 0
    while killed < (FULL_INSTANTS if full else INSTANTS):
        running = node.begin("ADD", pod, **request)
        time.sleep(chance.uniform(0, longest))  # the random instant, not a wait for something
        running.kill()
        is_killed = running.answer().killed
        killed += is_killed
        longest *= 1.1 if is_killed else 0.8  # the machine may be faster than it was
        node.delete(pod, **request).succeeded()
        assert _left(node, pod) == before, f"kill {killed}, seed {seed}"
    counted(f"killed at {killed} instants, nothing left")
