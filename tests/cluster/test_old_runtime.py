"""A real kubelet and containerd with a CNI configuration that does not request annotations.

So Genie works as with cri-dockerd, or CRI-O before 1.29: the plugin gets no annotation and asks the
node's agent. tests/node/test_ask_agent.py has all errors of that request.
"""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING

import pytest

from tests.cluster.support import sandboxes
from tests.cluster.support.agents import CONFLIST, granted, pod_events, rights_for_old_runtimes
from tests.cluster.support.observe import interfaces
from tests.cluster.support.pods import pod_manifest, wait_until_ready
from tests.devcluster.genie import DEFAULT_NETWORK, wait_until_working

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster
    from tests.devcluster.node.node import Node

NODE = "node1"
OLD = "/etc/cni/net.d/00-before-genie.conflist"  # sorts before ours, so the runtime takes it
SOCKET = "/run/genie/agent.sock"
CONNECT = f"import socket; socket.socket(socket.AF_UNIX).connect({SOCKET!r})"


@pytest.fixture
def old_runtime(cluster: Cluster) -> Iterator[Node]:
    """Yield the node with a runtime that passes no annotations.

    The agent would restore its own conflist. So the runtime gets a copy without that capability,
    whose name sorts first.
    """
    node = cluster.node(NODE)
    conflist = json.loads(node.path(CONFLIST).read_text())
    del conflist["plugins"][0]["capabilities"]["io.kubernetes.cri.pod-annotations"]
    write = ["sh", "-ec", f"cat > {OLD}.new && mv {OLD}.new {OLD}"]
    node.run(write, input=json.dumps(conflist))
    try:
        cluster.wait_for(lambda: not passes_annotations(node), 120, "the runtime to load it")
        yield node
    finally:
        node.run(["rm", OLD])
        cluster.wait_for(
            lambda: passes_annotations(node), 120, "the runtime to load the other again"
        )
        wait_until_working(cluster, DEFAULT_NETWORK)  # the labels were "false" meanwhile


def passes_annotations(node: Node) -> bool:
    return "io.kubernetes.cri.pod-annotations" in sandboxes.describe(node)


def test_a_pod_gets_its_networks_through_the_agent(
    cluster: Cluster, namespace: str, old_runtime: Node
) -> None:
    """Without oldRuntimes the pod waits, and an Event says what to do; with it, it is attached.

    Only root can connect to the agent's socket.
    """
    node = old_runtime
    pod = pod_manifest("asks", "weave,canal@net1")
    # The agent takes the copy for another program's file, so the node's labels say "false".
    pod["spec"]["nodeName"] = NODE
    cluster.apply(pod, "-n", namespace)
    messages = functools.partial(pod_events, cluster, namespace, "asks", "NetworkNotAttached")
    cluster.wait_for(messages, 120, "an Event")
    [message] = set(messages())
    assert f"the agent is not allowed to read pod {namespace}/asks" in message
    assert "oldRuntimes: true" in message
    with granted(cluster, rights_for_old_runtimes()):
        cluster.apply(pod_manifest("plain", None), "-n", namespace)
        wait_until_ready(cluster, namespace, "plain", "asks")
        links = {pod: interfaces(cluster, pod, namespace) for pod in ("asks", "plain")}
        bridges = {pod: {i.name: i.bridge for i in has.values()} for pod, has in links.items()}
        assert bridges == {
            "asks": {"eth0": "weave0", "net1": "canal0"},
            "plain": {"eth0": "canal0"},
        }
        cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--grace-period=1")
    assert node.path(SOCKET).is_socket()
    connect = ["/usr/bin/python3", "-c", CONNECT]
    node.run(connect)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    refused = node.run([*nobody, *connect], check=False)
    assert "PermissionError" in refused.stderr
