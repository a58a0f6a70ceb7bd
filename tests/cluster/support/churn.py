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
import threading
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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.devcluster.cluster import Cluster
    from tests.devcluster.node.node import Node

LANES = 2
WAVE = 10
READY_WITHIN = 180
GONE_WITHIN = 180
FREED_WITHIN = 60

CHOICES: dict[str, dict[str, str]] = {
    "weave,canal@net1": {"eth0": "weave", "net1": "canal"},
    "canal,weave": {"eth0": "canal", "eth1": "weave"},
    "canal,canal@second": {"eth0": "canal", "second": "canal"},
    "weave@net7,weave@eth0": {"eth0": "weave", "net7": "weave"},
}
"""What the pods ask for, two networks each, and what each then has."""

Attachments = dict[str, dict[str, str]]
"""By container: the network of each interface."""


@dataclass
class ChurnFigures:
    """What a churn was: ``ready`` are the seconds from creation to Ready, one for each pod."""

    seconds: float = 0.0
    ready: list[float] = field(default_factory=list)
    disruptions: Counter[str] = field(default_factory=Counter)

    @property
    def pods(self) -> int:
        """Return how many pods were made, checked and deleted."""
        return len(self.ready)

    def quantile(self, part: float) -> float:
        """Return the seconds to Ready that so large a part of the pods did not exceed."""
        return sorted(self.ready)[min(self.pods - 1, int(part * self.pods))]


# ---- what the node holds


def _stored(node: Node) -> Iterator[tuple[str, str, str, str]]:
    """Yield each address that host-local has given out: network, address, container, interface."""
    for network in NETWORKS:
        for address in node.addresses(network):
            file = node.path(f"/var/lib/cni/networks/{network}/{address}")
            with contextlib.suppress(FileNotFoundError):  # freed since
                container, _, interface = file.read_text().partition("\n")
                yield network, address, container.strip(), interface.strip()


def attachments(node: Node, pods: Iterable[dict[str, Any]]) -> Attachments:
    """Return, by pod, the interfaces that the address plugin has served.

    A pod is found by the addresses in its status, all of which must be of one container.
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
    """Return what is on the node for no container that runs, by kind; nothing where all is well."""
    living = set(node.ctr("tasks", "ls", "-q").stdout.split())
    own = {"", "journal"}  # .gc.lock and the agent's notes, the journal
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
    """Return the leftovers that are still there when everything has had its time to be freed.

    Genie's own pods come and go at the same time, and an ADD or DEL of theirs may be under way.
    """
    end = time.monotonic() + FREED_WITHIN
    while (found := leftovers(node)) and time.monotonic() < end:
        time.sleep(0.5)
    return found


def _stray_links(node: Node) -> dict[str, list[str]]:
    """Return the network namespaces of no pod, and the veths that lead into none."""
    listed = node.ctr("sandboxes", "ls").stdout.splitlines()[1:]
    asked = (["sandbox", "netns", line.split()[0]] for line in listed)
    living = {node.run(command, check=False).stdout.strip() for command in asked} - {""}
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
    """Return what the kubelet complained about in a namespace: sandboxes not made or not freed."""
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
    """Let *pods* come and go, in each lane one wave for each item of *waves*; see the module.

    Raises CommandError where a pod is refused, does not become Ready or does not go; fails an
    assertion where one has not what it asked for.
    """
    figures = ChurnFigures()
    begun = time.monotonic()

    def lane(number: int) -> None:
        for turn, _ in enumerate(waves()):
            figures.ready += _wave(cluster, node, namespace, f"lane{number}-{turn}", pods)

    with ThreadPoolExecutor(LANES) as together:
        for done in [together.submit(lane, number) for number in range(LANES)]:
            done.result()
    figures.seconds = time.monotonic() - begun
    return figures


def for_seconds(seconds: float) -> Callable[[], Iterator[object]]:
    """Return waves that go on for so long; one that has begun is finished."""
    end = time.monotonic() + seconds
    return lambda: itertools.takewhile(lambda _: time.monotonic() < end, itertools.count())


def _wave(cluster: Cluster, node: Node, namespace: str, wave: str, size: int) -> list[float]:
    """Make, compare and delete so many pods; return the seconds that each took to be Ready."""
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
    """Return a pod's seconds from creation to Ready; the API has whole seconds."""
    [ready] = [c for c in pod["status"]["conditions"] if c["type"] == "Ready"]
    made = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
    return (datetime.fromisoformat(ready["lastTransitionTime"]) - made).total_seconds()


