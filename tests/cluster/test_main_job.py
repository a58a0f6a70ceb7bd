"""The main job on a real Kubernetes: a pod names its networks and gets them.

Users act through kubectl. Results are read from the pods' network namespaces, the node's bridges
and the plugins' address stores.
"""

from __future__ import annotations

import json
import re
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.support.agents import pod_events
from tests.cluster.support.control_plane import api_server_down
from tests.cluster.support.observe import default_routes, http_status, interfaces
from tests.cluster.support.pods import (
    EXAMPLES,
    example_manifest,
    pod_ips,
    pod_manifest,
    wait_until_ready,
)
from tests.devcluster.layout import OUTSIDE_IPV4, OUTSIDE_IPV6
from tests.devcluster.network.networks import NETWORKS

if TYPE_CHECKING:
    from tests.devcluster.cluster import Cluster

NODE = "node1"


def is_of(address: str, network: str) -> bool:
    """Return whether *address* is in the range of *network* on the first node."""
    subnets = map(ip_network, NETWORKS[network].subnets(1))
    return any(ip_address(address) in subnet for subnet in subnets)


def test_the_two_example_pods_get_the_network_they_name(cluster: Cluster, namespace: str) -> None:
    """Each runs on its own network, and both are reachable by HTTP."""
    pods = {f"nginx-{network}-master": network for network in ("canal", "weave")}
    for network in pods.values():
        cluster.apply(example_manifest(network), "-n", namespace)
    wait_until_ready(cluster, namespace, *pods)
    addresses = {}
    for pod, network in pods.items():
        eth0 = interfaces(cluster, pod, namespace)["eth0"]
        assert eth0.bridge == NETWORKS[network].bridge
        assert list(eth0.addresses) == pod_ips(cluster, namespace, pod)
        assert all(is_of(address, network) for address in eth0.addresses)
        addresses[pod] = eth0.addresses[0]
    canal, weave = pods
    for pod, other in ((canal, weave), (weave, canal)):
        assert http_status(cluster, pod, namespace, addresses[other]) == "200"
        node = cluster.node(NODE).run(["curl", "-sfm5", f"http://{addresses[pod]}/"])
        assert pod in node.stdout


def test_a_pod_on_two_networks_routes_through_its_primary(cluster: Cluster, namespace: str) -> None:
    """``weave,canal@net1``: weave's addresses are the pod's, and only eth0 has default routes."""
    cluster.apply(pod_manifest("both", " weave , canal@net1 "), "-n", namespace)
    wait_until_ready(cluster, namespace, "both")
    stored = cluster.get("pod", "both", "-n", namespace)["metadata"]["annotations"]["cni"]
    assert stored == "weave,canal@net1"
    actual = interfaces(cluster, "both", namespace)
    assert {name: actual[name].bridge for name in actual} == {"eth0": "weave0", "net1": "canal0"}
    assert list(actual["eth0"].addresses) == pod_ips(cluster, namespace, "both")
    assert [ip_address(a).version for a in actual["eth0"].addresses] == [4, 6]
    assert all(is_of(address, "weave") for address in actual["eth0"].addresses)
    assert all(is_of(address, "canal") for address in actual["net1"].addresses)
    assert default_routes(cluster, "both", namespace) == [("-4", "eth0"), ("-6", "eth0")]
    assert http_status(cluster, "both", namespace, OUTSIDE_IPV4) == "200"
    assert http_status(cluster, "both", namespace, OUTSIDE_IPV6) == "200"


def test_a_pod_without_the_annotation_gets_its_namespaces_default(
    cluster: Cluster, namespace: str
) -> None:
    """The pod is stored with the annotation of its namespace, ``cni: weave``."""
    cluster.kubectl("annotate", "namespace", namespace, "cni=weave")
    manifest = pod_manifest("plain", None)

    def defaulted() -> bool:
        """Dry run: the webhook gets the change by its watch."""
        result = cluster.apply(
            manifest, "-n", namespace, "--dry-run=server", "-o", "json", check=False
        )
        return '"cni": "weave"' in result.stdout

    cluster.wait_for(defaulted, 120, "the webhook to know the namespace's default")
    cluster.apply(manifest, "-n", namespace)
    wait_until_ready(cluster, namespace, "plain")
    pod = cluster.get("pod", "plain", "-n", namespace)
    assert pod["metadata"]["annotations"]["cni"] == "weave"
    assert interfaces(cluster, "plain", namespace)["eth0"].bridge == "weave0"


def test_a_pod_without_any_choice_gets_the_clusters_default(
    cluster: Cluster, namespace: str
) -> None:
    """It has no annotation, and its namespace has no default."""
    cluster.apply(pod_manifest("plain", None), "-n", namespace)
    wait_until_ready(cluster, namespace, "plain")
    assert "cni" not in cluster.get("pod", "plain", "-n", namespace)["metadata"].get(
        "annotations", {}
    )
    assert interfaces(cluster, "plain", namespace)["eth0"].bridge == "canal0"


