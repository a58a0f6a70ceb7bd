"""A pod has only its primary's default routes, whatever the plugins do with theirs.

The delegates are fakes that treat default routes as products do (``product.py``); the kernel is
real. What the pod has with several networks is compared with what its primary alone gives it.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from dispatcher import cni_errors
from tests.node.calls import wait_for
from tests.node.products import default_routes, install_product

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.node.harness import Node
    from tests.node.namespaces import Container

DEFAULTS = ("appends", "fails", "skips", "replaces", "none")
FAMILIES = {"IPv4": [4], "IPv6": [6], "dual-stack": [4, 6]}
THREADS = 4


class Case(NamedTuple):
    """One pod: how each of its networks treats default routes, and the place of the primary."""

    defaults: Sequence[str]
    primary: int

    @property
    def annotation(self) -> str:
        """The value of ``cni``: the network at position P is called <behaviour>P."""
        return ",".join(
            f"{how}{place}" + ("" if place == self.primary else f"@net{place}")
            for place, how in enumerate(self.defaults)
        )


INSTALLING = [behaviour for behaviour in DEFAULTS if behaviour != "none"]
SHORT_THREES = [
    (first, second, INSTALLING[(a + b) % len(INSTALLING)])
    for (a, first), (b, second) in itertools.product(enumerate(INSTALLING), repeat=2)
]
"""Of the 64 sequences of three, 16 in which every two places have every two behaviours."""
SHORT_FOURS = [
    tuple(INSTALLING[(start + step) % len(INSTALLING)] for step in (0, 1, 3, 2))
    for start in range(4)
]
"""Of the 24 orders of four, 4 in which each behaviour follows each other one exactly once."""


def _cases(families: list[int], *, full: bool) -> Iterator[Case]:
    """Yield every pair, and in dual-stack threes and fours, with each place as the primary."""
    sequences: list[Sequence[str]] = list(itertools.product(DEFAULTS, repeat=2))
    if families == [4, 6] and full:
        sequences += itertools.product(INSTALLING, repeat=3)
        sequences += itertools.permutations(INSTALLING)
    elif families == [4, 6]:
        sequences += [*SHORT_THREES, *SHORT_FOURS]
    return (Case(sequence, at) for sequence in sequences for at in range(len(sequence)))


def test_the_short_form_has_every_pair_of_behaviours_at_every_two_places() -> None:
    """So a fault that two networks cause together is found without the full matrix."""
    pairs = set(itertools.product(INSTALLING, repeat=2))
    for places in itertools.combinations(range(3), 2):
        assert {(three[places[0]], three[places[1]]) for three in SHORT_THREES} == pairs
    neighbours = [pair for four in SHORT_FOURS for pair in itertools.pairwise(four)]
    assert sorted(neighbours) == sorted(itertools.permutations(INSTALLING, 2))


@pytest.mark.repeats
@pytest.mark.parametrize("families", FAMILIES.values(), ids=FAMILIES)
def test_the_default_routes_are_those_of_the_primary_alone(
    node: Node, families: list[int], counted: Callable[[str], None], *, full: bool
) -> None:
    """With any networks that add, refuse, skip, replace or bring no default route, in any order."""
    places = range(4)
    for number, (how, place) in enumerate(itertools.product(DEFAULTS, places)):
        install_product(node, f"{how}{place}", number, families=families, default=how)
    pods = [node.container(f"pod{number}") for number in range(THREADS)]

    expected = {}
    for how, place in itertools.product(DEFAULTS, places):
        node.add(pods[0], f"{how}{place}").succeeded()
        expected[f"{how}{place}"] = default_routes(node, pods[0])
        node.delete(pods[0]).succeeded()
    assert all(bool(text) == ("none" not in name) for name, text in expected.items()), expected

    def wrong(pod: Container, cases: list[Case]) -> list[str]:
        return [text for case in cases if (text := _attach(node, pod, case, expected))]

    cases = list(_cases(families, full=full))
    with ThreadPoolExecutor(THREADS) as threads:
        found = threads.map(wrong, pods, (cases[number::THREADS] for number in range(THREADS)))
        faults = list(itertools.chain.from_iterable(found))
    assert not faults, f"{len(faults)} of {len(cases)}: {faults[:5]}"
    left = node.left(*pods)
    assert (left.links, any(left.addresses.values()), left.state) == ([], False, [])
    counted(f"{len(cases)} combinations of networks")


def _attach(node: Node, pod: Container, case: Case, expected: dict[str, str]) -> str:
    """Attach and release one pod; return a description of wrong default routes, or nothing."""
    answer = node.add(pod, case.annotation)
    routes = default_routes(node, pod)
    node.delete(pod, case.annotation).succeeded()
    if answer.code:
        return f"{case.annotation}: {answer.said}"
    right = expected[f"{case.defaults[case.primary]}{case.primary}"]
    return "" if routes == right else f"{case.annotation}: {routes!r}, expected {right!r}"


SHAPER = """
I=$CNI_IFNAME; set -e
if [ $CNI_COMMAND = ADD ]; then
  COMMANDS
  exec sed 's/.*"prevResult"://; s/}$//'
