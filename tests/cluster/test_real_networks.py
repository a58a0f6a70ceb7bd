"""Genie with networks of other projects: flannel, kube-router and whereabouts on two nodes.

flannel is the cluster's default. Results are read from the pods, the nodes and the address stores
of each network; see products.py for what runs where.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.support.agents import fresh_agents, wait_for_default
from tests.cluster.support.observe import default_routes, http_status, interfaces
from tests.cluster.support.pods import pod_ips, pod_on_node, wait_until_ready
from tests.devcluster.genie import NAMESPACE
from tests.devcluster.network.products import FLANNEL, KUBE_ROUTER, PRODUCTS, WHEREABOUTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.devcluster.cluster import Cluster
    from tests.devcluster.node.node import Node

FIRST, SECOND = "node1", "node2"
PAIRS: dict[str, dict[str, str]] = {
    "flannel,whereabouts-bridge@net1": {"eth0": "flannel", "net1": "whereabouts-bridge"},
    "whereabouts-bridge@net1,flannel": {"eth0": "flannel", "net1": "whereabouts-bridge"},
    "whereabouts-bridge,flannel@net1": {"eth0": "whereabouts-bridge", "net1": "flannel"},
    "flannel@net1,whereabouts-bridge": {"eth0": "whereabouts-bridge", "net1": "flannel"},
    "kuberouter,whereabouts-bridge": {"eth0": "kuberouter", "eth1": "whereabouts-bridge"},
    "whereabouts-bridge,kuberouter": {"eth0": "whereabouts-bridge", "eth1": "kuberouter"},
    "flannel,kuberouter@net1": {"eth0": "flannel", "net1": "kuberouter"},
    "flannel@net1,kuberouter": {"eth0": "kuberouter", "net1": "flannel"},
}
"""Annotations with two networks, and the expected network of each interface."""
TWICE = {
    network: {"eth0": network, "net1": network} for network in ("kuberouter", "whereabouts-bridge")
}
DAEMONS = ("flanneld", "kube-router", "containerd", "kubelet")
"""The daemons of a node besides kube-proxy. The kubelet is last: it ends without a runtime."""
ANSWERS_WITHIN = 120.0
"""Seconds. whereabouts allocates a freed address again at once, and the other node keeps the
Ethernet address of the former pod until it renews its ARP entry."""


def start(cluster: Cluster, namespace: str, pods: Iterable[dict[str, Any]]) -> None:
    """Apply pods and wait until all are Ready."""
    items = list(pods)
    cluster.apply({"apiVersion": "v1", "kind": "List", "items": items}, "-n", namespace)
    wait_until_ready(cluster, namespace, *(item["metadata"]["name"] for item in items))


def answers(
    cluster: Cluster, namespace: str, clients: Iterable[str], addresses: Iterable[str]
) -> dict[tuple[str, str], str]:
    """Fetch every address once in every client; return the HTTP status codes."""
    pairs = list(itertools.product(clients, addresses))
    with ThreadPoolExecutor(4) as executor:
        codes = executor.map(lambda pair: http_status(cluster, pair[0], namespace, pair[1]), pairs)
        return dict(zip(pairs, codes, strict=True))


def assert_all_answer(
    cluster: Cluster, namespace: str, clients: Iterable[str], addresses: Iterable[str]
) -> None:
    """Assert that every client reaches every address within ANSWERS_WITHIN."""
    deadline = time.monotonic() + ANSWERS_WITHIN
    silent = list(itertools.product(clients, addresses))
    while silent and time.monotonic() < deadline:
        with ThreadPoolExecutor(4) as executor:
            codes = executor.map(lambda p: http_status(cluster, p[0], namespace, p[1]), silent)
            silent = [pair for pair, code in zip(silent, codes, strict=True) if code != "200"]
    assert silent == []


def attached(cluster: Cluster, namespace: str, name: str) -> dict[str, str]:
    """Return a pod's networks by interface, according to the bridges on its node."""
    networks = {product.bridge: network for network, product in PRODUCTS.items()}
    links = interfaces(cluster, name, namespace)
    return {interface: networks[link.bridge] for interface, link in links.items()}


def addresses_of(cluster: Cluster, namespace: str, name: str) -> dict[str, str]:
    """Return a pod's one address on each interface."""
    links = interfaces(cluster, name, namespace)
    return {interface: link.addresses[0] for interface, link in links.items()}


def assert_addresses_are_of(
    cluster: Cluster, namespace: str, name: str, networks: dict[str, str]
) -> None:
    """Assert that each address is in its network's range, and that eth0's is the pod's only IP."""
    node = cluster.node_of(name, namespace).layout.number
    addresses = addresses_of(cluster, namespace, name)
    ranges = {i: ip_network(PRODUCTS[n].subnet_on(node)) for i, n in networks.items()}
    assert all(ip_address(addresses[i]) in ranges[i] for i in networks), addresses
    assert pod_ips(cluster, namespace, name) == [addresses["eth0"]]


