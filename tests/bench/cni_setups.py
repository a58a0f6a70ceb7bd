"""The ways in which the pods of a benchmark get their networks on one real node.

- no Genie: the runtime calls the network's own plugins. Neither agent nor Multus runs.
- Genie: the agent is on the node, as an administrator installs it.
- Multus: its daemon ("thick") is on the node (:mod:`tests.devcluster.network.multus_daemon`).
- a bare start: as without Genie, but the interpreter of Genie's plugin starts before the first
  plugin of the network (:mod:`tests.bench.floors`). Neither webhook nor agent takes part.

One is active at a time; the others have no process and no configuration there. The webhook runs
all the time, but decides only about the pods of Genie's own namespace: the others are in
kube-system, which webhook and policies exclude.
"""

from __future__ import annotations

import base64
import contextlib
import json
from typing import TYPE_CHECKING, Any, Protocol

from dispatcher import keys
from tests.bench import floors
from tests.bench.churn_report import Cost
from tests.bench.cluster import is_ready
from tests.bench.process_cost import children_seconds, containers, processor_seconds
from tests.cluster.support.admission import WEBHOOK_PODS
from tests.cluster.support.agents import CONFLIST, LAUNCHER, agent_pod
from tests.cluster.support.definitions import ENFORCE, LABEL
from tests.devcluster.build import gobuild
from tests.devcluster.commands import ClusterError
from tests.devcluster.genie import DEFAULT_NETWORK, NAMESPACE
from tests.devcluster.network import multus_daemon
from tests.devcluster.network.networks import NETWORKS as NODE_NETWORKS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.devcluster.cluster import Cluster
    from tests.devcluster.node.node import Node

NODE = "node1"
GENIE_SPACE, OTHER_SPACE = "bench-churn", "kube-system"
LAN = "lan"
"""The definition of the pods that select one, and its network."""

ONE, TWO, DEFINITION = "one network", "two networks", "one network and one definition"
NETWORKS = {
    ONE: [DEFAULT_NETWORK],
    TWO: [DEFAULT_NETWORK, "weave"],
    DEFINITION: [DEFAULT_NETWORK, LAN],
}
"""By workload: the networks that each pod must have."""

_SELECTOR = "bench-agent"
VALUES: Mapping[str, Any] = {
    "agent": {"nodeSelector": {_SELECTOR: "true"}, "settingsDelaySeconds": 0},
    "attachmentDefinitions": {"mode": ENFORCE},
}
"""Values of the chart, by which a label of the node says whether the agent runs."""

_BARE_START = "bare-start"
_BARE_START_CONFLIST = "/etc/cni/net.d/00-bare-start.conflist"

_TIMEOUT = 120.0
_RECORDS = "/var/lib/cni/genie/{}.json"
_MULTUS_CACHE = "/var/lib/cni/multus/{}"
_RUNTIME_CACHE = f"/var/lib/cni/results/{DEFAULT_NETWORK}-{{}}-eth0"
"""What the runtime keeps of a network that it attached without Genie or Multus."""


class Setup(Protocol):
    """One way: how to switch to it, and what its pods look like."""

    name: str
    space: str
    annotations: Mapping[str, Mapping[str, str]]
    """By workload that it can serve."""

    def active(self, cluster: Cluster) -> contextlib.AbstractContextManager[None]:
        """Switch the node to it until the end of the block."""

    def daemons(self, cluster: Cluster) -> list[int]:
        """Return the process ids of its daemons on the node."""


class NoGenie:
    """The delegates of the node's first configuration, called by the runtime."""

    name = "no Genie"
    space = OTHER_SPACE
    annotations: Mapping[str, Mapping[str, str]] = {ONE: {}}

    @contextlib.contextmanager
    def active(self, cluster: Cluster) -> Iterator[None]:
        """Do nothing: it is what remains when the others have left."""
        del cluster
        yield

    def daemons(self, cluster: Cluster) -> list[int]:
        """Return nothing."""
        del cluster
        return []


class Genie:
    """The agent on the node, and a namespace about whose pods the webhook decides."""

    name = "Genie"
    space = GENIE_SPACE
    annotations: Mapping[str, Mapping[str, str]] = {
        ONE: {keys.ANNOTATION: DEFAULT_NETWORK},
        TWO: {keys.ANNOTATION: f"{DEFAULT_NETWORK},weave"},
        DEFINITION: {keys.NETWORKS: LAN},
    }

    @contextlib.contextmanager
    def active(self, cluster: Cluster) -> Iterator[None]:
        """Let the agent run; afterwards the runtime's configuration is the one from before."""
        select_node(cluster)
        conflist = cluster.node(NODE).path(CONFLIST)
        ready = lambda: conflist.exists() and _has_agent(cluster)  # noqa: E731 - shorter than a function
        cluster.wait_for(ready, _TIMEOUT, f"the agent to be ready on {NODE}")
        try:
            yield
        finally:
            cluster.kubectl("label", "node", NODE, f"{_SELECTOR}-")
            agents = ("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=genie-agent")
            gone = lambda: not cluster.get(*agents)["items"]  # noqa: E731 - shorter than a function
            cluster.wait_for(gone, _TIMEOUT, f"the agent to leave {NODE}")
            conflist.unlink()

    def daemons(self, cluster: Cluster) -> list[int]:
        """Return agent and reaper."""
        return _pids(cluster, agent_pod(cluster, NODE))


