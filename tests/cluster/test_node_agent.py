"""The agent on a real node: it installs, repairs, publishes, and may do no more than that."""

from __future__ import annotations

import functools
import json
import os
import secrets
import subprocess
import time
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from tests.cluster.support.agents import (
    CONFLIST,
    LAUNCHER,
    agent_pod,
    agent_settings,
    fresh_agents,
    label,
    metrics,
    node_events,
    pod_events,
)
from tests.cluster.support.churn import no_agents
from tests.cluster.support.observe import interfaces
from tests.cluster.support.pods import pod_manifest, temporary_namespace, wait_until_ready
from tests.devcluster.genie import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.devcluster.cluster import Cluster
    from tests.devcluster.node.node import Node

NODE = "node1"
STATUS = "k8s.v1.cni.cncf.io/network-status"


def of_this_run(network: str) -> str:
    """Return a name that no Event of another run on the same cluster has in it."""
    return f"{network}-{secrets.token_hex(3)}"


def status(cluster: Cluster, namespace: str, pod: str) -> str:
    metadata = cluster.get("pod", pod, "-n", namespace)["metadata"]
    return str(metadata["annotations"].get(STATUS, ""))


def test_a_pod_tells_what_it_was_attached_to(cluster: Cluster, namespace: str) -> None:
    """``network-status`` has what is inside the pod, the primary marked as the default."""
    cluster.apply(pod_manifest("both", "weave,canal@net1"), "-n", namespace)
    wait_until_ready(cluster, namespace, "both")

    cluster.wait_for(lambda: status(cluster, namespace, "both"), 10, "network-status")
    told = {entry["interface"]: entry for entry in json.loads(status(cluster, namespace, "both"))}
    found = interfaces(cluster, "both", namespace)
    assert {name: entry["name"] for name, entry in told.items()} == {
        "eth0": "weave",
        "net1": "canal",
    }
    for name, entry in told.items():
        assert entry["ips"] == list(found[name].addresses)
        assert entry["mac"]
    assert (told["eth0"]["default"], told["net1"]["default"]) == (True, False)
    assert told["eth0"]["gateway"]
    assert "gateway" not in told["net1"]


def test_a_status_that_was_missed_is_written_when_the_agent_is_back_and_no_other_is_touched(
    cluster: Cluster, namespace: str
) -> None:
    """The pod starts without the agent, and learns what it has from the record.

    What another writer has made of an older pod's status outlives the restart.
    """
    cluster.apply(pod_manifest("older", "weave"), "-n", namespace)
    wait_until_ready(cluster, namespace, "older")
    cluster.wait_for(lambda: status(cluster, namespace, "older"), 10, "network-status")
    [entry] = json.loads(status(cluster, namespace, "older"))
    both = json.dumps([entry, {"name": "of-another", "interface": "net9", "default": False}])
    annotate = ("annotate", "pod", "older", "-n", namespace, "--overwrite", f"{STATUS}={both}")
    cluster.kubectl(*annotate)
    with no_agents(cluster):
        cluster.apply(pod_manifest("early", "weave"), "-n", namespace)
        wait_until_ready(cluster, namespace, "early")
        assert not status(cluster, namespace, "early")
    cluster.wait_for(lambda: status(cluster, namespace, "early"), 15, "network-status")
    assert status(cluster, namespace, "older") == both


BIN = "/opt/cni/bin"
GONE = "/opt/cni/gone"


def gone(*names: str) -> list[str]:
    """Return the command that takes these names from the directory of plugins, in one step each."""
    return ["sh", "-ec", f"mkdir {GONE}; cd {BIN}; mv {' '.join(names)} {GONE}"]


@pytest.fixture
def others_plugins(cluster: Cluster) -> Iterator[None]:
    """Put back the plugins of others, if a test took them."""
    yield
    others = f"rm -rf {GONE}/genie {GONE}/.genie; cp -a {GONE}/. {BIN}"
    script = f"if test -e {GONE}; then {others}; rm -rf {GONE}; fi"
    cluster.node(NODE).run(["sh", "-ec", script])


def put_in_place_at(node: Node) -> float:
    """Return when the last part of the plugin got its name, in seconds of the epoch."""
    launcher = node.path(LAUNCHER)
    folder = launcher.read_text().splitlines()[0].partition("#!")[2].rpartition("/")[0]
    return max(launcher.stat().st_ctime, node.path(folder).stat().st_ctime)