def held(cluster: Cluster) -> dict[str, list[str]]:
    """Return everything that pods hold: addresses, ports of the bridges, Genie's records."""
    found: dict[str, list[str]] = {}
    for name, node in cluster.nodes.items():
        for product, store in ((FLANNEL, "cbr0"), (KUBE_ROUTER, "mynet")):
            found[f"{name} {product.network}"] = node.addresses(store)
        links = json.loads(node.run(["ip", "-j", "link"]).stdout)
        for product in PRODUCTS.values():
            ports = (link["ifname"] for link in links if link.get("master") == product.bridge)
            found[f"{name} {product.bridge}"] = sorted(ports)
        found[f"{name} records"] = node.records()
    group = "whereabouts.cni.cncf.io"
    pools = cluster.get(f"ippools.{group}", "-A")["items"]
    found["pools"] = sorted(a["podref"] for p in pools for a in p["spec"]["allocations"].values())
    reserved = cluster.get(f"overlappingrangeipreservations.{group}", "-A")["items"]
    found["reservations"] = sorted(item["metadata"]["name"] for item in reserved)
    return found


def set_default(cluster: Cluster, network: str) -> None:
    """Change the cluster's default network as described in docs/settings.md."""
    patch = json.dumps({"data": {"default-network": network}})
    cluster.kubectl("patch", "configmap", "genie", "-n", NAMESPACE, "--type=merge", "-p", patch)
    fresh_agents(cluster)
    wait_for_default(cluster, network)


@pytest.fixture(scope="module")
def default_restored(real_cluster: Cluster) -> Iterator[None]:
    """Make flannel the default again after the last test, if the cluster stays."""
    yield
    if "GENIE_CLUSTER" in os.environ:
        set_default(real_cluster, FLANNEL.network)


def test_pods_on_each_network_alone_reach_one_another_across_nodes(
    real_cluster: Cluster, real_namespace: str
) -> None:
    """With each network, chosen or by default: HTTP between the pods of both nodes."""
    chosen: dict[str, str | None] = {**{network: network for network in PRODUCTS}, "plain": None}
    nodes = {FIRST: "first", SECOND: "second"}
    names = {(name, node): f"{name}-{nodes[node]}" for name in chosen for node in nodes}
    start(
        real_cluster,
        real_namespace,
        (pod_on_node(names[name, node], chosen[name], node) for name, node in names),
    )
    for name, network in chosen.items():
        networks = {"eth0": network or FLANNEL.network}
        for node in nodes:
            one = names[name, node]
            assert attached(real_cluster, real_namespace, one) == networks
            assert_addresses_are_of(real_cluster, real_namespace, one, networks)
            assert default_routes(real_cluster, one, real_namespace) == [("-4", "eth0")]
    servers = {
        node: [
            a for name in chosen for a in pod_ips(real_cluster, real_namespace, names[name, node])
        ]
        for node in nodes
    }
    for node, other in ((FIRST, SECOND), (SECOND, FIRST)):
        clients = [names[name, node] for name in chosen]
        assert_all_answer(real_cluster, real_namespace, clients, servers[other])


def test_a_pod_on_two_networks_uses_its_primary_in_any_order_of_the_list(
    real_cluster: Cluster, real_namespace: str
) -> None:
    """The primary has the pod's address and the only default route.

    Pods of every network on the other node reach that address, and the pod reaches them.
    """
    pods = {value: f"pair{number}" for number, value in enumerate(PAIRS)}
    others = {network: f"other-{network}" for network in PRODUCTS}
    start(
        real_cluster,
        real_namespace,
        [
            *(pod_on_node(name, value, FIRST) for value, name in pods.items()),
            *(pod_on_node(name, network, SECOND) for network, name in others.items()),
        ],
    )
    actual = {v: attached(real_cluster, real_namespace, name) for v, name in pods.items()}
    assert actual == PAIRS
    routes = {v: default_routes(real_cluster, name, real_namespace) for v, name in pods.items()}
    assert routes == {value: [("-4", "eth0")] for value in PAIRS}
    for value, name in pods.items():
        assert_addresses_are_of(real_cluster, real_namespace, name, PAIRS[value])
    primaries = [pod_ips(real_cluster, real_namespace, name)[0] for name in pods.values()]
    there = [pod_ips(real_cluster, real_namespace, name)[0] for name in others.values()]
    assert_all_answer(real_cluster, real_namespace, others.values(), primaries)
    assert_all_answer(real_cluster, real_namespace, pods.values(), there)


