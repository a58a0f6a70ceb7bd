"""A stolen token of an agent can change little: some metadata of its own node and pods."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.cluster.support.agents import STATUS, agent_pod
from tests.cluster.support.pods import pod_manifest, temporary_namespace, wait_until_ready
from tests.devcluster.genie import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.devcluster.cluster import Cluster

NODE = "node1"


@pytest.fixture
def token(cluster: Cluster) -> str:
    """Return a token like that of node1's agent."""
    bound = ("--bound-object-kind=Pod", f"--bound-object-name={agent_pod(cluster, NODE)}")
    created = cluster.kubectl("create", "token", "genie-agent", "-n", NAMESPACE, *bound)
    return created.stdout.strip()


@pytest.fixture
def thief(cluster: Cluster, token: str, tmp_path: Path) -> list[str]:
    """Return kubectl's options that log in with that token."""
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
    "set a label that is not Genie's": (
        "may change only labels that start with",
        ["label", "node", NODE, "foo=bar"],
    ),
    "set a label beside that of its definitions": (
        "and node.cni-genie.io/attachments, not: node.cni-genie.io/other",
        ["label", "node", NODE, "node.cni-genie.io/other=true"],
    ),
    "annotate its node": (
        "may change only the annotations cni-genie.io/plugin-types and cni-genie.io/removal",
        ["annotate", "node", NODE, "foo=bar"],
    ),
    "confirm a forced removal of its node": (
        "may change only the annotations cni-genie.io/plugin-types and cni-genie.io/removal",
        ["annotate", "node", NODE, "cni-genie.io/confirm-remove=force"],
    ),
    "remove an annotation of its node": (
        "may change only the annotations cni-genie.io/plugin-types and cni-genie.io/removal",
        ["annotate", "node", NODE, "node.alpha.kubernetes.io/ttl-"],
    ),
    "annotate its node with a long value": (
        "at most 8192 characters",
        ["annotate", "node", NODE, "--overwrite", f"cni-genie.io/plugin-types={'x' * 8193}"],
    ),
    "set another node's plugin types": (
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
    """RBAC or the policy refuses each attempt, with a message that says why."""
    arguments = [stage if part == "NS" else part for part in action]
    refused = cluster.kubectl(*thief, *arguments, check=False)
    assert refused.returncode != 0
    assert words in refused.stderr, refused.stderr


def raw_write(
    cluster: Cluster, token: str, path: str, body: object, method: str = "PATCH"
) -> subprocess.CompletedProcess[str]:
    """Send one merge patch with *token*; not with kubectl, which would read the object first."""
    media_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
    headers = ["-H", f"Authorization: Bearer {token}", "-H", f"Content-Type: {media_type}"]
    command = ["curl", "-sk", "-X", method, *headers]
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
def test_a_stolen_token_can_change_one_annotation_of_its_nodes_pods(  # noqa: PLR0917 - fixtures and parameters
    cluster: Cluster, stage: str, token: str, pod: str, body: object, expected: tuple[str, str]
) -> None:
    """The policy refuses any other change, and any change of a pod on another node."""
    path = f"/api/v1/namespaces/{stage}/pods/{pod}/status"
    answer, _, status = raw_write(cluster, token, path, body).stdout.rpartition("\n")
    assert (status, expected[1] in answer) == (expected[0], True), answer


EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"
FOREIGN = "only Events that it reports from its own node"


def event(name: str, **changes: str) -> dict[str, object]:
    """Return an Event as the agent of node1 writes it, with *changes*."""
    return {
        "metadata": {"name": name, "namespace": "default"},
        "regarding": {"apiVersion": "v1", "kind": "Node", "name": NODE, "uid": NODE},
        "type": "Warning",
        "reason": "Stolen",
        "action": "Reconcile",
        "note": "by a thief",
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "genie-agent",
        "reportingInstance": NODE,
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, ("201", "by a thief"), id="reported from its node: done"),
        pytest.param({"reportingInstance": "other"}, ("403", FOREIGN), id="from another node"),
        pytest.param({"reportingController": "kubelet"}, ("403", FOREIGN), id="by the kubelet"),
    ],
)
def test_a_stolen_token_creates_events_in_the_name_of_its_agent_alone(
    cluster: Cluster, token: str, changes: dict[str, str], expected: tuple[str, str]
) -> None:
    """The policy refuses others, in any namespace."""
    body = event(f"stolen.{len(changes)}{secrets.token_hex(4)}", **changes)
    answer, _, status = raw_write(cluster, token, EVENTS, body, "POST").stdout.rpartition("\n")
    assert (status, expected[1] in answer) == (expected[0], True), answer


@pytest.mark.parametrize(
    ("controller", "body", "expected"),
    [
        pytest.param(
            "genie-agent",
            {"series": {"count": 2, "lastObservedTime": "2026-01-01T00:01:00.000000Z"}},
            ("200", '"count": 2'),
            id="count its own: done",
        ),
        pytest.param("genie-agent", {"note": "x"}, ("422", "immutable"), id="rewrite its own"),
        pytest.param(
            "kubelet",
            {"series": {"count": 2, "lastObservedTime": "2026-01-01T00:01:00.000000Z"}},
            ("403", FOREIGN),
            id="count the kubelet's",
        ),
    ],
)
def test_a_stolen_token_can_only_count_events_of_its_agent(
    cluster: Cluster, token: str, controller: str, body: object, expected: tuple[str, str]
) -> None:
    """The API server and the policy refuse any other change."""
    name = f"victim.{secrets.token_hex(4)}"
    manifest = {"apiVersion": "events.k8s.io/v1", "kind": "Event"}
    cluster.apply(manifest | event(name, reportingController=controller))
    answer, _, status = raw_write(cluster, token, f"{EVENTS}/{name}", body).stdout.rpartition("\n")
    assert (status, expected[1] in answer) == (expected[0], True), answer


def test_a_stolen_token_may_label_its_own_node(cluster: Cluster, thief: list[str]) -> None:
    """The control: the token works. The agent restores the annotation afterwards."""
    types = "cni-genie.io/plugin-types=weave=weave-net"
    cluster.kubectl(*thief, "annotate", "node", NODE, "--overwrite", types)
    cluster.kubectl(*thief, "label", "node", NODE, "network.cni-genie.io/stolen=false")
    cluster.kubectl("label", "node", NODE, "network.cni-genie.io/stolen-")


@pytest.fixture(scope="module")
def stage(cluster: Cluster) -> Iterator[str]:
    """Yield a namespace with a pod on node1 and one on another node, which is created too."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "other"}}
    for namespace in temporary_namespace(cluster):
        cluster.apply(node)
        cluster.apply(pod_manifest("near", "canal"), "-n", namespace)
        wait_until_ready(cluster, namespace, "near")
        far = pod_manifest("far", "canal")
        far["spec"]["nodeName"] = "other"
        cluster.apply(far, "-n", namespace)
        yield namespace
        now = ("--force", "--grace-period=0")  # the other node has no kubelet
        cluster.kubectl("delete", "pod", "far", "-n", namespace, *now)
        cluster.kubectl("delete", "node", "other")