@pytest.mark.usefixtures("others_plugins")
@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(gone("genie"), id="the launcher"),
        pytest.param(gone(".genie"), id="the hidden folder"),
        pytest.param(gone("genie", ".genie"), id="the whole plugin"),
        pytest.param(["sh", "-c", f"echo more >> {LAUNCHER}"], id="an edit of the launcher"),
        pytest.param(gone("*", ".genie"), id="all of its directory"),
        pytest.param(["mv", BIN, GONE], id="its directory itself"),
    ],
)
def test_what_is_lost_of_the_plugin_is_back_within_5_seconds(
    cluster: Cluster, loss: list[str]
) -> None:
    """And it answers the runtime again.

    The files' own times say when it was back; how soon the test notices is no matter.
    """
    node = cluster.node(NODE)
    before = node.path(LAUNCHER).read_bytes()
    lost_at = time.time()
    node.run(loss)
    version = ["env", "-i", "CNI_COMMAND=VERSION", LAUNCHER]

    def works() -> bool:
        restored = node.path(LAUNCHER)
        whole = restored.exists() and restored.read_bytes() == before
        return whole and node.run(version, input="", check=False).returncode == 0

    cluster.wait_for(works, 30, "the plugin to be back")
    assert lost_at < put_in_place_at(node) < lost_at + 5


def test_a_conflist_that_is_taken_away_twice_in_a_minute_is_not_fought_over(
    cluster: Cluster,
) -> None:
    """As Cilium's ``cni.exclusive`` does it: once repaired, then explained on the Node.

    Repaired within 5 seconds, by the times of the files: how soon the test notices is no matter.
    """
    node = cluster.node(NODE)
    path, taken = node.path(CONFLIST), node.path(f"{CONFLIST}.cilium_bak")

    def named() -> int:
        return sum("Cilium" in said for said in node_events(cluster, NODE, "NotInstalled"))

    fresh_agents(cluster)  # they know of no loss yet
    before = named()
    try:
        node.run(["mv", CONFLIST, f"{CONFLIST}.cilium_bak"])
        cluster.wait_for(path.exists, 30, "the conflist to be back")
        assert path.stat().st_ctime - taken.stat().st_ctime < 5
        node.run(["mv", CONFLIST, f"{CONFLIST}.cilium_bak"])
        cluster.wait_for(lambda: named() > before, 30, "an Event that names Cilium")
        assert not path.exists()
    finally:
        node.run(["mv", f"{CONFLIST}.cilium_bak", CONFLIST])
        fresh_agents(cluster)  # they make the node ready at once


def labelled_at(cluster: Cluster, network: str) -> float:
    """Return when the API server had taken the label "true" last, in seconds of the epoch."""
    logs = cluster.kubectl("logs", agent_pod(cluster, NODE), "-n", NAMESPACE, "-c", "agent")
    lines = [json.loads(line) for line in logs.stdout.splitlines() if line.startswith("{")]
    told = [each for each in lines if each.get("event") == "network can be attached"]
    when = [each["timestamp"] for each in told if each["network"] == network]
    return datetime.fromisoformat(when[-1]).timestamp()


def wait_for_event(cluster: Cluster, reason: str, *words: str) -> None:
    """Wait until an Event of the Node with *reason* has all these words in it."""
    cluster.wait_for(
        lambda: any(
            all(word in said for word in words) for said in node_events(cluster, NODE, reason)
        ),
        30,
        f"an Event {reason} with {words}",
    )


def test_labels_follow_the_configurations(cluster: Cluster) -> None:
    """True within 2 seconds; false when it has been away for as long as the setting says.

    Why it went is in an Event and a metric. A label from the node's birth is treated alike. The
    agent's log says when the API server had taken a label; the test only notices it later.
    """
    node = cluster.node(NODE)
    spare, born = of_this_run("spare"), of_this_run("born")
    conflist = {"cniVersion": "1.0.0", "name": spare, "plugins": [{"type": "bridge"}]}
    file = f"/etc/cni/genie.d/{spare}.conflist"
    away = f"{file}.cilium_bak"
    cluster.kubectl("label", "node", NODE, f"network.cni-genie.io/{born}=true")
    try:
        with agent_settings(cluster, gone_seconds=5, start_seconds=0):
            write = f"mkdir -p /etc/cni/genie.d && cat > {file}"
            node.run(["sh", "-c", write], input=json.dumps(conflist))
            arrived_at = node.path(file).stat().st_mtime
            cluster.wait_for(lambda: label(cluster, NODE, spare) == "true", 30, "the label")
            assert labelled_at(cluster, spare) - arrived_at < 2
            node.run(["mv", file, away])
            cluster.wait_for(lambda: label(cluster, NODE, spare) == "false", 30, "the label")
            assert time.time() - node.path(away).stat().st_ctime > 4.5
            wait_for_event(cluster, "NetworkUnavailable", f'"{spare}"', "Cilium renamed")
            shown = f'genie_agent_network_unavailable{{network="{spare}",reason="Cilium has'
            cluster.wait_for(lambda: shown in metrics(cluster, NODE), 30, "the metric")
            assert 'genie_agent_network_available{network="canal"} 1.0' in metrics(cluster, NODE)
            cluster.wait_for(lambda: label(cluster, NODE, born) == "false", 30, "the label")
            wait_for_event(cluster, "NetworkUnavailable", f'"{born}"', "no configuration")
    finally:
        node.run(["rm", "-f", file, away])
        ours = (f"network.cni-genie.io/{name}-" for name in (spare, born))
        cluster.kubectl("label", "node", NODE, *ours)