fi"""
IN_POD = "nsenter --net=$CNI_NETNS ip"
SHAPES = {
    "a metric": "route add default via 10.7.0.1 dev $I metric 77",
    "no gateway": "route add default dev $I scope link",
    "a gateway that no subnet has": "route add default via 192.0.2.9 dev $I onlink",
    "a source address": "route add default via 10.7.0.1 dev $I src 10.7.0.9",
    "an MTU and a window": "route add default via 10.7.0.1 dev $I mtu 1300 advmss 1200",
    "a protocol and a type of service": "route add default via 10.7.0.1 dev $I proto 42 tos 0x10",
    "two next hops": "route add default nexthop via 10.7.0.1 dev $I weight 3 "
    "nexthop via 10.7.0.2 dev $I weight 5",
    "a next hop of IPv6": "route add default via inet6 fe80::1 dev $I",
    "a nexthop object": "nexthop add id 9 via 10.7.0.1 dev $I; route add default nhid 9",
    "IPv6 with a metric": "-6 route add default via fd00:7::1 dev $I metric 77",
    "IPv6 with a preference": "-6 route add default via fd00:7::1 dev $I pref high",
    "IPv6 with two next hops": "-6 route add default nexthop via fd00:7::1 dev $I "
    "nexthop via fd00:7::3 dev $I",
    "IPv6 with a source address": "-6 route add default via fd00:7::1 dev $I src fd00:7::9",
    "two routes of different metrics": "route add default via 10.7.0.1 dev $I metric 5; "
    "route add default via 10.7.0.2 dev $I metric 6",
    "two routes of one metric": "route add default via 10.7.0.1 dev $I; "
    "route append default via 10.7.0.2 dev $I",
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_default_route_is_restored_exactly(node: Node, shape: str) -> None:
    """The primary's plugin is a script, in a chain behind a fake product."""
    addresses = ["address add 10.7.0.9/24 dev $I", "address add fd00:7::9/64 dev $I nodad"]
    commands = "; ".join(f"{IN_POD} {each.strip()}" for each in [*addresses, *shape.split(";")])
    node.delegate("shaper", SHAPER.replace("COMMANDS", commands))
    plugin = {"type": "product", "number": 7, "families": [4, 6], "default": "none"}
    store = {"dataDir": str(node.folder / "ipam")}
    node.network("shaped", {**plugin, **store}, {"type": "shaper"})
    install_product(node, "fails", 8, families=[4, 6], default="fails")
    install_product(node, "replaces", 9, families=[4, 6], default="replaces")
    pod = node.container("pod")

    node.add(pod, "shaped").succeeded()
    alone = default_routes(node, pod)
    node.delete(pod).succeeded()
    assert "default" in alone

    node.add(pod, "shaped,fails@net1,replaces@net2").succeeded()
    assert default_routes(node, pod) == alone
    node.delete(pod).succeeded()


ROUTER = Path(__file__).with_name("router.py")


def _advertised(node: Node, pod: Container) -> list[str]:
    """Return the interfaces of the default routes that the pod's kernel has learnt."""
    routes = [each for each in node.routes(pod, 6) if each["dst"] == "default"]
    return sorted(each["dev"] for each in routes if each["protocol"] == "ra")


