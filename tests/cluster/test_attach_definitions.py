"""Pods are attached to the NetworkAttachmentDefinitions that they select, in the mode enforce.

What a pod has is read from inside it. Each test ends without an address, a record or an interface
of its pods.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from dispatcher import keys
from dispatcher.reaper.cri import CRIError
from tests.cluster.support import sandboxes
from tests.cluster.support.agents import network_status, pod_events
from tests.cluster.support.churn import no_agents, remaining_leftovers
from tests.cluster.support.control_plane import api_server_down, etcd_restored
from tests.cluster.support.definitions import (
    apply,
    bridge,
    copy_of,
    definition,
    definitions_enforced,
    selecting,
)
from tests.cluster.support.observe import default_routes, http_status, interfaces
from tests.cluster.support.plugin_calls import call
from tests.cluster.support.pods import wait_until_ready
from tests.devcluster.commands import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.devcluster.cluster import Cluster
    from tests.devcluster.node.node import Node

NODE = "node1"


@pytest.fixture(scope="module", autouse=True)
def enforcing(cluster: Cluster) -> Iterator[None]:
    """Let Genie enforce definitions, as the chart's value does."""
    with definitions_enforced(cluster):
        yield


@pytest.fixture
def node(cluster: Cluster) -> Iterator[Node]:
    """Yield the node; afterwards its records and addresses must be those from before."""
    node = cluster.node(NODE)
    yield node
    assert remaining_leftovers(node) == {}
    assert held(node) == []


def held(node: Node) -> list[str]:
    """Return the addresses that networks of definitions have allocated."""
    stores = node.path("/var/lib/cni/networks").glob("*")
    files = [file for store in stores for file in store.glob("10.7*")]
    return sorted(str(file.relative_to(file.parents[1])) for file in files)


def bridges(cluster: Cluster, pod: str, namespace: str) -> dict[str, str]:
    """Return the bridge of each interface of *pod*."""
    return {name: each.bridge for name, each in interfaces(cluster, pod, namespace).items()}


def address(cluster: Cluster, pod: str, namespace: str, interface: str) -> str:
    return interfaces(cluster, pod, namespace)[interface].addresses[0]


def delete(cluster: Cluster, namespace: str, *pods: str) -> None:
    cluster.kubectl("delete", "pod", *pods, "-n", namespace, "--timeout=120s")


class Plan(NamedTuple):
    """The annotations of a pod, and the bridge of each of its interfaces."""

    networks: Any
    bridges: dict[str, str]
    others: Mapping[str, str] = MappingProxyType({})


GREEN = {
    "name": "green",
    "interface": "g0",
    "ips": ["10.79.0.7/24"],
    "mac": "02:00:00:00:79:07",
    "default-route": ["10.79.0.1"],
}
PLANS = {
    "short": Plan("blue, red@data", {"eth0": "canal0", "net1": "blue0", "data": "red0"}),
    "json": Plan([GREEN, {"name": "blue"}], {"eth0": "canal0", "g0": "green0", "net2": "blue0"}),
    "primary": Plan("red", {"eth0": "blue0", "net1": "red0"}, {keys.DEFAULT_NETWORK: "{}/blue"}),
    "observed": Plan(
        "red",
        {"eth0": "blue0", "net1": "red0"},
        {keys.DEFAULT_NETWORK: "{}/blue", "cni": "weave", keys.ATTACHMENTS: "={}/blue:3f9c2a"},
    ),
    "both": Plan(
        "blue", {"eth0": "weave0", "net1": "canal0", "net2": "blue0"}, {"cni": "weave,canal@net1"}
    ),
    "twice": Plan("red,red", {"eth0": "canal0", "net1": "red0", "net2": "red0"}),
    "of-the-node": Plan("weave", {"eth0": "canal0", "net1": "weave0"}),
}
"""By pod; ``{}`` is its namespace. ``blue`` is a list of plugins, and ``red`` one plugin without a
name. ``weave`` has no configuration: it stands for the node's network of that name. ``observed``
has what the webhook writes in the mode observe, where it fills in the namespace's default beside
another primary."""