def test_a_secondary_is_reachable_from_the_pods_of_its_network(
    real_cluster: Cluster, real_namespace: str
) -> None:
    """On the same node and across nodes, for each network as the secondary of a pod."""
    pods = {
        FLANNEL.network: "whereabouts-bridge,flannel@net1",
        KUBE_ROUTER.network: "flannel,kuberouter@net1",
        WHEREABOUTS.network: "flannel,whereabouts-bridge@net1",
    }
    clients = {n: [f"{n}-{node}" for node in (FIRST, SECOND)] for n in PRODUCTS}
    start(
        real_cluster,
        real_namespace,
        [
            *(pod_on_node(f"server-{network}", value, FIRST) for network, value in pods.items()),
            *(pod_on_node(f"{n}-{node}", n, node) for n in PRODUCTS for node in (FIRST, SECOND)),
        ],
    )
    for network, names in clients.items():
        server = addresses_of(real_cluster, real_namespace, f"server-{network}")
        assert_all_answer(real_cluster, real_namespace, names, [server["net1"]])


@pytest.mark.parametrize("network", TWICE)
def test_a_pod_can_be_twice_on_one_bridge_network(
    real_cluster: Cluster, real_namespace: str, network: str
) -> None:
    """host-local and whereabouts allocate an address for each interface, and free both."""
    before = held(real_cluster)
    start(real_cluster, real_namespace, [pod_on_node("twice", f"{network},{network}@net1", FIRST)])
    assert attached(real_cluster, real_namespace, "twice") == TWICE[network]
    assert_addresses_are_of(real_cluster, real_namespace, "twice", TWICE[network])
    actual = addresses_of(real_cluster, real_namespace, "twice")
    assert actual["eth0"] != actual["net1"]
    assert default_routes(real_cluster, "twice", real_namespace) == [("-4", "eth0")]
    real_cluster.kubectl("delete", "pod", "twice", "-n", real_namespace, "--wait=true")
    real_cluster.wait_for(lambda: held(real_cluster) == before, 120, "both addresses to be freed")


def test_probes_host_ports_and_services_lead_to_the_primary(
    real_cluster: Cluster, real_namespace: str
) -> None:
    """For each network as the primary of a pod: by hostPort and ClusterIP from the other node.

    Pods of every network are clients of the Services.
    """
    servers = {
        FLANNEL.network: "flannel,whereabouts-bridge@net1",
        KUBE_ROUTER.network: "kuberouter,flannel@net1",
        WHEREABOUTS.network: "whereabouts-bridge,flannel@net1",
    }
    ports = {network: 8081 + number for number, network in enumerate(servers)}
    clients = {f"client-{network}": network for network in PRODUCTS}
    manifests = [pod_on_node(name, network, SECOND) for name, network in clients.items()]
    for network, value in servers.items():
        manifest = pod_on_node(network, value, FIRST, labels={"app": network})
        [container] = manifest["spec"]["containers"]
        container["ports"] = [{"containerPort": 80, "hostPort": ports[network]}]
        container["readinessProbe"] = {"httpGet": {"port": 80}, "periodSeconds": 1}
        manifests.append(manifest)
        real_cluster.apply(service(network), "-n", real_namespace)
    start(real_cluster, real_namespace, manifests)  # which waits until the probes succeed

    host = real_cluster.node(FIRST).layout.ipv4
    for network, port in ports.items():
        reached = functools.partial(fetches, real_cluster.node(SECOND), f"http://{host}:{port}/")
        real_cluster.wait_for(reached, ANSWERS_WITHIN, f"the hostPort of {network} to answer")
    services = real_cluster.get("services", "-n", real_namespace)["items"]
    addresses = [found["spec"]["clusterIP"] for found in services]
    assert_all_answer(real_cluster, real_namespace, clients, addresses)
    for network in servers:
        expected = pod_ips(real_cluster, real_namespace, network)
        assert endpoints(real_cluster, real_namespace, network) == expected


