"""Pods are attached to NetworkAttachmentDefinitions, from the agent's copies on the node.

Nothing sets the plugin's option for it yet, so the test puts a conflist with it before the agent's.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import keys
from tests.cluster.support.agents import agent_settings, granted, pod_events
from tests.cluster.support.definitions import CRD, OBSERVE, definition, definitions_rights
from tests.cluster.support.observe import default_routes, interfaces
from tests.cluster.support.pods import pod_on_node, wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster

NODE = "node1"
BLUE = {
    "cniVersion": "1.0.0",
    "type": "bridge",
    "bridge": "blue0",
    "isGateway": True,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/24"}]]},
}


@pytest.fixture
def short_hash(cluster: Cluster, namespace: str) -> Iterator[str]:
    """Enforce definitions on the node; return the hash of the definition ``blue`` there."""
    node = cluster.node(NODE)
    genie = json.loads(node.path("/etc/cni/net.d/00-genie.conflist").read_text())
    genie["plugins"][0].setdefault("args", {}).setdefault(keys.CONF_ARGS, {})[
        "attachmentDefinitions"
    ] = "enforce"
    conflist = node.path("/etc/cni/net.d/00-a-genie-that-enforces.conflist")
    copy = node.path(f"/var/lib/cni/genie/nad/{namespace}/blue")

    cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(CRD))
    cluster.kubectl("wait", "--for=condition=Established", f"crd/{CRD['metadata']['name']}")
    blue = definition(namespace, "blue", BLUE)
    cluster.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(blue))
    settings = {
        "attachment_definitions_mode": OBSERVE,
        "attachment_definitions_delay_seconds": 0,
    }
    try:
        with granted(cluster, definitions_rights()), agent_settings(cluster, **settings):
            cluster.wait_for(copy.exists, 60, "the copy of the definition")
            conflist.write_text(json.dumps(genie))
            try:
                yield json.loads(copy.read_text())["hash"]
            finally:
                conflist.unlink()
    finally:
        cluster.kubectl("delete", "crd", CRD["metadata"]["name"], "--ignore-not-found")


def selecting(name: str, networks: Any, permitted: str | None) -> dict[str, Any]:
    """Return a pod with these annotations on the node."""
    annotations = {keys.NETWORKS: networks if isinstance(networks, str) else json.dumps(networks)}
    if permitted is not None:
        annotations[keys.ATTACHMENTS] = permitted
    return pod_on_node(name, None, NODE, annotations=annotations)


def test_pods_are_attached_from_the_copies(
    cluster: Cluster, namespace: str, short_hash: str
) -> None:
    """One of the API, one of a file; the definition is deleted before the pods are."""
    permitted = f"{namespace}/blue:{short_hash}"
    asked = [{"name": "blue", "interface": "data", "default-route": ["10.77.0.1"]}]
    cluster.apply(selecting("web", asked, permitted), "-n", namespace)
    cluster.apply(selecting("forged", "blue", f"{namespace}/red:{short_hash}"), "-n", namespace)
    file = cluster.node(NODE).path("/etc/kubernetes/manifests/from-a-file.json")
    file.write_text(json.dumps(selecting("from-a-file", f"{namespace}/blue", None)))
    try:
        wait_until_ready(cluster, namespace, "web")
        web = interfaces(cluster, "web", namespace)
        assert (web["data"].bridge, web["data"].addresses[0][:8]) == ("blue0", "10.77.0.")
        assert default_routes(cluster, "web", namespace)[0] == ("-4", "data")

        name = f"from-a-file-{NODE}"
        cluster.wait_for(lambda: cluster.exists("pod", name), 120, "the mirror pod")
        wait_until_ready(cluster, "default", name)
        assert interfaces(cluster, name, "default")["net1"].bridge == "blue0"

        difference = f'item 1 is "{namespace}/red", but the pod selects "{namespace}/blue"'
        cluster.wait_for(
            lambda: any(
                difference in message
                for message in pod_events(cluster, namespace, "forged", "FailedCreatePodSandBox")
            ),
            60,
            "the Event of the forged pod",
        )
        cluster.kubectl("delete", "net-attach-def", "blue", "-n", namespace)
    finally:
        file.unlink()
    cluster.kubectl("delete", "pod", "web", "forged", "-n", namespace, "--timeout=60s")
    cluster.kubectl("wait", "--for=delete", f"pod/{name}", "--timeout=120s")
    store = cluster.node(NODE).path("/var/lib/cni/networks/blue")
    assert [each.name for each in store.iterdir() if each.name.startswith("10.")] == []