def test_when_the_runtime_stops_calling_genie_no_pod_comes_for_another_network(
    cluster: Cluster, namespace: str
) -> None:
    """Canal's file is renamed so that it sorts before Genie's, just after an agent's start.

    Every pod gets canal then. The label of weave turns though nothing turns to "false" so soon for
    another reason; that of canal stays, and its pods are freed by Genie when it is back.
    """
    node = cluster.node(NODE)
    ours, first = "/etc/cni/net.d/10-canal.conflist", "/etc/cni/net.d/00-canal.conflist"
    fresh_agents(cluster)  # for 300 s they turn no label of a network that went away
    held = node.addresses("canal")
    try:
        node.run(["mv", ours, first])
        cluster.wait_for(lambda: label(cluster, NODE, "weave") == "false", 30, "the label")
        assert label(cluster, NODE, "canal") == "true"
        wait_for_event(cluster, "NetworkUnavailable", '"weave"', "00-canal.conflist sorts before")
        wait_for_event(cluster, "NetworkMoved", '"canal"', f"from {ours} to {first}")
        cluster.apply(pod_manifest("asks", "weave"), "-n", namespace)
        cluster.apply(pod_manifest("gets", "canal"), "-n", namespace)
        wait_until_ready(cluster, namespace, "gets")
        assert interfaces(cluster, "gets", namespace)["eth0"].bridge == "canal0"
        assert "nodeName" not in cluster.get("pod", "asks", "-n", namespace)["spec"]
    finally:
        node.run(["mv", first, ours])
    wait_until_ready(cluster, namespace, "asks")
    assert interfaces(cluster, "asks", namespace)["eth0"].bridge == "weave0"
    cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--grace-period=1")
    cluster.wait_for(lambda: node.addresses("canal") == held, 30, "the address to be free")


def test_a_broken_file_makes_only_its_network_unavailable_and_says_why(cluster: Cluster) -> None:
    """The default network goes on; the Event names the file."""
    node = cluster.node(NODE)
    torn = of_this_run("torn")
    file = f"/etc/cni/genie.d/{torn}.conflist"
    node.run(["sh", "-c", f"mkdir -p /etc/cni/genie.d && printf '{{' > {file}"])
    try:
        cluster.wait_for(lambda: label(cluster, NODE, torn) == "false", 30, "the label")
        assert label(cluster, NODE, "canal") == "true"
        wait_for_event(cluster, "NetworkUnavailable", file)
    finally:
        node.run(["rm", file])
        cluster.kubectl("label", "node", NODE, f"network.cni-genie.io/{torn}-")


FULL = {
    "cniVersion": "1.0.0",
    "name": "full",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "full0",
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.79.0.0/30"}]]},
        }
    ],
}
"""A network with one address to give: its gateway has the other one."""


