"""The annotation network-status: what the agent publishes about a pod's attachments."""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.cluster.support.agents import (
    STATUS,
    agent_settings,
    metrics,
    network_status,
    pod_events,
)
from tests.cluster.support.churn import no_agents
from tests.cluster.support.node_networks import node_networks
from tests.cluster.support.observe import interfaces
from tests.cluster.support.pods import pod_manifest, wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster

NODE = "node1"


def test_network_status_describes_a_pods_attachments(cluster: Cluster, namespace: str) -> None:
    """It has the interfaces and addresses inside the pod, with the primary as the default."""
    cluster.apply(pod_manifest("both", "weave,canal@net1"), "-n", namespace)
    wait_until_ready(cluster, namespace, "both")

    cluster.wait_for(lambda: network_status(cluster, namespace, "both"), 120, "network-status")
    entries = json.loads(network_status(cluster, namespace, "both"))
    status = {entry["interface"]: entry for entry in entries}
    actual = interfaces(cluster, "both", namespace)
    assert {name: entry["name"] for name, entry in status.items()} == {
        "eth0": "weave",
        "net1": "canal",
    }
    for name, entry in status.items():
        assert entry["ips"] == list(actual[name].addresses)
        assert entry["mac"]
    assert (status["eth0"]["default"], status["net1"]["default"]) == (True, False)
    assert status["eth0"]["gateway"]
    assert "gateway" not in status["net1"]


def test_an_agent_that_was_away_writes_missing_statuses_and_changes_no_other(
    cluster: Cluster, namespace: str
) -> None:
    """A pod that started meanwhile gets its status from the record.

    The agent keeps what another writer added to the status of an older pod.
    """
    cluster.apply(pod_manifest("older", "weave"), "-n", namespace)
    wait_until_ready(cluster, namespace, "older")
    cluster.wait_for(lambda: network_status(cluster, namespace, "older"), 120, "network-status")
    [entry] = json.loads(network_status(cluster, namespace, "older"))
    both = json.dumps([entry, {"name": "of-another", "interface": "net9", "default": False}])
    annotate = ("annotate", "pod", "older", "-n", namespace, "--overwrite", f"{STATUS}={both}")
    cluster.kubectl(*annotate)
    with no_agents(cluster):
        cluster.apply(pod_manifest("early", "weave"), "-n", namespace)
        wait_until_ready(cluster, namespace, "early")
        assert not network_status(cluster, namespace, "early")
    cluster.wait_for(lambda: network_status(cluster, namespace, "early"), 120, "network-status")
    assert network_status(cluster, namespace, "older") == both


CONFLIST_OF_FULL = {
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


@pytest.fixture
def holder(cluster: Cluster, namespace: str) -> Iterator[str]:
    """Give the node the network "full"; return the pod that holds its only address.

    The subnet has two addresses, and the gateway has the other one.
    """
    with node_networks(cluster, NODE, CONFLIST_OF_FULL):
        pod = pod_manifest("holder", "full")
        cluster.wait_for(
            lambda: cluster.apply(pod, "-n", namespace, check=False).returncode == 0,
            120,
            "the webhook to know the network full",
        )
        wait_until_ready(cluster, namespace, "holder")
        yield "holder"
        cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--grace-period=1")


def test_a_pod_that_cannot_be_attached_says_why_in_one_line(
    cluster: Cluster, namespace: str, holder: str
) -> None:
    """Its Event and the metrics name network, plugin and reason; the other pod keeps running."""
    cluster.apply(pod_manifest("second", "weave,full@net1"), "-n", namespace)
    messages = functools.partial(pod_events, cluster, namespace, "second", "NetworkNotAttached")
    cluster.wait_for(messages, 120, "the Event")
    [message] = set(messages())
    print(message)
    assert "\n" not in message
    assert 'network "full"' in message
    assert "bridge" in message
    assert "no IP addresses available in range set: 10.79.0.1-10.79.0.2" in message

    series = 'genie_agent_attachment_duration_seconds_count{code="'
    lines = metrics(cluster, NODE).splitlines()
    of_full = [line for line in lines if line.startswith(series) and 'work="full"' in line]
    assert [line for line in of_full if 'code="0",command="ADD"' in line]
    assert [line for line in of_full if 'code="0"' not in line and '"ADD"' in line]
    cluster.wait_for(
        lambda: 'genie_agent_retries_total{command="ADD"} 0.0' not in metrics(cluster, NODE),
        120,
        "the kubelet to retry, and the metric to count it",
    )
    assert cluster.get("pod", holder, "-n", namespace)["status"]["phase"] == "Running"

    # The retry is no second Event: the first one has become a series.
    described = functools.partial(cluster.kubectl, "describe", "pod", "second", "-n", namespace)
    repeated = re.compile(r"NetworkNotAttached .*\(x\d+ over .*\) +genie-agent .*no IP addresses")
    cluster.wait_for(lambda: repeated.search(described().stdout), 120, "the series")
    assert len(messages()) == 1


def test_an_attached_pod_has_its_milliseconds_if_the_setting_says_so(
    cluster: Cluster, namespace: str
) -> None:
    """As a Normal Event; without the setting there is none."""
    with agent_settings(cluster, attached_events="true"):
        cluster.apply(pod_manifest("timed", "weave,canal@net1"), "-n", namespace)
        wait_until_ready(cluster, namespace, "timed")
        messages = functools.partial(pod_events, cluster, namespace, "timed", "NetworkAttached")
        cluster.wait_for(messages, 120, "the Event")
        [message] = messages()
    times = r'attached network "weave" on eth0 in \d+ ms, network "canal" on net1 in \d+ ms; \d+ ms'
    assert re.match(times, message), message
    cluster.apply(pod_manifest("untimed", "weave"), "-n", namespace)
    wait_until_ready(cluster, namespace, "untimed")
    cluster.wait_for(lambda: network_status(cluster, namespace, "untimed"), 120, "network-status")
    assert pod_events(cluster, namespace, "untimed", "NetworkAttached") == []


REPLICAS = 6


def test_no_pod_whose_second_network_fails_gets_a_network_status(
    cluster: Cluster, namespace: str, holder: str
) -> None:
    """Each has had weave and lost it in the roll-back; another pod may have the address by now."""
    before = releases(cluster, "weave")
    names = [f"half-{number}" for number in range(REPLICAS)]
    for name in names:
        cluster.apply(pod_manifest(name, "weave,full@net1"), "-n", namespace)
    for name in names:
        failed = functools.partial(pod_events, cluster, namespace, name, "NetworkNotAttached")
        cluster.wait_for(failed, 120, f"an Event of {name}")
    cluster.wait_for(
        lambda: releases(cluster, "weave") >= before + 2 * REPLICAS, 120, "the kubelet to retry"
    )

    statuses = {name: network_status(cluster, namespace, name) for name in names}
    assert statuses == dict.fromkeys(names, "")
    assert network_status(cluster, namespace, holder)


def releases(cluster: Cluster, network: str) -> float:
    """Return how many attachments to *network* were released, according to the metrics."""
    series = 'genie_agent_attachment_duration_seconds_count{code="0",command="DEL"'
    lines = [line for line in metrics(cluster, NODE).splitlines() if line.startswith(series)]
    return sum(float(line.split()[-1]) for line in lines if f'work="{network}"' in line)
