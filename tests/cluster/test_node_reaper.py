"""What crashes leave on a real node is freed, and what lives beside it is not touched."""

from __future__ import annotations

import json
import os
import secrets
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.agents import CONFLIST, LAUNCHER, agent_settings
from tests.cluster.networks import NETWORKS
from tests.cluster.observe import interfaces
from tests.cluster.seed import pod_manifest
from tests.cluster.test_main_job import wait_running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster
    from tests.cluster.node import Node

NODE = "node1"
ANNOTATIONS = "io.kubernetes.cri.pod-annotations"
SLOW = "/opt/cni/bin/slow"
CONF = "/etc/cni/genie.d/slow.conflist"
IPAM = {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/24"}]]}
CHAIN = {
    "cniVersion": "1.0.0",
    "name": "slow",
    "plugins": [{"type": "bridge", "bridge": "slow0", "ipam": IPAM}, {"type": "slow"}],
}
SCRIPT = """#!/usr/bin/python3
# Stands in for a plugin that takes long over ADD: the time in which the test kills the runtime.
import json, os, sys, time
conf = json.load(sys.stdin)
if os.environ["CNI_COMMAND"] == "ADD":
    time.sleep(8)
    print(json.dumps(conf["prevResult"]))
"""


@pytest.fixture
def slow_network(cluster: Cluster) -> Iterator[Node]:
    """Give the node a network whose ADD takes 8 seconds after the address was given out."""
    node = cluster.node(NODE)
    node.run(["sh", "-c", f"cat > {SLOW} && chmod 755 {SLOW}"], input=SCRIPT)
    node.run(["sh", "-c", f"mkdir -p /etc/cni/genie.d && cat > {CONF}"], input=json.dumps(CHAIN))
    yield node
    node.run(["rm", "-f", SLOW, CONF])
    node.run(["ip", "link", "delete", "slow0"], check=False)
    cluster.kubectl("label", "node", NODE, "network.cni-genie.io/slow-", check=False)


def port_rules(node: Node) -> list[str]:
    """Return the host's rules for host port 18080, of iptables and of nftables."""
    shown = node.run(["sh", "-c", "iptables-save -t nat; nft list ruleset"], check=False).stdout
    return [line for line in shown.splitlines() if "18080" in line]


def test_what_a_killed_runtime_left_is_freed_and_living_pods_keep_their_networks(
    cluster: Cluster, slow_network: Node, namespace: str
) -> None:
    """The runtime dies during ADD and comes back: the address is free soon after."""
    node = slow_network
    with agent_settings(cluster, reap_age_seconds=5, reap_look_seconds=2):
        names = [f"living{number}" for number in range(8)]
        for name in names:
            cluster.apply(pod_manifest(name, "weave,canal@net1"), "-n", namespace)
        wait_running(cluster, namespace, *names)
        before = node.records()
        addresses = {network: node.addresses(network) for network in NETWORKS}
        cluster.wait_for(
            lambda: (
                cluster.apply(
                    pod_manifest("doomed", "slow"), "-n", namespace, check=False
                ).returncode
                == 0
            ),
            20,
            "the network to be known",
        )
        cluster.wait_for(lambda: node.addresses("slow"), 20, "an address to be given out")
        pid = node.services["containerd"].pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        cluster.kubectl("delete", "pod", "doomed", "-n", namespace, "--wait=false")
        node.start("containerd")
        cluster.wait_for(lambda: not node.addresses("slow"), 90, "the address to be freed")
        cluster.wait_for(lambda: node.records() == before, 30, "the record to go")
        assert {network: node.addresses(network) for network in NETWORKS} == addresses
        for name in names:
            found = interfaces(cluster, name, namespace)
            assert {key: found[key].bridge for key in found} == {
                "eth0": "weave0",
                "net1": "canal0",
            }


def call(node: Node, command: str, container: str, runtime_config: dict[str, Any]) -> None:
    """Call the installed plugin as a runtime would, for the namespace of the same name."""
    conf = json.loads(node.path(CONFLIST).read_text())
    plugin = {**conf["plugins"][0], "name": "genie", "cniVersion": "1.0.0"}
    environment = [
        "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", f"CNI_COMMAND={command}",
        f"CNI_CONTAINERID={container}", f"CNI_NETNS=/run/netns/{container}", "CNI_IFNAME=eth0",
        "CNI_PATH=/opt/cni/bin",
    ]  # fmt: skip
    given = json.dumps({**plugin, "runtimeConfig": runtime_config})
    node.run([*environment, LAUNCHER], input=given)


@pytest.fixture
def container(cluster: Cluster) -> Iterator[str]:
    """Give the name of a network namespace that no runtime knows; it is gone afterwards."""
    node = cluster.node(NODE)
    name = f"unknown-{secrets.token_hex(4)}"
    node.run(["ip", "netns", "add", name])
    try:
        yield name
    finally:
        call(node, "DEL", name, {})
        node.run(["ip", "netns", "delete", name])


def test_a_sandbox_that_the_runtime_forgot_loses_its_host_ports_too(
    cluster: Cluster, container: str
) -> None:
    """The rules of portmap vanish from the host: the DEL ran in the host's namespaces."""
    node = cluster.node(NODE)
    port = {"hostPort": 18080, "containerPort": 80, "protocol": "tcp"}
    call(node, "ADD", container, {ANNOTATIONS: {"cni": "canal"}, "portMappings": [port]})
    record = node.path(f"/var/lib/cni/genie/{container}.json")
    assert record.exists()
    assert port_rules(node)
    with agent_settings(cluster, reap_age_seconds=1, reap_look_seconds=1):
        cluster.wait_for(lambda: not record.exists(), 30, "the reaper to free it")
        assert not port_rules(node)


def test_a_namespace_with_a_process_is_left_alone(cluster: Cluster, container: str) -> None:
    """Whatever the runtime lists: something lives there."""
    node = cluster.node(NODE)
    call(node, "ADD", container, {ANNOTATIONS: {"cni": "weave"}})
    record = node.path(f"/var/lib/cni/genie/{container}.json")
    resident = f"nsenter --net=/run/netns/{container} sleep 120 >/dev/null 2>&1 & echo $!"
    pid = int(node.run(["sh", "-c", resident]).stdout)
    try:
        with agent_settings(cluster, reap_age_seconds=0, reap_look_seconds=1):
            seen_at = time.monotonic()
            while time.monotonic() < seen_at + 6:
                assert record.exists()
                time.sleep(0.5)
    finally:
        os.kill(pid, signal.SIGKILL)
