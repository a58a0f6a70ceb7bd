"""What crashes leave on a real node is freed, and what lives beside it is not touched.

The reaper looks every second here instead of every minute. That a record must be ten minutes old
stays as shipped, since a slow machine may need seconds between a sandbox's ADD and its place in
the runtime's list: tests put back the clock of the records that they mean instead.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.reaper.cri import CRIError
from tests.cluster.support import sandboxes
from tests.cluster.support.agents import CONFLIST, LAUNCHER, agent_settings, metrics, node_events
from tests.devcluster.network.networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.devcluster.cluster import Cluster
    from tests.devcluster.node.node import Node

NODE = "node1"
ANNOTATIONS = "io.kubernetes.cri.pod-annotations"
STATE = "/var/lib/cni/genie"
LIVING, FULL_LIVING = 30, 100
IPAM = {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/24"}]]}
SLOW = "/opt/cni/bin/slow"
SLOW_MAY_END = "/run/slow-may-end"
SCRIPT = f"""#!/usr/bin/python3
# Stands in for a plugin that takes long over ADD: the time in which the test kills the runtime.
import json, os, sys, time
conf = json.load(sys.stdin)
if os.environ["CNI_COMMAND"] == "ADD":
    for _ in range(600):
        if os.path.exists("{SLOW_MAY_END}"):
            break
        time.sleep(0.1)
    print(json.dumps(conf["prevResult"]))
"""


@pytest.fixture(scope="module")
def node(cluster: Cluster) -> Iterator[Node]:
    """Give the node, with a reaper that looks every second."""
    with agent_settings(cluster, reap_look_seconds=1):
        yield cluster.node(NODE)


@pytest.fixture
def networks(cluster: Cluster, node: Node) -> Iterator[Callable[..., None]]:
    """Give a function that installs a network of these plugins after a bridge."""
    made: list[str] = []

    def install(name: str, kind: str = "bridge", *after: str) -> None:
        made.append(name)
        first = {"type": kind, "bridge": f"{name}0", "ipam": IPAM}
        chain = [first, *({"type": each} for each in after)]
        conflist = {"cniVersion": "1.0.0", "name": name, "plugins": chain}
        put(node, f"/etc/cni/genie.d/{name}.conflist", json.dumps(conflist))

    yield install
    for name in made:
        node.run(["rm", "-f", f"/etc/cni/genie.d/{name}.conflist"])
        node.run(["ip", "link", "delete", f"{name}0"], check=False)
        cluster.kubectl("label", "node", NODE, f"network.cni-genie.io/{name}-", check=False)


def put(node: Node, path: str, content: str, mode: str = "644") -> None:
    script = f"mkdir -p {Path(path).parent} && cat > {path} && chmod {mode} {path}"
    node.run(["sh", "-ec", script], input=content)


def put_back_the_clock(node: Node, *containers: str) -> None:
    """Make records an hour old."""
    node.run(["touch", "-c", "-d", "1 hour ago", *(f"{STATE}/{c}.json" for c in containers)])


def held(node: Node, *more: str) -> tuple[dict[str, list[str]], list[str]]:
    """Return what pods hold on the networks that a node has, and on *more*.

    That is: addresses by network, and the node's ends of their interfaces with their bridges.
    """
    links = json.loads(node.run(["ip", "-j", "link", "show", "type", "veth"]).stdout)
    bridges = {*(network.bridge for network in NETWORKS.values()), *(f"{each}0" for each in more)}
    ports = [f"{each['ifname']} {each['master']}" for each in links if "master" in each]
    addresses = {network: node.addresses(network) for network in (*NETWORKS, *more)}
    return addresses, sorted(port for port in ports if port.partition(" ")[2] in bridges)


# ---- nobody asks for it any more


def call(node: Node, command: str, container: str, *, check: bool = True, **conf: Any) -> None:
    """Call the installed plugin as a runtime would, for the namespace of the same name."""
    own = json.loads(node.path(CONFLIST).read_text())["plugins"][0]
    environment = [
        "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", f"CNI_COMMAND={command}",
        f"CNI_CONTAINERID={container}", f"CNI_NETNS=/run/netns/{container}", "CNI_IFNAME=eth0",
        "CNI_PATH=/opt/cni/bin",
    ]  # fmt: skip
    given = json.dumps({**own, "name": "genie", "cniVersion": "1.0.0", **conf})
    node.run([*environment, LAUNCHER], input=given, check=check)


def chosen(networks: str, **more: Any) -> dict[str, Any]:
    """Return what a runtime passes for a pod that asks for *networks*."""
    return {ANNOTATIONS: {"cni": networks}, **more}


@pytest.fixture
def container(node: Node) -> Iterator[str]:
    """Give the name of a network namespace that no runtime knows; it is gone afterwards."""
    with unknown(node) as name:
        yield name


@pytest.fixture
def another(node: Node) -> Iterator[str]:
    """Give a second one, so that the reaper has something to do beside what it must leave."""
    with unknown(node) as name:
        yield name


@contextlib.contextmanager
def unknown(node: Node) -> Iterator[str]:
    name = f"unknown-{secrets.token_hex(4)}"
    node.run(["ip", "netns", "add", name])
    try:
        yield name
    finally:
        call(node, "DEL", name)
        node.run(["ip", "netns", "delete", name], check=False)


def has_record(node: Node, container: str) -> bool:
    return node.path(f"{STATE}/{container}.json").exists()


def port_rules(node: Node) -> list[str]:
    """Return the host's rules for host port 18080, of iptables and of nftables."""
    shown = node.run(["sh", "-c", "iptables-save -t nat; nft list ruleset"], check=False).stdout
    return [line for line in shown.splitlines() if "18080" in line]