def test_a_static_pod_gets_the_network_it_names_without_admission(cluster: Cluster) -> None:
    """No webhook has normalised its annotation, ``cni: " weave "``; the plugin trims it."""
    node = cluster.node(NODE)
    path = node.path("/etc/kubernetes/manifests/from-a-file.json")
    path.write_text(json.dumps(pod_manifest("from-a-file", " weave ")))
    name = f"from-a-file-{NODE}"
    try:
        cluster.wait_for(lambda: cluster.exists("pod", name), 120, "the mirror pod")
        wait_until_ready(cluster, "default", name)
        assert interfaces(cluster, name, "default")["eth0"].bridge == "weave0"
    finally:
        path.unlink()
    cluster.kubectl("wait", "--for=delete", f"pod/{name}", "--timeout=120s")


def test_a_static_pod_over_the_limits_is_not_attached(cluster: Cluster) -> None:
    """The plugin enforces the limits: the kubelet passes the pod's source to the runtime."""
    path = cluster.node(NODE).path("/etc/kubernetes/manifests/greedy.json")
    path.write_text(json.dumps(pod_manifest("greedy", "weave,weave,weave")))
    name = f"greedy-{NODE}"
    sentence = 'a static pod may have at most 2 attachments of network "weave" (has 3)'
    try:
        cluster.wait_for(
            lambda: any(
                sentence in message
                for message in pod_events(cluster, "default", name, "FailedCreatePodSandBox")
            ),
            120,
            "the Event",
        )
    finally:
        path.unlink()
    cluster.kubectl("wait", "--for=delete", f"pod/{name}", "--timeout=120s")


REFUSALS: list[Any] = [
    pytest.param(
        "wave",
        # Other tests may have left labels of networks of their own.
        r'Unsupported value: "wave".*supported values: .*"canal".*"weave".*did you mean "weave"\?',
        id="an unknown network, with the nearest name",
    ),
    pytest.param("weave@", r'Invalid value: "weave@".*must follow "@"', id="nothing after @"),
    pytest.param(
        "weave@eth0,canal@eth0", r'Duplicate value: "eth0": item 2', id="one interface twice"
    ),
    pytest.param("a/b", r'Invalid value: "a/b": item 1: a network name', id="a slash"),
    pytest.param("n" * 64, r"Invalid value: .*at most 63", id="a name of 64 characters"),
    pytest.param(",".join(["weave"] * 17), r"Too many: must have at most 16", id="17 networks"),
]


@pytest.mark.parametrize(("value", "words"), REFUSALS)
def test_an_invalid_value_is_refused_at_apply(
    cluster: Cluster, namespace: str, value: str, words: str
) -> None:
    """The message names the field and the fault. No pod is stored, so no node does anything."""
    before = cluster.node(NODE).records()
    refused = cluster.apply(pod_manifest("wrong", value), "-n", namespace, check=False)
    assert refused.returncode == 1
    assert 'The Pod "wrong" is invalid: ' in refused.stderr
    assert "metadata.annotations[cni]: " in refused.stderr
    assert re.search(words, refused.stderr), refused.stderr
    assert cluster.get("pods", "-n", namespace)["items"] == []
    assert cluster.node(NODE).records() == before


def test_the_example_with_a_typing_mistake_is_refused_with_a_suggestion(
    cluster: Cluster, namespace: str
) -> None:
    """The third pod of the demo, as a person applies it from the file."""
    file = EXAMPLES / "nginx-wave-master.yaml"
    refused = cluster.kubectl("apply", "-n", namespace, "-f", str(file), check=False)
    assert refused.returncode == 1
    assert 'did you mean "weave"?' in refused.stderr


def test_deleting_pods_frees_everything(cluster: Cluster, namespace: str) -> None:
    """No address, record, veth or network namespace remains."""
    node = cluster.node(NODE)

    def held() -> dict[str, list[str]]:
        links = json.loads(node.run(["ip", "-j", "link", "show", "type", "veth"]).stdout)
        return {
            "records": node.records(),
            "addresses": [a for n in NETWORKS for a in node.addresses(n)],
            "veths": sorted(link["ifname"] for link in links),
            "netns": sorted(p.name for p in node.path("/run/netns").iterdir()),
        }

    before = held()
    for index, value in enumerate(["weave", "canal", "weave,canal@net1", "canal,weave,weave"]):
        cluster.apply(pod_manifest(f"p{index}", value), "-n", namespace)
    wait_until_ready(cluster, namespace, *(f"p{index}" for index in range(4)))
    assert len(held()["records"]) == len(before["records"]) + 4
    assert len(held()["addresses"]) > len(before["addresses"]) + 7
    cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--wait=true")
    cluster.wait_for(lambda: held() == before, 120, "everything to be freed")


def test_a_sandbox_is_released_while_the_api_server_is_down(
    cluster: Cluster, namespace: str
) -> None:
    """The runtime stops a pod's sandbox, and its networks are released."""
    cluster.apply(pod_manifest("orphan", "weave,canal@net1"), "-n", namespace)
    wait_until_ready(cluster, namespace, "orphan")
    node = cluster.node(NODE)
    sandbox = cluster.sandbox_of("orphan", namespace)
    assert sandbox in node.records()
    addresses = {a for i in interfaces(cluster, "orphan", namespace).values() for a in i.addresses}
    with api_server_down(cluster):
        node.sandbox("stop", sandbox)
        assert sandbox not in node.records()
        held = {a for n in NETWORKS for a in node.addresses(n)}
        assert not addresses & held
    cluster.kubectl("delete", "pod", "orphan", "-n", namespace, "--wait=true")