class Multus:
    """Multus' daemon on the node, whose default network is Genie's."""

    name = f"Multus {gobuild.MULTUS.version}, thick"
    space = OTHER_SPACE
    annotations: Mapping[str, Mapping[str, str]] = {
        ONE: {},
        TWO: {keys.NETWORKS: "weave"},  # a definition without config: the node's network
        DEFINITION: {keys.NETWORKS: LAN},
    }

    @contextlib.contextmanager
    def active(self, cluster: Cluster) -> Iterator[None]:
        """Let the daemon run."""
        node = cluster.node(NODE)
        multus_daemon.start(cluster, node)
        try:
            yield
        finally:
            multus_daemon.stop(node)

    def daemons(self, cluster: Cluster) -> list[int]:
        """Return the daemon."""
        return [_pid(cluster.node(NODE), multus_daemon.SERVICE)]


class BareStart:
    """The delegates of the node's first configuration, after a start of the interpreter."""

    name = floors.BARE_START
    space = OTHER_SPACE
    annotations: Mapping[str, Mapping[str, str]] = {ONE: {}}

    @contextlib.contextmanager
    def active(self, cluster: Cluster) -> Iterator[None]:
        """Replace the network's first plugin, until the end of the block."""
        node = cluster.node(NODE)
        conflist = NODE_NETWORKS[DEFAULT_NETWORK].conflist(node.layout.number)
        delegate = conflist["plugins"][0]
        program = node.path(f"/opt/cni/bin/{_BARE_START}")
        floors.write_bare_start(program, node.path(LAUNCHER), f"/opt/cni/bin/{delegate['type']}")

        delegate["type"] = _BARE_START
        file = node.path(_BARE_START_CONFLIST)
        file.write_text(json.dumps(conflist))
        try:
            yield
        finally:
            file.unlink()
            program.unlink()

    def daemons(self, cluster: Cluster) -> list[int]:
        """Return nothing."""
        del cluster
        return []


def select_node(cluster: Cluster) -> None:
    """Let the agent of a Genie with VALUES run on the node."""
    cluster.kubectl("label", "node", NODE, f"{_SELECTOR}=true", "--overwrite")


def cost(cluster: Cluster, setup: Setup) -> Cost:
    """Return the processor seconds that everything has used so far while *setup* is active."""
    node = cluster.node(NODE)
    containerd, kubelet = _pid(node, "containerd"), _pid(node, "kubelet")
    daemons = setup.daemons(cluster)
    webhook = [
        pid
        for pod in cluster.get("pods", *WEBHOOK_PODS)["items"]
        for pid in _pids(cluster, pod["metadata"]["name"])
    ]
    api_server = cluster.control_plane.services["kube-apiserver"].pid()
    assert api_server is not None
    return Cost(
        plugins=sum(map(children_seconds, [containerd, *daemons])),
        containerd=processor_seconds(containerd),
        kubelet=processor_seconds(kubelet),
        daemons=sum(map(processor_seconds, daemons)),
        admission=sum(map(processor_seconds, [api_server, *webhook])),
    )


def check_pod(cluster: Cluster, setup: Setup, workload: str, pod: Mapping[str, Any]) -> None:
    """Raise ClusterError unless *pod* has its networks, and *setup* attached it to them.

    Both are read from the node: the addresses that host-local has allocated to the container, and
    what Genie or Multus keeps of it.
    """
    node = cluster.node(NODE)
    owner = node.path(f"/var/lib/cni/networks/{DEFAULT_NETWORK}/{pod['status']['podIP']}")
    container = owner.read_text().split()[0]
    stores = node.path("/var/lib/cni/networks").glob("*/[0-9]*.*")
    networks = sorted({f.parent.name for f in stores if container in f.read_text()})
    if networks != sorted(NETWORKS[workload]):
        raise ClusterError(f"{setup.name}: the pod has the networks {networks}")

    files = {Genie.name: _RECORDS, Multus.name: _MULTUS_CACHE}
    by = [name for name, path in files.items() if node.path(path.format(container)).exists()]
    if not by:
        cache = json.loads(node.path(_RUNTIME_CACHE.format(container)).read_text())
        conflist = base64.b64decode(cache["config"]).decode()
        by = [BareStart.name if _BARE_START in conflist else NoGenie.name]
    if by != [setup.name]:
        raise ClusterError(f"{setup.name}: the pod was attached by {by}")


def _has_agent(cluster: Cluster) -> bool:
    """Return whether the agent on the node is ready and attaches definitions."""
    labels = cluster.get("node", NODE)["metadata"]["labels"]
    agents = cluster.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=genie-agent")
    return labels.get(LABEL) == "true" and [*map(is_ready, agents["items"])] == [True]


def _pids(cluster: Cluster, pod: str) -> list[int]:
    """Return the process ids of the containers of one of Genie's pods."""
    return [pid for _, pid in containers(cluster, NODE, cluster.get("pod", pod, "-n", NAMESPACE))]


def _pid(node: Node, service: str) -> int:
    pid = node.services[service].pid()
    if pid is None:
        raise ClusterError(f"{service} has ended on {node.name}")
    return pid