def test_pods_get_what_they_select(cluster: Cluster, node: Node, namespace: str) -> None:
    """Each network answers, CHECK passes, and DEL releases everything without the definitions."""
    green = {
        "cniVersion": "1.1.0",
        "type": "bridge",
        "bridge": "green0",
        "isGateway": True,
        "capabilities": {"mac": True, "ips": True},
        "ipam": {"type": "static"},
    }
    weave = definition(namespace, "weave", {})
    del weave["spec"]["config"]

    def others(plan: Plan) -> dict[str, str]:
        return {key: value.format(namespace) for key, value in plan.others.items()}

    apply(
        cluster,
        definition(namespace, "blue", {"name": "blue", "plugins": [bridge("blue0", 77)]}),
        definition(namespace, "red", bridge("red0", 78)),
        definition(namespace, "green", green),
        weave,
        *(selecting(name, plan.networks, **others(plan)) for name, plan in PLANS.items()),
        namespace=namespace,
    )
    wait_until_ready(cluster, namespace, *PLANS)
    found = {name: bridges(cluster, name, namespace) for name in PLANS}
    assert found == {name: plan.bridges for name, plan in PLANS.items()}

    blue, red = (address(cluster, "short", namespace, interface) for interface in ("net1", "data"))
    peers = {"json": blue, "primary": blue, "observed": blue, "both": blue, "twice": red}
    statuses = {pod: http_status(cluster, pod, namespace, peer) for pod, peer in peers.items()}
    assert statuses == dict.fromkeys(peers, "200")
    assert address(cluster, "json", namespace, "g0") == "10.79.0.7"
    link = cluster.in_pod("json", ["ip", "-j", "link", "show", "g0"], namespace=namespace).stdout
    assert json.loads(link)[0]["address"] == GREEN["mac"]
    routes = {name: dict(default_routes(cluster, name, namespace)).get("-4") for name in PLANS}
    assert routes == {
        **dict.fromkeys(PLANS, "eth0"),
        "json": "g0",
        "primary": None,
        "observed": None,
    }
    status_follows(cluster, namespace, "json")

    cluster.kubectl("delete", "net-attach-def", "--all", "-n", namespace)
    for name in PLANS:
        call(
            node,
            "CHECK",
            cluster.sandbox_of(name, namespace),
            netns=cluster.pod_netns(name, namespace),
        )
    delete(cluster, namespace, *PLANS)


def status_follows(cluster: Cluster, namespace: str, pod: str) -> None:
    """Check what the agent writes of the pod ``json``, in the specification's form."""
    cluster.wait_for(lambda: network_status(cluster, namespace, pod), 120, "network-status")
    canal, green, blue = json.loads(network_status(cluster, namespace, pod))
    assert (canal["name"], canal["interface"], canal["default"]) == ("canal", "eth0", True)
    assert green == {
        "name": f"{namespace}/green",
        "interface": "g0",
        "ips": ["10.79.0.7"],
        "mac": GREEN["mac"],
        "default": False,
        "default-route": GREEN["default-route"],
        "dns": {},
    }
    assert (blue["name"], blue["interface"]) == (f"{namespace}/blue", "net2")
    assert blue["ips"] == list(interfaces(cluster, pod, namespace)["net2"].addresses)


def test_status_counts_the_nodes_that_attach(cluster: Cluster) -> None:
    """`kubectl genie status` has a line for it."""
    command = [sys.executable, "-m", "cli", "status", "--output", "json"]
    checks = json.loads(run(command, env=cluster.environment, check=False).stdout)
    [line] = [each for each in checks if each["subject"] == "definitions"]
    assert (line["state"], line["message"]) == ("ok", "enforce: 1 of 1 nodes attach pods")