def service(name: str) -> dict[str, Any]:
    """Return a Service for the pods with the label app=NAME."""
    spec = {"selector": {"app": name}, "ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def endpoints(cluster: Cluster, namespace: str, name: str) -> list[str]:
    """Return the addresses behind a Service."""
    label = f"kubernetes.io/service-name={name}"
    slices = cluster.get("endpointslices", "-n", namespace, "-l", label)["items"]
    return [a for found in slices for endpoint in found["endpoints"] for a in endpoint["addresses"]]


def fetches(node: Node, url: str) -> bool:
    """Return whether a node gets an answer from a URL."""
    return node.run(["curl", "-sf", "-o", "/dev/null", "-m", "5", url], check=False).returncode == 0


def test_a_network_policy_protects_the_primary_and_no_secondary(
    real_cluster: Cluster, real_namespace: str
) -> None:
    """kube-router enforces policies for the addresses in the pods' status, on any network.

    Every client reaches the pod's secondary, whose address the policy does not cover.
    """
    servers = {"server": "kuberouter", "elsewhere": "flannel,kuberouter@net1"}
    clients = ["friend-kuberouter", "stranger-kuberouter", "friend-flannel", "stranger-flannel"]
    start(
        real_cluster,
        real_namespace,
        [
            *(
                pod_on_node(name, cni, FIRST, labels={"app": "server"})
                for name, cni in servers.items()
            ),
            *(
                pod_on_node(f"{role}-{network}", network, FIRST, labels={"role": role})
                for role, network in (name.split("-") for name in clients)
            ),
        ],
    )
    primaries = [pod_ips(real_cluster, real_namespace, name)[0] for name in servers]
    secondary = addresses_of(real_cluster, real_namespace, "elsewhere")["net1"]
    assert_all_answer(real_cluster, real_namespace, clients, [*primaries, secondary])
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "friends-only"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "server"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"role": "friend"}}}]}],
        },
    }
    real_cluster.apply(policy, "-n", real_namespace)
    friends = {(client, a) for client in clients if "friend" in client for a in primaries}
    anybody = {(client, secondary) for client in clients}

    def is_protected() -> bool:
        codes = answers(real_cluster, real_namespace, clients, [*primaries, secondary])
        return {pair for pair, code in codes.items() if code == "200"} == friends | anybody

    real_cluster.wait_for(is_protected, ANSWERS_WITHIN, "the policy to keep strangers out")


def test_pods_stay_reachable_over_restarts_of_all_daemons(
    real_cluster: Cluster, real_namespace: str
) -> None:
    """Agent, kubelet, containerd and the networks' daemons restart; new pods start, too."""
    values = ("flannel,whereabouts-bridge@net1", "kuberouter,whereabouts-bridge@net1")
    old = {f"old{number}": value for number, value in enumerate(values)}
    new = {f"new{number}": value for number, value in enumerate(values)}
    start(
        real_cluster,
        real_namespace,
        (pod_on_node(name, value, FIRST) for name, value in old.items()),
    )
    start(real_cluster, real_namespace, [pod_on_node("client", "flannel", SECOND)])
    before = {name: addresses_of(real_cluster, real_namespace, name) for name in old}

    fresh_agents(real_cluster)
    for node in real_cluster.nodes.values():
        for service in DAEMONS:
            node.restart(service)
    start(
        real_cluster,
        real_namespace,
        (pod_on_node(name, value, FIRST) for name, value in new.items()),
    )

    assert {name: addresses_of(real_cluster, real_namespace, name) for name in old} == before
    servers = [pod_ips(real_cluster, real_namespace, name)[0] for name in (*old, *new)]
    assert_all_answer(real_cluster, real_namespace, ["client"], servers)


def test_deleting_pods_frees_everything(real_cluster: Cluster, real_namespace: str) -> None:
    """No address of host-local and whereabouts, no link and no record remains."""
    before = held(real_cluster)
    pods = [
        pod_on_node(f"pair{number}", value, (FIRST, SECOND)[number % 2])
        for number, value in enumerate(PAIRS)
    ]
    start(real_cluster, real_namespace, pods)
    during = held(real_cluster)
    assert {kind for kind in before if before[kind] == during[kind]} == set()
    real_cluster.kubectl("delete", "pods", "--all", "-n", real_namespace, "--wait=true")
    real_cluster.wait_for(lambda: held(real_cluster) == before, 120, "everything to be freed")


@pytest.mark.usefixtures("default_restored")
@pytest.mark.parametrize("network", [KUBE_ROUTER.network, WHEREABOUTS.network])
def test_every_network_can_be_the_default(
    real_cluster: Cluster, real_namespace: str, network: str
) -> None:
    """A pod without the annotation gets it; any other pod only if it names it."""
    set_default(real_cluster, network)
    pods = [
        pod_on_node("plain", None, FIRST),
        pod_on_node("other", "flannel", SECOND),
        pod_on_node("both", f"flannel,{network}@net1", FIRST),
    ]
    start(real_cluster, real_namespace, pods)
    assert attached(real_cluster, real_namespace, "plain") == {"eth0": network}
    assert attached(real_cluster, real_namespace, "other") == {"eth0": "flannel"}
    assert attached(real_cluster, real_namespace, "both") == {"eth0": "flannel", "net1": network}
    addresses = pod_ips(real_cluster, real_namespace, "plain")
    assert_all_answer(real_cluster, real_namespace, ["other"], addresses)