@pytest.mark.parametrize("annotation", ["learns,taught@net1", "taught@net1,learns"])
def test_a_default_route_that_routers_advertise_comes_from_the_primary_alone(
    node: Node, annotation: str
) -> None:
    """The route that the primary learnt during ADD stays; a secondary never learns one."""
    install_product(node, "learns", 1, families=[6], router=str(ROUTER))
    install_product(node, "taught", 2, families=[6], router=str(ROUTER))
    pod = node.container("pod")
    node.add(pod, annotation).succeeded()
    assert _advertised(node, pod) == ["eth0"]

    # An advertisement after ADD, which the kernel processes: the pod makes itself an address.
    node.sh("ip -6 address flush dev net1 scope global", net=pod.netns)
    node.sh(f"{ROUTER} p2pod.net1 fe80::2:1 fd0b:2::")
    wait_for(
        lambda: "fd0b:2:" in node.sh("ip -6 address show dev net1", net=pod.netns),
        "the advertised prefix",
    )
    assert _advertised(node, pod) == ["eth0"]
    node.delete(pod).succeeded()


def test_a_secondary_that_removes_the_primarys_interface_fails_the_pod(node: Node) -> None:
    """Two networks whose plugin keeps one link per container, as Calico's: nothing remains."""
    install_product(node, "one", 1, oneLink=True)
    install_product(node, "other", 2, default="appends")
    pod = node.container("pod")
    before = node.left(pod)
    error = node.add(pod, "one,other@net1,one@net2").failed(cni_errors.DELEGATE_FAILED)
    assert error["msg"] == (
        'network "one" cannot be combined with network "one" in one pod: its ADD on interface net2 '
        "removed interface eth0"
    )
    assert node.left(pod).links == before.links
    assert not any(node.left(pod).addresses.values())
    assert node.records() == {}


def test_routes_of_an_earlier_call_survive_a_later_call_that_fails(node: Node) -> None:
    """Its networks, on another CNI_IFNAME, set the default routes aside and restore them."""
    install_product(node, "first", 1, families=[4, 6], default="appends")
    install_product(node, "second", 2, families=[4, 6], default="fails")
    install_product(node, "third", 3, families=[4, 6], default="replaces")
    install_product(node, "broken", 4, needs="/run/broken/subnet.env")
    pod = node.container("pod")
    node.add(pod, "first").succeeded()
    alone = default_routes(node, pod)
    assert "default" in alone

    later: dict[str, Any] = {"env": {"CNI_IFNAME": "eth7"}}
    error = node.add(pod, "third@net1,second,broken@net2", **later).failed(11)
    assert "/run/broken/subnet.env" in error["msg"]
    assert default_routes(node, pod) == alone
    node.add(pod, "third@net1,second", **later).succeeded()
    assert default_routes(node, pod) == alone
    node.delete(pod, **later).succeeded()
    assert default_routes(node, pod) == alone
    node.delete(pod).succeeded()
    assert not any(node.left(pod).addresses.values())


def test_blank_lines_around_a_result_and_output_on_stderr_are_accepted(node: Node) -> None:
    """JSON allows blank lines; standard error is passed on."""
    install_product(node, "loud", 1, default="appends", noise="time=now level=info msg=hello")
    install_product(node, "other", 2, default="fails")
    pod = node.container("pod")
    answer = node.add(pod, "other,loud@net1")
    answer.succeeded()
    assert "msg=hello" in answer.err
    node.delete(pod).succeeded()


def test_networks_that_keep_their_state_by_container_alone_are_released(node: Node) -> None:
    """Two of them in one pod, each with its own store, as Flannel's: nothing remains."""
    install_product(node, "one", 1, default="appends", keepsByContainer=True)
    install_product(node, "other", 2, default="skips", keepsByContainer=True)
    pod = node.container("pod")
    node.add(pod, "other@net1,one").succeeded()
    assert (len(node.addresses("one")), len(node.addresses("other"))) == (1, 1)
    node.delete(pod).succeeded()
    assert not any(node.left(pod).addresses.values())


def test_a_network_whose_daemon_is_not_ready_fails_the_pod_and_nothing_is_left(node: Node) -> None:
    """The other network was attached already; the error contains the plugin's message."""
    install_product(node, "one", 1, default="appends")
    install_product(node, "daemon", 2, needs="/run/flannel/subnet.env")
    pod = node.container("pod")
    error = node.add(pod, "one,daemon@net1").failed(11)
    assert "open /run/flannel/subnet.env: no such file or directory" in error["msg"]
    assert not any(node.left(pod).addresses.values())
    assert node.records() == {}
