"""Create and delete pods through the real kubelet while Genie's own pods die; find leftovers.

Each lane applies a wave of pods on two networks each, waits until all are Ready, compares what
every pod holds on the node with what it asked for, deletes the pods and begins again. With two
lanes, pods are created while others are deleted. Meanwhile `disruption` kills processes of the
agent and of the webhook, and deletes their pods, at random.

What a pod holds is read from host-local's store and from the API; `leftovers` reads the node. Both
identify a container by its id, which every component writes down. Nothing is taken from Genie.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from tests.cluster.support.agents import DAEMONSET, rolled_out
from tests.cluster.support.pods import pod_manifest
from tests.devcluster.genie import DEFAULT_NETWORK, NAMESPACE, wait_until_working
from tests.devcluster.network.networks import NETWORKS
from tests.workers import Workers

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator

    from tests.devcluster.cluster import Cluster
    from tests.devcluster.node.node import Node

LANES = 2
WAVE = 10
READY_WITHIN = 180
GONE_WITHIN = 180
FREED_WITHIN = 120

CHOICES: dict[str, dict[str, str]] = {
    "weave,canal@net1": {"eth0": "weave", "net1": "canal"},
    "canal,weave": {"eth0": "canal", "eth1": "weave"},
    "canal,canal@second": {"eth0": "canal", "second": "canal"},
    "weave@net7,weave@eth0": {"eth0": "weave", "net7": "weave"},
}
"""What the pods ask for, two networks each, and the attachments that each must have."""

Attachments = dict[str, dict[str, str]]
"""By pod: the network of each interface."""


@dataclass
class ChurnFigures:
    """The figures of a churn; ``ready`` has each pod's seconds from creation to Ready."""

    seconds: float = 0.0
    ready: list[float] = field(default_factory=list)
    disruptions: Counter[str] = field(default_factory=Counter)

    @property
    def pods(self) -> int:
        """Return how many pods were created, checked and deleted."""
        return len(self.ready)

    def quantile(self, part: float) -> float:
        """Return a quantile of the seconds to Ready."""
        return sorted(self.ready)[min(self.pods - 1, int(part * self.pods))]


# ---- on the node


def _stored(node: Node) -> Iterator[tuple[str, str, str, str]]:
    """Yield each address that host-local has allocated: network, address, container, interface."""
    for network in NETWORKS:
        for address in node.addresses(network):
            file = node.path(f"/var/lib/cni/networks/{network}/{address}")
            with contextlib.suppress(FileNotFoundError):  # it was freed meanwhile
                container, _, interface = file.read_text().partition("\n")
                yield network, address, container.strip(), interface.strip()


def attachments(node: Node, pods: Iterable[dict[str, Any]]) -> Attachments:
    """Return, by pod, the interfaces for which host-local has allocated addresses.

    The addresses in a pod's status, all of one container, identify the pod's container.
    """
    held: Attachments = {}
    owners = {}
    for network, address, container, interface in _stored(node):
        held.setdefault(container, {})[interface] = network
        owners[ip_address(address)] = container
    found = {}
    for pod in pods:
        ips = [ip_address(entry["ip"]) for entry in pod["status"]["podIPs"]]
        [container] = {owners[ip] for ip in ips}
        found[pod["metadata"]["name"]] = held[container]
    return found


def leftovers(node: Node) -> dict[str, list[str]]:
    """Return what the node has for containers that do not run, by category; empty if nothing."""
    living = set(node.ctr("tasks", "ls", "-q").stdout.split())
    own = {"", "journal", "nad"}  # .gc.lock, the journal for the agent, copies of definitions
    state = {file.name for file in node.path("/var/lib/cni/genie").iterdir()}
    results = [file.name for file in node.path("/var/lib/cni/results").iterdir()]
    rules = node.run(["sh", "-ec", "iptables-save; ip6tables-save"]).stdout
    found = {
        "records and locks": [n for n in state if n.partition(".")[0] not in living | own],
        "addresses": [a for _, a, container, _ in _stored(node) if container not in living],
        "results": [n for n in results if not living & set(n.split("-"))],
        "masquerading": sorted(set(re.findall(r'id: \\"([0-9a-f]{64})\\"', rules)) - living),
        **_stray_links(node),
    }
    return {kind: sorted(names) for kind, names in found.items() if names}