def test_a_static_pod_and_a_forged_one(cluster: Cluster, node: Node, namespace: str) -> None:
    """Admission sees neither: the first may select what it wants, the second may not."""
    apply(cluster, definition(namespace, "blue", bridge("blue0", 77)), namespace=namespace)
    copy = copy_of(node, namespace, "blue")
    cluster.wait_for(copy.exists, 120, "the copy")
    manifest = selecting("from-a-file", "blue")
    manifest["metadata"]["namespace"] = namespace
    file = node.path("/etc/kubernetes/manifests/from-a-file.json")
    file.write_text(json.dumps(manifest))
    try:
        name = f"from-a-file-{NODE}"
        cluster.wait_for(
            lambda: cluster.exists("pod", name, "-n", namespace), 120, "the mirror pod"
        )
        wait_until_ready(cluster, namespace, name)
        assert bridges(cluster, name, namespace) == {"eth0": "canal0", "net1": "blue0"}
    finally:
        file.unlink()

    forged = {
        keys.NETWORKS: f"{namespace}/blue",
        keys.ATTACHMENTS: f"{namespace}/red:{json.loads(copy.read_text())['hash']}",
    }
    difference = f'item 1 is "{namespace}/red", but the pod selects "{namespace}/blue"'
    with pytest.raises(CRIError, match=difference):
        sandboxes.run(node, "forged", forged)
    cluster.kubectl("wait", "--for=delete", f"pod/{name}", "-n", namespace, "--timeout=120s")


ROUNDS, FULL_ROUNDS = 1, 10
AT_ONCE = 10


@pytest.mark.repeats
@pytest.mark.usefixtures("node")
def test_a_definition_may_come_with_its_pod(
    cluster: Cluster, namespace: str, counted: Callable[[str], None], *, full: bool
) -> None:
    """In one `kubectl apply`; each of ten pods has a definition of its own."""
    names = [f"web-{number}" for number in range(AT_ONCE)]
    rounds = FULL_ROUNDS if full else ROUNDS
    for attempt in range(rounds):
        objects = []
        for number, name in enumerate(names):
            own = f"{name}-{attempt}"
            objects += [
                definition(namespace, own, bridge(f"race{number}", 70 + number)),
                selecting(name, own),
            ]
        apply(cluster, *objects, namespace=namespace)
        wait_until_ready(cluster, namespace, *names)
        found = [bridges(cluster, name, namespace)["net1"] for name in names]
        assert found == [f"race{number}" for number in range(AT_ONCE)], f"attempt {attempt}"
        delete(cluster, namespace, *names)
    pods = rounds * AT_ONCE
    counted(f"{pods} of {pods} pods attached")


KILLS, FULL_KILLS = 10, 100


@pytest.mark.repeats
def test_killed_during_add_of_two_definitions(
    cluster: Cluster, node: Node, namespace: str, counted: Callable[[str], None], *, full: bool
) -> None:
    """With `kill -9`, at random instants; the DEL of the container runtime releases everything."""
    apply(
        cluster,
        definition(namespace, "blue", bridge("blue0", 77)),
        definition(namespace, "red", bridge("red0", 78)),
        namespace=namespace,
    )
    names = [f"{namespace}/{name}" for name in ("blue", "red")]
    copies = [copy_of(node, *name.split("/")) for name in names]
    cluster.wait_for(lambda: all(copy.exists() for copy in copies), 120, "the copies")
    hashes = [json.loads(copy.read_text())["hash"] for copy in copies]
    permitted = ",".join(map(":".join, zip(names, hashes, strict=True)))
    annotations = {keys.NETWORKS: ",".join(names), keys.ATTACHMENTS: permitted}

    before, seed = set(node.records()), time.time_ns()
    chance = random.Random(seed)  # noqa: S311 - instants
    longest, calls, killed = 0.5, 0, 0
    with sandboxes.no_kubelet(cluster, node):
        while killed < (FULL_KILLS if full else KILLS):
            calls += 1
            instant = chance.uniform(0, longest)
            is_killed = sandboxes.run_and_kill(node, f"killed-{calls}", annotations, instant)
            killed += is_killed
            longest *= 1.1 if is_killed else 0.8  # the machine may be faster than it was
    assert remaining_leftovers(node) == {}, f"seed {seed}"
    assert held(node) == [], f"seed {seed}"
    assert set(node.records()) <= before, f"seed {seed}"
    counted(f"killed at {killed} instants, nothing left")


