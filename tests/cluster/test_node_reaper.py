"""The reaper releases what crashes left on a node, and nothing of running pods.

Here it works every second instead of every minute. Its minimum age of ten minutes stays, since a
slow machine may take seconds between a sandbox's ADD and the runtime listing it. Tests change the
time stamps of records instead.
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
from tests.cluster.support.agents import agent_settings, metrics, node_events
from tests.cluster.support.node_networks import node_networks
from tests.cluster.support.plugin_calls import call
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
# A plugin whose ADD takes long: the test kills the runtime meanwhile.
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
    """Yield the node, with a reaper that works every second."""
    with agent_settings(cluster, reap_look_seconds=1):
        yield cluster.node(NODE)


@pytest.fixture
def networks(cluster: Cluster, node: Node) -> Iterator[Callable[..., None]]:
    """Yield a function that installs a network: a bridge, followed by these plugins."""
    with contextlib.ExitStack() as stack:

        def install(name: str, plugin_type: str = "bridge", *after: str) -> None:
            first = {"type": plugin_type, "bridge": f"{name}0", "ipam": IPAM}
            chain = [first, *({"type": each} for each in after)]
            conflist = {"cniVersion": "1.0.0", "name": name, "plugins": chain}
            stack.enter_context(node_networks(cluster, node.name, conflist))

        yield install


def put(node: Node, path: str, content: str, mode: str = "644") -> None:
    script = f"mkdir -p {Path(path).parent} && cat > {path} && chmod {mode} {path}"
    node.run(["sh", "-ec", script], input=content)


def make_old(node: Node, *containers: str) -> None:
    """Set the time stamps of records back by an hour."""
    node.run(["touch", "-c", "-d", "1 hour ago", *(f"{STATE}/{c}.json" for c in containers)])


def held(node: Node, *more: str) -> tuple[dict[str, list[str]], list[str]]:
    """Return what pods hold on the node's networks and on the networks *more*.

    That is: addresses by network, and the node's veths with their bridges.
    """
    links = json.loads(node.run(["ip", "-j", "link", "show", "type", "veth"]).stdout)
    bridges = {*(network.bridge for network in NETWORKS.values()), *(f"{each}0" for each in more)}
    ports = [f"{each['ifname']} {each['master']}" for each in links if "master" in each]
    addresses = {network: node.addresses(network) for network in (*NETWORKS, *more)}
    return addresses, sorted(port for port in ports if port.partition(" ")[2] in bridges)


# ---- the runtime does not know the container


def chosen(networks: str, **more: Any) -> dict[str, Any]:
    """Return the runtimeConfig for a pod with the annotation *networks*."""
    return {ANNOTATIONS: {"cni": networks}, **more}


@pytest.fixture
def container(node: Node) -> Iterator[str]:
    """Yield the name of a network namespace that no runtime knows; delete it afterwards."""
    with unknown(node) as name:
        yield name


@pytest.fixture
def another(node: Node) -> Iterator[str]:
    """Yield a second one, so that the reaper has work besides what it must not touch."""
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
    """Return the node's rules for host port 18080, of iptables and of nftables."""
    shown = node.run(["sh", "-c", "iptables-save -t nat; nft list ruleset"], check=False).stdout
    return [line for line in shown.splitlines() if "18080" in line]


def test_the_reaper_removes_host_ports_of_an_unknown_sandbox(
    cluster: Cluster, node: Node, container: str
) -> None:
    """The DEL runs in the node's network namespace, so the rules of portmap are removed."""
    port = {"hostPort": 18080, "containerPort": 80, "protocol": "tcp"}
    call(node, "ADD", container, runtimeConfig=chosen("canal", portMappings=[port]))
    assert port_rules(node)
    make_old(node, container)
    cluster.wait_for(lambda: not has_record(node, container), 120, "the reaper to release it")
    assert not port_rules(node)


def test_the_reaper_releases_what_a_reboot_left(
    cluster: Cluster, node: Node, container: str
) -> None:
    """The network namespace is gone; record and addresses remain."""
    allocated = ["grep", "-rl", container, "/var/lib/cni/networks"]
    call(node, "ADD", container, runtimeConfig=chosen("weave,canal@net1"))
    node.run(["ip", "netns", "delete", container])
    assert len(node.run(allocated).stdout.split()) == 3  # IPv4 twice, IPv6 once
    make_old(node, container)
    cluster.wait_for(lambda: not has_record(node, container), 120, "the reaper to release it")
    assert node.run(allocated, check=False).stdout == ""