def test_a_pod_that_cannot_be_attached_says_why_in_one_line(
    cluster: Cluster, namespace: str
) -> None:
    """An Event of its own and the metrics tell network, plugin and reason; another pod lives."""
    node = cluster.node(NODE)
    file = "/etc/cni/genie.d/full.conflist"
    node.run(["sh", "-c", f"mkdir -p /etc/cni/genie.d && cat > {file}"], input=json.dumps(FULL))
    try:
        cluster.wait_for(lambda: label(cluster, NODE, "full") == "true", 10, "the label")
        first = pod_manifest("first", "full")
        cluster.wait_for(
            lambda: cluster.apply(first, "-n", namespace, check=False).returncode == 0,
            20,
            "the network to be known",
        )
        wait_until_ready(cluster, namespace, "first")
        cluster.apply(pod_manifest("second", "weave,full@net1"), "-n", namespace)
        about = functools.partial(pod_events, cluster, namespace, "second", "NetworkNotAttached")
        cluster.wait_for(about, 30, "the Event")
        [said] = set(about())
        print(said)
        assert "\n" not in said
        assert 'network "full"' in said
        assert "bridge" in said
        assert "no IP addresses available in range set: 10.79.0.1-10.79.0.2" in said
        failed = 'genie_agent_attachment_duration_seconds_count{code="'
        lines = metrics(cluster, NODE).splitlines()
        counted = [line for line in lines if line.startswith(failed) and 'work="full"' in line]
        assert [line for line in counted if 'code="0",command="ADD"' in line]
        assert [line for line in counted if 'code="0"' not in line and '"ADD"' in line]
        cluster.wait_for(
            lambda: 'genie_agent_retries_total{command="ADD"} 0.0' not in metrics(cluster, NODE),
            60,
            "kubelet to try again, and the metric to tell",
        )
        cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--grace-period=1")
    finally:
        node.run(["rm", "-f", file])
        node.run(["ip", "link", "delete", "full0"], check=False)
        cluster.kubectl("label", "node", NODE, "network.cni-genie.io/full-")


REPLICAS = 6


def test_no_pod_whose_second_network_fails_tells_what_it_was_attached_to(
    cluster: Cluster, namespace: str
) -> None:
    """Each has had weave and lost it in the roll-back; the address may be another pod's by then."""
    node = cluster.node(NODE)
    file = "/etc/cni/genie.d/full.conflist"
    node.run(["sh", "-c", f"mkdir -p /etc/cni/genie.d && cat > {file}"], input=json.dumps(FULL))
    names = [f"half-{number}" for number in range(REPLICAS)]
    try:
        cluster.wait_for(lambda: label(cluster, NODE, "full") == "true", 10, "the label")
        taken = pod_manifest("taken", "full")
        cluster.wait_for(
            lambda: cluster.apply(taken, "-n", namespace, check=False).returncode == 0,
            20,
            "the network to be known",
        )
        wait_until_ready(cluster, namespace, "taken")
        before = freed(cluster, "weave")
        for name in names:
            cluster.apply(pod_manifest(name, "weave,full@net1"), "-n", namespace)
        for name in names:
            failed = functools.partial(pod_events, cluster, namespace, name, "NetworkNotAttached")
            cluster.wait_for(failed, 60, f"an Event of {name}")
        cluster.wait_for(
            lambda: freed(cluster, "weave") >= before + 3 * REPLICAS, 120, "kubelet to try again"
        )
        told = {name: status(cluster, namespace, name) for name in names}
        assert told == dict.fromkeys(names, "")
        assert status(cluster, namespace, "taken")
        cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--grace-period=1")
    finally:
        node.run(["rm", "-f", file])
        node.run(["ip", "link", "delete", "full0"], check=False)
        cluster.kubectl("label", "node", NODE, "network.cni-genie.io/full-")


def freed(cluster: Cluster, network: str) -> float:
    """Return how often attachments to *network* were freed, as the metrics tell."""
    series = 'genie_agent_attachment_duration_seconds_count{code="0",command="'
    counted = [line for line in metrics(cluster, NODE).splitlines() if line.startswith(series)]
    return sum(float(line.split()[-1]) for line in counted if f'work="{network}"' in line)


# ---- what a stolen token of the agent is worth


@pytest.fixture
def token(cluster: Cluster) -> str:
    """Give a token like the one of node1's agent."""
    bound = ("--bound-object-kind=Pod", f"--bound-object-name={agent_pod(cluster, NODE)}")
    made = cluster.kubectl("create", "token", "genie-agent", "-n", NAMESPACE, *bound)
    return made.stdout.strip()


@pytest.fixture
def thief(cluster: Cluster, token: str, tmp_path: Path) -> list[str]:
    """Give kubectl's options for acting with that token."""
    config = json.loads(cluster.kubectl("config", "view", "--raw", "-o", "json").stdout)
    for user in config["users"]:
        user["user"] = {"token": token}
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    return [f"--kubeconfig={path}"]


PATCH_STATUS = {"metadata": {"annotations": {STATUS: "[]"}}}