def test_a_sandbox_that_the_runtime_forgot_loses_its_host_ports_too(
    cluster: Cluster, node: Node, container: str
) -> None:
    """The rules of portmap vanish from the host: the DEL ran in the host's network."""
    port = {"hostPort": 18080, "containerPort": 80, "protocol": "tcp"}
    call(node, "ADD", container, runtimeConfig=chosen("canal", portMappings=[port]))
    assert port_rules(node)
    put_back_the_clock(node, container)
    cluster.wait_for(lambda: not has_record(node, container), 30, "the reaper to free it")
    assert not port_rules(node)


def test_what_a_reboot_orphaned_is_freed(cluster: Cluster, node: Node, container: str) -> None:
    """The namespace is gone, with every interface in it; record and addresses are still there."""
    given_out = ["grep", "-rl", container, "/var/lib/cni/networks"]
    call(node, "ADD", container, runtimeConfig=chosen("weave,canal@net1"))
    node.run(["ip", "netns", "delete", container])
    assert len(node.run(given_out).stdout.split()) == 3  # IPv4 twice, IPv6 once
    put_back_the_clock(node, container)
    cluster.wait_for(lambda: not has_record(node, container), 30, "the reaper to free it")
    assert node.run(given_out, check=False).stdout == ""


def test_what_is_parked_is_shown_and_freed_when_the_plugin_is_back(
    cluster: Cluster, node: Node, networks: Callable[..., None], container: str
) -> None:
    """Its executable went with an uninstaller, and comes back: record, metric and Event tell."""
    node.run(["cp", "/opt/cni/bin/bridge", "/opt/cni/bin/lent"])
    try:
        networks("lent", "lent")
        call(node, "ADD", container, runtimeConfig=chosen("lent"))
        [address] = node.addresses("lent")
        node.run(["mv", "/opt/cni/bin/lent", "/opt/cni/bin/lent.away"])
        # The runtime's DELs, by a plugin that waits a second before it parks, not ten minutes.
        cluster.wait_for(lambda: parks(node, container), 30, "the attachment to be parked")
        put_back_the_clock(node, container)
        shown = 'genie_agent_parked_attachments{network="lent"} 1.0'
        cluster.wait_for(lambda: shown in metrics(cluster, NODE), 60, "the metric")
        about = functools.partial(node_events, cluster, NODE, "NetworkParked")
        cluster.wait_for(lambda: any(container in said for said in about()), 10, "the Event")
        assert node.addresses("lent") == [address]
        node.run(["mv", "/opt/cni/bin/lent.away", "/opt/cni/bin/lent"])
        cluster.wait_for(lambda: not has_record(node, container), 60, "the reaper to free it")
        assert node.addresses("lent") == []
    finally:
        node.run(["rm", "-f", "/opt/cni/bin/lent", "/opt/cni/bin/lent.away"])


def parks(node: Node, container: str) -> bool:
    time.sleep(1)
    call(node, "DEL", container, check=False, parkAfterSeconds=1)
    return '"parked"' in node.path(f"{STATE}/{container}.json").read_text()