def remaining_leftovers(node: Node) -> dict[str, list[str]]:
    """Return the leftovers that remain after FREED_WITHIN seconds.

    Genie's own pods start and stop too, so an ADD or DEL of theirs may still run.
    """
    end = time.monotonic() + FREED_WITHIN
    while (found := leftovers(node)) and time.monotonic() < end:
        time.sleep(0.5)
    return found


def _stray_links(node: Node) -> dict[str, list[str]]:
    """Return network namespaces that belong to no sandbox, and veths without a peer in one."""
    listed = node.ctr("sandboxes", "ls").stdout.splitlines()[1:]
    commands = (["sandbox", "netns", line.split()[0]] for line in listed)
    living = {node.run(command, check=False).stdout.strip() for command in commands} - {""}
    peers = set()
    for path in living:
        inside = node.run(["nsenter", f"--net={path}", "--", "ip", "-j", "link"], check=False)
        peers |= {link.get("link_index") for link in json.loads(inside.stdout or "[]")}
    links = json.loads(node.run(["ip", "-j", "link", "show", "type", "veth"]).stdout)
    pods_ends = [link for link in links if link["ifname"].startswith("veth")]
    names = {path.rpartition("/")[2] for path in living}
    return {
        "network namespaces": [
            file.name for file in node.path("/run/netns").iterdir() if file.name not in names
        ],
        "veths": [link["ifname"] for link in pods_ends if link["ifindex"] not in peers],
    }


def failures(cluster: Cluster, namespace: str) -> list[str]:
    """Return the kubelet's Events about sandboxes that it could not create or remove."""
    events = cluster.get("events", "-n", namespace)["items"]
    reasons = {"FailedCreatePodSandBox", "FailedKillPod"}
    return [event["message"] for event in events if event["reason"] in reasons]


# ---- pods


def churn(
    cluster: Cluster,
    node: Node,
    namespace: str,
    waves: Callable[[], Iterable[object]],
    *,
    pods: int = WAVE,
) -> ChurnFigures:
    """Run one wave of *pods* pods in each lane for each item of *waves*; see the module.

    Raises CommandError if a pod is refused, does not become Ready or is not deleted in time, and
    AssertionError if one does not have the attachments that it asked for.
    """
    figures = ChurnFigures()
    start = time.monotonic()

    def lane(number: int) -> None:
        for turn, _ in enumerate(waves()):
            figures.ready += _wave(cluster, node, namespace, f"lane{number}-{turn}", pods)

    with ThreadPoolExecutor(LANES) as executor:
        for each in [executor.submit(lane, number) for number in range(LANES)]:
            each.result()
    figures.seconds = time.monotonic() - start
    return figures


def for_seconds(seconds: float) -> Callable[[], Iterator[object]]:
    """Return waves for `churn` that start for so many seconds."""
    end = time.monotonic() + seconds
    return lambda: itertools.takewhile(lambda _: time.monotonic() < end, itertools.count())


def _wave(cluster: Cluster, node: Node, namespace: str, wave: str, size: int) -> list[float]:
    """Create, check and delete pods; return each pod's seconds to Ready."""
    values = itertools.cycle(CHOICES)
    wanted = {f"{wave}-{number}": next(values) for number in range(size)}
    pods = [pod_manifest(name, cni, labels={"wave": wave}) for name, cni in wanted.items()]
    ours = ("pods", "-n", namespace, "-l", f"wave={wave}")
    cluster.apply({"apiVersion": "v1", "kind": "List", "items": pods}, "-n", namespace)
    ready = ("wait", *ours, "--for=condition=Ready", f"--timeout={READY_WITHIN}s")
    cluster.kubectl(*ready, timeout=2 * READY_WITHIN)
    stored = cluster.get(*ours)["items"]
    found = attachments(node, stored)
    assert found == {name: CHOICES[cni] for name, cni in wanted.items()}
    delete = ("delete", *ours, "--wait=true", f"--timeout={GONE_WITHIN}s")
    cluster.kubectl(*delete, timeout=2 * GONE_WITHIN)
    return [_seconds_to_ready(pod) for pod in stored]