def test_add_and_del_make_no_request(cluster: Cluster, node: Node, namespace: str) -> None:
    """By the API server's audit log: afterwards the agent writes each pod's network-status."""
    blue = definition(namespace, "blue", bridge("blue0", 77))
    apply(cluster, blue, selecting("first", "blue"), namespace=namespace)
    wait_until_ready(cluster, namespace, "first")
    cluster.wait_for(lambda: patches(cluster, namespace, "first"), 120, "its status in the log")
    before = len(cluster.control_plane.audit_entries())

    pods = [f"web-{number}" for number in range(3)]
    apply(cluster, *(selecting(name, "blue,blue") for name in pods), namespace=namespace)
    wait_until_ready(cluster, namespace, *pods)
    for name in pods:
        cluster.wait_for(partial(network_status, cluster, namespace, name), 120, f"{name}'s status")
    delete(cluster, namespace, *pods)
    cluster.wait_for(lambda: not held(node)[1:], 120, "the DEL of all but the first")
    requests = Counter(
        (entry["verb"], entry["objectRef"]["resource"])
        for entry in cluster.control_plane.audit_entries()[before:]
        if entry["objectRef"].get("namespace", "") in {"", namespace}
        and entry["objectRef"]["resource"] != "nodes"
        and entry["verb"] not in {"watch", "create"}
    )
    assert requests == {("patch", "pods"): len(pods)}


def patches(cluster: Cluster, namespace: str, pod: str) -> int:
    """Return how many patches of a pod the audit log has."""
    wanted = {"resource": "pods", "namespace": namespace, "name": pod}.items()
    entries = cluster.control_plane.audit_entries()
    return sum(e["verb"] == "patch" and wanted <= e["objectRef"].items() for e in entries)


def test_a_changed_definition_is_for_new_sandboxes(
    cluster: Cluster, node: Node, namespace: str
) -> None:
    """A running pod keeps its attachment; so does one whose definition is deleted."""
    apply(
        cluster,
        definition(namespace, "blue", bridge("blue0", 77)),
        selecting("before", "blue"),
        namespace=namespace,
    )
    wait_until_ready(cluster, namespace, "before")
    copy = copy_of(node, namespace, "blue")
    apply(cluster, definition(namespace, "blue", bridge("blue1", 76)), namespace=namespace)
    cluster.wait_for(lambda: "blue1" in copy.read_text(), 120, "the changed copy")
    apply(cluster, selecting("after", "blue"), namespace=namespace)
    wait_until_ready(cluster, namespace, "after")
    assert bridges(cluster, "after", namespace)["net1"] == "blue1"
    assert bridges(cluster, "before", namespace)["net1"] == "blue0"

    old = cluster.sandbox_of("before", namespace)
    node.sandbox("stop", old)
    cluster.wait_for(
        lambda: cluster.sandbox_of("before", namespace) != old, 120, "another sandbox of the pod"
    )
    wait_until_ready(cluster, namespace, "before")
    assert bridges(cluster, "before", namespace)["net1"] == "blue1"
    cluster.kubectl("delete", "net-attach-def", "blue", "-n", namespace)
    assert bridges(cluster, "before", namespace)["net1"] == "blue1"
    delete(cluster, namespace, "before", "after")


# ---- agent, API server and etcd are away


def test_pods_start_without_agents_and_a_new_definition_waits_for_them(
    cluster: Cluster, node: Node, namespace: str
) -> None:
    """A definition that the node has is enough; the error of the other one says what is missing."""
    apply(cluster, definition(namespace, "blue", bridge("blue0", 77)), namespace=namespace)
    cluster.wait_for(copy_of(node, namespace, "blue").exists, 120, "the copy")
    sync = node.path("/var/lib/cni/genie/nad/.synced")
    with no_agents(cluster):
        apply(
            cluster,
            selecting("known", "blue"),
            definition(namespace, "red", bridge("red0", 78)),
            selecting("new", "red"),
            namespace=namespace,
        )
        wait_until_ready(cluster, namespace, "known")
        reason = f'"{namespace}/red": the definition does not exist in the cluster'
        cluster.wait_for(lambda: failed(cluster, namespace, "new", reason), 120, "the Event")
        sync.write_text(json.dumps({**json.loads(sync.read_text()), "alive": 1}))
        stale = "the agent of this node last heard of the API server "
        cluster.wait_for(lambda: failed(cluster, namespace, "new", stale), 120, "its reason")
    wait_until_ready(cluster, namespace, "new")
    assert bridges(cluster, "new", namespace)["net1"] == "red0"
    delete(cluster, namespace, "known", "new")


def failed(cluster: Cluster, namespace: str, pod: str, reason: str) -> bool:
    """Return whether the kubelet reports that it could not attach *pod* for this reason."""
    events = pod_events(cluster, namespace, pod, "FailedCreatePodSandBox")
    return any(reason in message for message in events)