# ---- Genie's own pods

TURNS = (("agent", True), ("webhook", False), ("agent", False), ("webhook", True))
"""Whose process is killed (or pod deleted) in which order; which one of them is left to chance."""


@contextlib.contextmanager
def disruption(cluster: Cluster, seed: int, pause: tuple[float, float]) -> Iterator[Counter[str]]:
    """Kill and delete parts of agent and webhook meanwhile, *pause* seconds apart (least, most).

    By turns, so that a short time has both, of both. Gives what was done so far. In the end every
    part is replaced, since the kubelet makes one that died often wait for minutes, and works again.
    """
    dice = random.Random(seed)  # noqa: S311 - which pod dies is no secret
    disruptions: Counter[str] = Counter()
    over = threading.Event()

    def act() -> None:
        for part, kill in itertools.cycle(TURNS):
            if over.wait(dice.uniform(*pause)):
                return
            disruptions[_deed(cluster, dice, part, kill=kill)] += 1

    with ThreadPoolExecutor(1) as together:
        acting = together.submit(act)
        try:
            yield disruptions
        finally:
            over.set()
            acting.result()
            for workload in (DAEMONSET, "deployment/genie-webhook"):
                cluster.kubectl("rollout", "restart", workload, "-n", NAMESPACE)
            wait_until_working(cluster, DEFAULT_NETWORK)


def _deed(cluster: Cluster, dice: random.Random, part: str, *, kill: bool) -> str:
    """Kill one process of *part*, or delete one pod; return what was done."""
    ours = ("pods", "-n", NAMESPACE, "-l", f"app.kubernetes.io/component={part}")
    pods = [
        pod for pod in cluster.get(*ours)["items"] if not pod["metadata"].get("deletionTimestamp")
    ]
    if not pods:
        return "found nobody"
    pod = dice.choice(pods)
    running = [c for c in pod["status"].get("containerStatuses", []) if "running" in c["state"]]
    if running and kill:
        container = dice.choice(running)
        node = cluster.node(pod["spec"]["nodeName"])
        identifier = container["containerID"].removeprefix("containerd://")
        killed = node.ctr("tasks", "kill", "--signal", "SIGKILL", identifier, check=False)
        return f"kill -9 of {container['name']}" if killed.returncode == 0 else "came too late"
    name = pod["metadata"]["name"]
    cluster.kubectl("delete", "pod", name, "-n", NAMESPACE, "--wait=false", "--ignore-not-found")
    return f"deletion of {part}'s pod"


@contextlib.contextmanager
def no_agents(cluster: Cluster) -> Iterator[None]:
    """Leave every node without an agent for a while, and its reaper with it."""
    elsewhere = {"spec": {"template": {"spec": {"nodeSelector": {"no": "node"}}}}}
    target = (DAEMONSET, "-n", NAMESPACE)
    agents = ("-n", NAMESPACE, "-l", "app.kubernetes.io/name=genie-agent")
    cluster.kubectl("patch", *target, "-p", json.dumps(elsewhere))
    try:
        gone = "the agents to be gone"
        cluster.wait_for(lambda: not cluster.get("pods", *agents)["items"], 60, gone)
        yield
    finally:
        back = [{"op": "remove", "path": "/spec/template/spec/nodeSelector/no"}]
        cluster.kubectl("patch", *target, "--type=json", "-p", json.dumps(back))
        rolled_out(cluster)