def _seconds_to_ready(pod: dict[str, Any]) -> float:
    """Return a pod's seconds from creation to Ready, in whole seconds as in the API."""
    [ready] = [c for c in pod["status"]["conditions"] if c["type"] == "Ready"]
    created = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
    return (datetime.fromisoformat(ready["lastTransitionTime"]) - created).total_seconds()


# ---- Genie's own pods

TURNS = (("agent", True), ("webhook", False), ("agent", False), ("webhook", True))
"""Whose process is killed (True) or pod deleted (False), in order; which one is random."""


@contextlib.contextmanager
def disruption(cluster: Cluster, seed: int, pause: tuple[float, float]) -> Iterator[Counter[str]]:
    """Kill processes and delete pods of agent and webhook, again and again.

    *pause* is the least and the greatest number of seconds between two actions. Yields a counter of
    the actions. They alternate, so that a short time has all four. At the end all pods are
    replaced, since the kubelet restarts a container that died often only after minutes.
    """
    rng = random.Random(seed)  # noqa: S311 - not for security
    disruptions: Counter[str] = Counter()

    def act(stopping: threading.Event) -> None:
        for part, kill in itertools.cycle(TURNS):
            if stopping.wait(rng.uniform(*pause)):
                return
            disruptions[_disrupt(cluster, rng, part, kill=kill)] += 1

    try:
        with Workers(act):
            yield disruptions
    finally:
        for workload in (DAEMONSET, "deployment/genie-webhook"):
            cluster.kubectl("rollout", "restart", workload, "-n", NAMESPACE)
        wait_until_working(cluster, DEFAULT_NETWORK)


def _disrupt(cluster: Cluster, rng: random.Random, part: str, *, kill: bool) -> str:
    """Kill one process of *part*, or delete one of its pods; return what was done."""
    ours = ("pods", "-n", NAMESPACE, "-l", f"app.kubernetes.io/component={part}")
    pods = [
        pod for pod in cluster.get(*ours)["items"] if not pod["metadata"].get("deletionTimestamp")
    ]
    if not pods:
        return "no pod found"
    pod = rng.choice(pods)
    running = [c for c in pod["status"].get("containerStatuses", []) if "running" in c["state"]]
    if running and kill:
        container = rng.choice(running)
        node = cluster.node(pod["spec"]["nodeName"])
        identifier = container["containerID"].removeprefix("containerd://")
        killed = node.ctr("tasks", "kill", "--signal", "SIGKILL", identifier, check=False)
        return f"kill -9 of {container['name']}" if killed.returncode == 0 else "already ended"
    name = pod["metadata"]["name"]
    cluster.kubectl("delete", "pod", name, "-n", NAMESPACE, "--wait=false", "--ignore-not-found")
    return f"deletion of {part}'s pod"


@contextlib.contextmanager
def no_agents(cluster: Cluster) -> Iterator[None]:
    """Remove agent and reaper from every node until the end of the block."""
    elsewhere = {"spec": {"template": {"spec": {"nodeSelector": {"no": "node"}}}}}
    target = (DAEMONSET, "-n", NAMESPACE)
    agents = ("-n", NAMESPACE, "-l", "app.kubernetes.io/name=genie-agent")
    cluster.kubectl("patch", *target, "-p", json.dumps(elsewhere))
    try:
        gone = "the agents to be gone"
        cluster.wait_for(lambda: not cluster.get("pods", *agents)["items"], 120, gone)
        yield
    finally:
        back = [{"op": "remove", "path": "/spec/template/spec/nodeSelector/no"}]
        cluster.kubectl("patch", *target, "--type=json", "-p", json.dumps(back))
        rolled_out(cluster)