def test_a_killed_agent_keeps_the_copies(cluster: Cluster, node: Node, namespace: str) -> None:
    """With `kill -9`; the next one copies what was defined meanwhile, and rewrites no other."""
    apply(cluster, definition(namespace, "blue", bridge("blue0", 77)), namespace=namespace)
    blue = copy_of(node, namespace, "blue")
    cluster.wait_for(blue.exists, 120, "the copy")
    written = blue.stat().st_mtime_ns
    kill_agent(node)
    apply(
        cluster,
        definition(namespace, "red", bridge("red0", 78)),
        selecting("web", "blue,red"),
        namespace=namespace,
    )
    wait_until_ready(cluster, namespace, "web")
    assert bridges(cluster, "web", namespace) == {"eth0": "canal0", "net1": "blue0", "net2": "red0"}
    assert blue.stat().st_mtime_ns == written
    delete(cluster, namespace, "web")


def kill_agent(node: Node) -> None:
    """End the agent's process with SIGKILL; the kubelet starts the next one."""
    tasks = [line.split() for line in node.ctr("tasks", "ls").stdout.splitlines()[1:]]
    for container, pid, _ in tasks:
        command = node.run(["cat", f"/proc/{pid}/cmdline"], check=False).stdout
        if "dispatcher.agent" in command:
            node.ctr("tasks", "kill", "--signal", "SIGKILL", container)
            return
    raise AssertionError("no agent runs")


def test_sandboxes_come_and_go_while_the_api_server_is_down(
    cluster: Cluster, node: Node, namespace: str
) -> None:
    """The kubelet knows the pod: it replaces the sandbox that was stopped, on its networks."""
    web = selecting("web", "blue")
    web["spec"]["automountServiceAccountToken"] = False  # the kubelet would ask for a new one
    apply(cluster, definition(namespace, "blue", bridge("blue0", 77)), web, namespace=namespace)
    wait_until_ready(cluster, namespace, "web")
    old = cluster.sandbox_of("web", namespace)
    with api_server_down(cluster):
        node.sandbox("stop", old)
        assert old not in node.records()
        cluster.wait_for(
            lambda: node.sandbox("find", namespace, "web") != old, 120, "another sandbox"
        )
        new = node.sandbox("find", namespace, "web")
        cluster.wait_for(lambda: attached(node, new) == {"eth0", "net1"}, 120, "its attachments")
    delete(cluster, namespace, "web")


def attached(node: Node, container: str) -> set[str]:
    """Return the interfaces that the record of *container* has as attached."""
    file = node.path(f"/var/lib/cni/genie/{container}.json")
    if not file.exists():
        return set()
    attachments = json.loads(file.read_text())["attachments"]
    return {each["interface"] for each in attachments if each["phase"] == "attached"}


def test_etcd_is_restored_from_a_backup(cluster: Cluster, node: Node, namespace: str) -> None:
    """The node's copies follow back; a pod of before gets a sandbox by the restored definition."""
    apply(
        cluster,
        definition(namespace, "blue", bridge("blue0", 77)),
        selecting("web", "blue"),
        namespace=namespace,
    )
    wait_until_ready(cluster, namespace, "web")
    blue, red = (copy_of(node, namespace, name) for name in ("blue", "red"))
    backed_up = blue.read_bytes()
    with etcd_restored(cluster):
        apply(
            cluster,
            definition(namespace, "blue", bridge("blue1", 76)),
            definition(namespace, "red", bridge("red0", 78)),
            namespace=namespace,
        )
        cluster.wait_for(
            lambda: red.exists() and blue.read_bytes() != backed_up, 120, "the changed copies"
        )
    cluster.wait_for(
        lambda: not red.exists() and blue.read_bytes() == backed_up, 120, "the former copies"
    )

    old = cluster.sandbox_of("web", namespace)
    node.sandbox("stop", old)
    cluster.wait_for(
        lambda: cluster.sandbox_of("web", namespace) != old, 120, "another sandbox of the pod"
    )
    wait_until_ready(cluster, namespace, "web")
    assert bridges(cluster, "web", namespace)["net1"] == "blue0"
    delete(cluster, namespace, "web")
