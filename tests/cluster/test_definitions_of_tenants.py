"""A tenant who may write NetworkAttachmentDefinitions in one namespace gains nothing on the nodes.

The tenant is a service account with a Role for definitions and pods in its namespace. The webhook
is down here, since it would remove the annotation that the pods carry: the one that it writes for a
definition without faults. What is tested is that the nodes refuse, whatever admission let through.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import keys
from tests.cluster.support.admission import scale
from tests.cluster.support.agents import agent_settings, granted, pod_events, restarts
from tests.cluster.support.definitions import CRD, define, definitions_rights
from tests.cluster.support.observe import interfaces
from tests.cluster.support.pods import pod_on_node, wait_until_ready
from tests.tenants import (
    BRIDGE,
    TEMPLATES,
    TRUSTED,
    attacks,
    definition,
    hostile_definitions,
    network,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster

NODE = "node1"
NAME = CRD["metadata"]["name"]


@pytest.fixture(scope="module")
def enforcing(cluster: Cluster) -> Iterator[None]:
    """Let the nodes attach definitions, trust those of one namespace only, and stop the webhook."""
    define(cluster)
    settings = {
        "attachment_definitions_mode": "enforce",
        "attachment_definitions_delay_seconds": 0,
        "trusted_namespaces": TRUSTED,
        "tenant_templates": json.dumps(TEMPLATES),
    }
    try:
        with granted(cluster, definitions_rights()), agent_settings(cluster, **settings):
            scale(cluster, 0)
            try:
                yield
            finally:
                scale(cluster, 2)
    finally:
        cluster.kubectl("delete", "crd", NAME, "--ignore-not-found")
        cluster.node(NODE).run(["ip", "link", "delete", BRIDGE], check=False)


@pytest.fixture
def tenant(cluster: Cluster, namespace: str) -> str:
    """Return the option by which kubectl acts as the tenant of *namespace*."""
    cluster.kubectl("create", "serviceaccount", "tenant", "-n", namespace)
    resources = "network-attachment-definitions.k8s.cni.cncf.io,pods"
    role = ("role", "tenant", "--verb=create,get,list,delete", f"--resource={resources}")
    cluster.kubectl("create", *role, "-n", namespace)
    bound = ("--role=tenant", f"--serviceaccount={namespace}:tenant")
    cluster.kubectl("create", "rolebinding", "tenant", *bound, "-n", namespace)
    option = f"--as=system:serviceaccount:{namespace}:tenant"
    may_create = (option, "auth", "can-i", "create", "pods", "-n", namespace)
    cluster.wait_for(
        lambda: cluster.kubectl(*may_create, check=False).returncode == 0, 120, "its rights"
    )
    return option


def create(cluster: Cluster, tenant: str, *objects: dict[str, Any]) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    cluster.kubectl(tenant, "create", "-f", "-", input=text)


def selecting(namespace: str, name: str, copy: Any, **request: Any) -> dict[str, Any]:
    """Return a pod that selects the definition *name* of its namespace, as if validated."""
    annotations = {
        keys.NETWORKS: json.dumps([{"name": name, **request}]),
        keys.ATTACHMENTS: f"{namespace}/{name}:{copy['hash']}",
    }
    pod = pod_on_node(f"pod-{name}", None, NODE, annotations=annotations)
    pod["metadata"]["namespace"] = namespace
    pod["spec"]["serviceAccountName"] = "default"
    return pod


def host_state(cluster: Cluster) -> tuple[list[str], list[str], list[str]]:
    """Return what an attack would change: interfaces, files of the runtime, firewall rules."""
    node = cluster.node(NODE)
    links = json.loads(node.run(["ip", "-j", "address", "show", "up"]).stdout)
    addresses = [
        f"{link['ifname']} {each['local']}"
        for link in links
        if "link_netnsid" not in link
        for each in link["addr_info"]
        if each["scope"] == "global"
    ]
    files = [each.name for each in node.path("/etc/cni/net.d").iterdir()]
    rules = node.run(["iptables-save", "-t", "nat"]).stdout.splitlines()
    return sorted(addresses), sorted(files), [each for each in rules if "CNI-DN" in each]


@pytest.mark.usefixtures("enforcing")
def test_no_attack_of_a_tenant_reaches_the_node(
    cluster: Cluster, namespace: str, tenant: str
) -> None:
    """The agent's copy says why, the plugin answers with it, and no component restarts."""
    before, running = host_state(cluster), restarts(cluster)
    expected = attacks(namespace)
    create(cluster, tenant, *hostile_definitions(namespace))
    folder = cluster.node(NODE).path(f"/var/lib/cni/genie/nad/{namespace}")
    cluster.wait_for(lambda: all((folder / name).exists() for name in expected), 120, "all copies")
    copies = {name: json.loads((folder / name).read_text()) for name in expected}
    for name, (_, part) in expected.items():
        assert part in copies[name]["refused"], name
        assert copies[name]["config"] == "", name

    create(cluster, tenant, *(selecting(namespace, *each) for each in copies.items()))
    waiting = {name: each["refused"] for name, each in copies.items()}

    def all_refused() -> bool:
        for name, refused in [*waiting.items()]:
            if has_failed(cluster, namespace, f"pod-{name}", refused):
                del waiting[name]
        return not waiting

    cluster.wait_for(all_refused, 120, f"the refusals of {[*waiting]}")
    assert host_state(cluster) == before
    assert restarts(cluster) == running