def test_a_namespace_with_a_process_is_left_alone(
    cluster: Cluster, node: Node, container: str, another: str
) -> None:
    """Whatever the runtime lists: something lives there. The empty one beside it is freed."""
    for each in (container, another):
        call(node, "ADD", each, runtimeConfig=chosen("weave"))
    resident = f"nsenter --net=/run/netns/{container} sleep 120 >/dev/null 2>&1 & echo $!"
    pid = int(node.run(["sh", "-c", resident]).stdout)
    try:
        put_back_the_clock(node, container, another)
        cluster.wait_for(lambda: not has_record(node, another), 30, "the reaper to be at work")
        seen_at = time.monotonic()
        while time.monotonic() < seen_at + 3:  # more looks
            assert has_record(node, container)
            time.sleep(0.5)
    finally:
        os.kill(pid, signal.SIGKILL)


# ---- the runtime dies


@pytest.fixture
def slow(node: Node, networks: Callable[..., None]) -> Iterator[Node]:
    """Give the node a network whose ADD goes on, the address given out, until it is told to end."""
    put(node, SLOW, SCRIPT, "755")
    networks("slow", "bridge", "slow")
    yield node
    node.run(["rm", "-f", SLOW, SLOW_MAY_END])


@contextlib.contextmanager
def no_kubelet(cluster: Cluster, node: Node) -> Iterator[None]:
    """Leave the node without a kubelet, which would end sandboxes that are not in the API."""
    node.stop("kubelet")
    try:
        yield
    finally:
        node.start("kubelet")
        ready = ("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=10s")
        cluster.wait_for(
            lambda: cluster.kubectl(*ready, check=False).returncode == 0, 90, "the node"
        )


@pytest.mark.repeats
def test_what_a_killed_runtime_left_is_freed_and_living_pods_keep_their_networks(
    cluster: Cluster, slow: Node, networks: Callable[..., None], container: str, *, full: bool
) -> None:
    """The runtime is killed during ADD and started again; in the end nothing is left of anything.

    It lists that sandbox then, so the reaper leaves it to kubelet, and frees what the runtime
    does not list. The living ones have records that are as old: what protects them is that they
    live.
    """
    node = slow
    networks("living")  # without the masquerading of the others, which is what would take long
    with no_kubelet(cluster, node):
        count = FULL_LIVING if full else LIVING
        names = [f"living-{number}" for number in range(count)]
        living = sandboxes.run_many(node, names, "living")
        assert len(set(living)) == count
        assert set(living) <= set(node.records())
        doomed = kill_the_runtime_during_add(cluster, node)
        with_living = node.records(), held(node, "living")
        assert len(with_living[1][0]["living"]) == count
        call(node, "ADD", container, runtimeConfig=chosen("weave,canal@net1"))
        put_back_the_clock(node, *node.records())
        cluster.wait_for(lambda: not has_record(node, container), 60, "the reaper to be at work")
        seen_at = time.monotonic()
        while time.monotonic() < seen_at + 3:  # more looks, with nothing to do
            assert (node.records(), held(node, "living")) == with_living
            time.sleep(0.2)
        assert doomed in with_living[0]
        sandboxes.end_many(node, [doomed, *living])  # as kubelet would, once a minute
    assert not {doomed, *living} & set(node.records())
    assert node.addresses("living") == []
    assert node.addresses("slow") == []


def kill_the_runtime_during_add(cluster: Cluster, node: Node) -> str:
    """Kill containerd while it waits for the slow network; start it; let that ADD end for nobody.

    Returns the container whose ADD it was.
    """
    before = node.records()
    with ThreadPoolExecutor(1) as beside:
        doomed = beside.submit(sandboxes.run, node, "doomed", "slow")
        cluster.wait_for(lambda: node.addresses("slow"), 60, "an address to be given out")
        containerd = node.services["containerd"]
        pid = containerd.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(CRIError):
            doomed.result()
    cluster.wait_for(lambda: containerd.pid() is None, 30, "containerd to be gone")
    node.start("containerd")
    [left] = set(node.records()) - set(before)
    node.run(["touch", SLOW_MAY_END])
    record = node.path(f"{STATE}/{left}.json")
    cluster.wait_for(lambda: '"attached"' in record.read_text(), 60, "the ADD to end")
    return left