FORBIDDEN = {
    "label another node": (
        "may not change node",
        ["label", "node", "other", "network.cni-genie.io/x=true"],
    ),
    "set a label that is not ours": (
        "may change only labels that start with",
        ["label", "node", NODE, "foo=bar"],
    ),
    "annotate its node": (
        "may change only the annotation cni-genie.io/plugin-types",
        ["annotate", "node", NODE, "foo=bar"],
    ),
    "remove an annotation of its node": (
        "may change only the annotation cni-genie.io/plugin-types",
        ["annotate", "node", NODE, "node.alpha.kubernetes.io/ttl-"],
    ),
    "annotate its node without end": (
        "at most 8192 characters",
        ["annotate", "node", NODE, "--overwrite", f"cni-genie.io/plugin-types={'x' * 8193}"],
    ),
    "say another node's plugin types": (
        "may not change node",
        ["annotate", "node", "other", "cni-genie.io/plugin-types=weave=weave-net"],
    ),
    "cordon its node": (
        "nothing but labels",
        ["patch", "node", NODE, "-p", '{"spec": {"unschedulable": true}}'],
    ),
    "read a pod": ("cannot get", ["get", "pods", "-n", "NS", "far"]),
    "list pods": ("cannot list", ["get", "pods", "-A"]),
    "read a secret": ("cannot get", ["get", "secrets", "-n", NAMESPACE, "any"]),
}


@pytest.mark.parametrize(("words", "action"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_a_stolen_token_cannot(
    cluster: Cluster, stage: str, thief: list[str], words: str, action: list[str]
) -> None:
    """Each attempt is refused, by rights or by policy, in a sentence that says why."""
    arguments = [stage if part == "NS" else part for part in action]
    refused = cluster.kubectl(*thief, *arguments, check=False)
    assert refused.returncode != 0
    assert words in refused.stderr, refused.stderr


def raw_patch(
    cluster: Cluster, token: str, path: str, body: object
) -> subprocess.CompletedProcess[str]:
    """Send one merge patch with *token*. kubectl would read the object first."""
    content = "Content-Type: application/merge-patch+json"
    command = ["curl", "-sk", "-X", "PATCH", "-H", f"Authorization: Bearer {token}", "-H", content]
    url = f"{cluster.layout.api_url}{path}"
    environment = {**os.environ, **cluster.environment}
    return subprocess.run(
        [*command, "-d", json.dumps(body), "-w", "\n%{http_code}", url],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )


@pytest.mark.parametrize(
    ("pod", "body", "expected"),
    [
        pytest.param(
            "near", PATCH_STATUS, ("200", STATUS), id="its own pod's network-status: done"
        ),
        pytest.param("far", PATCH_STATUS, ("403", "pod of another node"), id="another node's pod"),
        pytest.param(
            "near",
            {"metadata": {"annotations": {"example.com/owner": "thief"}}},
            ("403", "nothing of a pod but"),
            id="another annotation",
        ),
        pytest.param(
            "near",
            {"metadata": {"labels": {"app": "x"}}},
            ("403", "nothing of a pod but"),
            id="a label",
        ),
        pytest.param(
            "near",
            {"status": {"phase": "Failed"}},
            ("403", "nothing of a pod but"),
            id="the status itself",
        ),
    ],
)
def test_a_stolen_token_on_pods(  # noqa: PLR0917 - fixtures and parameters
    cluster: Cluster, stage: str, token: str, pod: str, body: object, expected: tuple[str, str]
) -> None:
    """One annotation of the node's own pods, and nothing else."""
    path = f"/api/v1/namespaces/{stage}/pods/{pod}/status"
    answer, _, status = raw_patch(cluster, token, path, body).stdout.rpartition("\n")
    assert (status, expected[1] in answer) == (expected[0], True), answer


def test_a_stolen_token_may_label_its_own_node(cluster: Cluster, thief: list[str]) -> None:
    """So the refusals are not because nothing works. The agent puts the annotation right."""
    types = "cni-genie.io/plugin-types=weave=weave-net"
    cluster.kubectl(*thief, "annotate", "node", NODE, "--overwrite", types)
    cluster.kubectl(*thief, "label", "node", NODE, "network.cni-genie.io/stolen=false")
    cluster.kubectl("label", "node", NODE, "network.cni-genie.io/stolen-")


@pytest.fixture(scope="module")
def stage(cluster: Cluster) -> Iterator[str]:
    """Give a namespace with a pod of node1, one of another node, and that other node."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "other"}}
    for namespace in temporary_namespace(cluster):
        cluster.apply(node)
        cluster.apply(pod_manifest("near", "canal"), "-n", namespace)
        wait_until_ready(cluster, namespace, "near")
        far = pod_manifest("far", "canal")
        far["spec"]["nodeName"] = "other"
        cluster.apply(far, "-n", namespace)
        yield namespace
        now = ("--force", "--grace-period=0")  # no kubelet is there to end it
        cluster.kubectl("delete", "pod", "far", "-n", namespace, *now)
        cluster.kubectl("delete", "node", "other")