@pytest.mark.usefixtures("enforcing")
def test_a_tenant_gets_what_the_template_permits(
    cluster: Cluster, namespace: str, tenant: str
) -> None:
    """An address of its range, which the pod may name; no other one, no sysctl, no host port."""
    create(cluster, tenant, definition(namespace, "net", network(namespace)))
    file = cluster.node(NODE).path(f"/var/lib/cni/genie/nad/{namespace}/net")
    cluster.wait_for(file.exists, 120, "the copy")
    copy = json.loads(file.read_text())
    assert (copy["refused"], copy["cniArgs"]) == ("", [])

    ports = [{"hostPort": 8088, "containerPort": 80}]
    refused: dict[str, tuple[dict[str, Any], str]] = {
        "sysctl": (
            {"cni-args": {"sysctl": {"net.ipv4.ip_forward": "1"}}},
            'do not permit "sysctl" in "cni-args"',
        ),
        "outside": ({"ips": ["10.78.2.9/24"]}, "failed to allocate all requested IPs"),
        "mac": ({"mac": "02:00:00:00:00:09"}, 'declares the capability "mac"'),
        "port": ({"portMappings": ports}, 'does not permit the "portMappings"'),
    }
    pods = []
    for name, (request, _) in {**refused, "web": ({"ips": ["10.78.1.77/24"]}, "")}.items():
        pod = selecting(namespace, "net", copy, **request)
        pod["metadata"]["name"] = name
        pods.append(pod)
    create(cluster, tenant, *pods)
    wait_until_ready(cluster, namespace, "web")
    web = interfaces(cluster, "web", namespace)["net1"]
    assert (web.bridge, web.addresses) == (BRIDGE, ("10.78.1.77",))
    for name, (_, part) in refused.items():
        cluster.wait_for(partial(has_failed, cluster, namespace, name, part), 120, f"pod {name}")


def has_failed(cluster: Cluster, namespace: str, pod: str, sentence: str) -> bool:
    """Tell whether an Event of *pod* says that it cannot start because of *sentence*."""
    events = pod_events(cluster, namespace, pod, "FailedCreatePodSandBox")
    return any(sentence in each.replace('\\"', '"') for each in events)


def test_a_tenant_cannot_write_definitions_elsewhere(
    cluster: Cluster, namespace: str, tenant: str
) -> None:
    """Nor change those of a trusted namespace: that is the API server's part."""
    define(cluster)
    try:
        text = json.dumps(definition("kube-system", "x", network(namespace)))
        answer = cluster.kubectl(tenant, "create", "-f", "-", input=text, check=False)
        assert "forbidden" in answer.stderr.lower()
    finally:
        cluster.kubectl("delete", "crd", NAME)