def test_a_parked_attachment_is_reported_and_released_when_its_plugin_is_back(
    cluster: Cluster, node: Node, networks: Callable[..., None], container: str
) -> None:
    """Record, metric and Event report it while the executable is missing."""
    node.run(["cp", "/opt/cni/bin/bridge", "/opt/cni/bin/lent"])
    try:
        networks("lent", "lent")
        call(node, "ADD", container, runtimeConfig=chosen("lent"))
        [address] = node.addresses("lent")
        node.run(["mv", "/opt/cni/bin/lent", "/opt/cni/bin/lent.away"])
        # The runtime's DELs, which park after a second instead of ten minutes.
        cluster.wait_for(lambda: parks(node, container), 120, "the attachment to be parked")
        make_old(node, container)
        shown = 'genie_agent_parked_attachments{network="lent"} 1.0'
        cluster.wait_for(lambda: shown in metrics(cluster, NODE), 120, "the metric")
        messages = functools.partial(node_events, cluster, NODE, "NetworkParked")
        cluster.wait_for(lambda: any(container in m for m in messages()), 120, "the Event")
        assert node.addresses("lent") == [address]
        node.run(["mv", "/opt/cni/bin/lent.away", "/opt/cni/bin/lent"])
        cluster.wait_for(lambda: not has_record(node, container), 60, "the reaper to release it")
        assert node.addresses("lent") == []
    finally:
        node.run(["rm", "-f", "/opt/cni/bin/lent", "/opt/cni/bin/lent.away"])


def parks(node: Node, container: str) -> bool:
    time.sleep(1)
    call(node, "DEL", container, check=False, parkAfterSeconds=1)
    return '"parked"' in node.path(f"{STATE}/{container}.json").read_text()


def test_the_reaper_does_not_touch_a_namespace_with_a_process(
    cluster: Cluster, node: Node, container: str, another: str
) -> None:
    """It does not matter what the runtime lists. An empty namespace beside it is released."""
    for each in (container, another):
        call(node, "ADD", each, runtimeConfig=chosen("weave"))
    # The shell is in the namespace before it starts the process, so the reaper cannot come first.
    resident = ["sh", "-c", "sleep 120 >/dev/null 2>&1 & echo $!"]
    pid = int(node.run(["nsenter", f"--net=/run/netns/{container}", *resident]).stdout)
    try:
        make_old(node, container, another)
        cluster.wait_for(
            lambda: not has_record(node, another), 120, "the reaper to release the empty one"
        )
        seen_at = time.monotonic()
        while time.monotonic() < seen_at + 3:  # several rounds
            assert has_record(node, container)
            time.sleep(0.5)
    finally:
        os.kill(pid, signal.SIGKILL)


# ---- the runtime dies


@pytest.fixture
def slow(node: Node, networks: Callable[..., None]) -> Iterator[Node]:
    """Yield the node with a network whose ADD has allocated an address and waits for a file."""
    put(node, SLOW, SCRIPT, "755")
    networks("slow", "bridge", "slow")
    yield node
    node.run(["rm", "-f", SLOW, SLOW_MAY_END])


@pytest.mark.repeats
def test_running_sandboxes_keep_their_networks_after_the_runtime_was_killed(
    cluster: Cluster, slow: Node, networks: Callable[..., None], container: str, *, full: bool
) -> None:
    """The runtime is killed during an ADD and restarted; in the end nothing remains.

    It lists that sandbox, so the reaper leaves it to the kubelet; what the runtime does not list is
    released. The records of running sandboxes are as old, so only their processes protect them.
    """
    node = slow
    networks("living")  # without masquerading, which would take long
    with sandboxes.no_kubelet(cluster, node):
        count = FULL_LIVING if full else LIVING
        names = [f"living-{number}" for number in range(count)]
        living = sandboxes.run_many(node, names, "living")
        assert len(set(living)) == count
        assert set(living) <= set(node.records())
        doomed = kill_the_runtime_during_add(cluster, node)
        with_living = node.records(), held(node, "living")
        assert len(with_living[1][0]["living"]) == count
        call(node, "ADD", container, runtimeConfig=chosen("weave,canal@net1"))
        make_old(node, *node.records())
        cluster.wait_for(lambda: not has_record(node, container), 120, "the reaper to release it")
        seen_at = time.monotonic()
        while time.monotonic() < seen_at + 3:  # several rounds without work
            assert (node.records(), held(node, "living")) == with_living
            time.sleep(0.2)
        assert doomed in with_living[0]
        sandboxes.end_many(node, [doomed, *living])  # as kubelet would, once a minute
    assert not {doomed, *living} & set(node.records())
    assert node.addresses("living") == []
    assert node.addresses("slow") == []


def kill_the_runtime_during_add(cluster: Cluster, node: Node) -> str:
    """Kill containerd during an ADD of the slow network; restart it; let that ADD end.

    Return the container of that ADD.
    """
    before = node.records()
    with ThreadPoolExecutor(1) as executor:
        doomed = executor.submit(sandboxes.run, node, "doomed", "slow")
        cluster.wait_for(lambda: node.addresses("slow"), 120, "an address to be allocated")
        containerd = node.services["containerd"]
        pid = containerd.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(CRIError):
            doomed.result()
    cluster.wait_for(lambda: containerd.pid() is None, 120, "containerd to be gone")
    node.start("containerd")
    [container] = set(node.records()) - set(before)
    node.run(["touch", SLOW_MAY_END])
    record = node.path(f"{STATE}/{container}.json")
    cluster.wait_for(lambda: '"attached"' in record.read_text(), 120, "the ADD to end")
    return container
