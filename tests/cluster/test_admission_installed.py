"""How the webhook is installed: evictions, nodes, the nodes' own network, what is counted."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from dispatcher.kube.client import KubeError
from tests.cluster.support.admission import (
    NAME,
    NAMESPACE,
    WEBHOOK_PODS,
    api,
    is_refused,
    replicas,
    scale,
)
from tests.devcluster.helm import CHART, PLAIN, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.devcluster.cluster import Cluster

PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


def test_a_drain_takes_one_replica_at_a_time(cluster: Cluster) -> None:
    """The second eviction is refused by the disruption budget; one replica serves meanwhile."""
    scale(cluster, 2)
    budget = ("poddisruptionbudget", NAME, "-n", NAMESPACE)

    def may_go() -> bool:
        return bool(cluster.get(*budget)["status"]["disruptionsAllowed"] == 1)

    cluster.wait_for(may_go, 120, "both replicas to count as healthy")
    admin = api(cluster)
    first, second = (one["metadata"]["name"] for one in cluster.get("pods", *WEBHOOK_PODS)["items"])
    admin.create(f"{PODS}/{first}/eviction", eviction(first))
    with pytest.raises(KubeError, match="disruption budget") as kept:
        admin.create(f"{PODS}/{second}/eviction", eviction(second))
    assert kept.value.status == 429
    assert is_refused(cluster)
    cluster.kubectl("rollout", "status", f"deployment/{NAME}", "-n", NAMESPACE)


def eviction(name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}


@pytest.mark.parametrize(
    ("cni", "said"),
    [
        pytest.param(
            " weave , canal", {"networks": "weave,canal", "source": "annotation"}, id="changed"
        ),
        pytest.param(
            "wave",
            {"networks": "wave", "source": "annotation", "reason": "unknown-network"},
            id="refused",
        ),
    ],
)
def test_the_audit_log_says_what_was_decided(
    cluster: Cluster, cni: str, said: dict[str, str]
) -> None:
    """Networks, where they come from, and why not; an auditor needs no log of ours."""
    name = f"audited-{said.get('reason', 'changed')}"
    run = ("run", name, "--image=nginx:latest", f"--annotations=cni={cni}", "--dry-run=server")
    cluster.kubectl(*run, check=False)
    ours = {f"pods.cni-genie.io/{key}": value for key, value in said.items()}

    def is_said() -> bool:
        return any(
            entry["objectRef"].get("name") == name and ours.items() <= entry["annotations"].items()
            for entry in cluster.control_plane.audit_entries()
            if entry["objectRef"]["resource"] == "pods"
        )

    cluster.wait_for(is_said, 120, f"{ours} in the audit log")


def nodes_after_a_rollout(cluster: Cluster) -> list[str]:
    """Restart the replicas; return the nodes of the new ones."""
    rollout = f"deployment/{NAME}", "-n", NAMESPACE
    cluster.kubectl("rollout", "restart", *rollout)
    cluster.kubectl("rollout", "status", *rollout)
    return sorted(pod["spec"]["nodeName"] for pod in replicas(cluster))


def test_each_replica_has_a_node_of_its_own(uneven_cluster: Cluster) -> None:
    """The scheduler spreads them, wherever the old ones were. The nodes have no zones."""
    uneven_cluster.kubectl("cordon", "node1")
    try:
        assert nodes_after_a_rollout(uneven_cluster) == ["node2", "node2"]
    finally:
        uneven_cluster.kubectl("uncordon", "node1")
    assert nodes_after_a_rollout(uneven_cluster) == ["node1", "node2"]


HOST = f"{NAME}-on-the-host"
HOST_LABELS = {"app.kubernetes.io/name": "cni-genie", "app.kubernetes.io/component": HOST}


def on_host_network(cluster: Cluster) -> list[dict[str, Any]]:
    """Return Deployment and settings of the host network, to stand beside the installed ones.

    One replica, with a name and labels of its own, and the image that the cluster has.
    """
    installed = cluster.get("deployment", NAME, "-n", NAMESPACE)["spec"]["template"]["spec"]
    objects = render({**PLAIN, "webhook": {"hostNetwork": True}})
    (deployment,) = (one for one in objects if one["kind"] == "Deployment")
    spec = deployment["spec"]
    deployment["metadata"]["name"] = HOST
    spec["replicas"], spec["selector"]["matchLabels"] = 1, HOST_LABELS
    spec["template"]["metadata"]["labels"] = HOST_LABELS
    container = spec["template"]["spec"]["containers"][0]
    container["image"] = installed["containers"][0]["image"]
    (settings,) = (o for o in objects if (o["kind"], o["metadata"]["name"]) == ("ConfigMap", NAME))
    settings["metadata"]["name"] = HOST
    container["envFrom"] = [{"configMapRef": {"name": HOST}}]
    return [deployment, settings]


@pytest.fixture
def on_the_host(cluster: Cluster) -> Iterator[Cluster]:
    """Give the cluster with the Service leading to a replica on its node's own network."""
    manifest = yaml.safe_dump_all(on_host_network(cluster))
    cluster.apply(manifest)
    before = cluster.get("service", NAME, "-n", NAMESPACE)["spec"]["selector"]
    lead(cluster, HOST_LABELS)
    yield cluster
    lead(cluster, before)
    cluster.kubectl("delete", "-f", "-", "--wait=false", input=manifest)


def lead(cluster: Cluster, selector: dict[str, str]) -> None:
    """Make the Service lead to the pods with these labels."""
    patch = [{"op": "replace", "path": "/spec/selector", "value": selector}]
    service = ("service", NAME, "-n", NAMESPACE)
    cluster.kubectl("patch", *service, "--type=json", f"--patch={json.dumps(patch)}")


def test_the_webhook_serves_on_its_nodes_own_network(on_the_host: Cluster) -> None:
    """The API server calls the node's address, and nobody else has decided anything."""
    cluster = on_the_host
    cluster.kubectl("rollout", "status", f"deployment/{HOST}", "-n", NAMESPACE, "--timeout=120s")
    component = f"app.kubernetes.io/component={HOST}"
    (pod,) = cluster.get("pods", "-n", NAMESPACE, "-l", component)["items"]
    node = cluster.get("node", pod["spec"]["nodeName"])
    addresses = [one["address"] for one in node["status"]["addresses"]]
    assert pod["status"]["podIP"] in addresses
    metrics = f"{PODS}/{pod['metadata']['name']}:10080/proxy/metrics"

    def has_refused() -> bool:
        return is_refused(cluster) and 'outcome="denied"' in raw(cluster, metrics)

    cluster.wait_for(has_refused, 120, "the API server to call the replica on the host")


def raw(cluster: Cluster, path: str) -> str:
    return cluster.kubectl("get", "--raw", path).stdout


def calls(cluster: Cluster) -> float:
    """Return how many new pods the API server has sent to the webhook for a key of their own."""
    series = r'^apiserver_admission_webhook_request_total{.*name="pods[.]cni-genie[.]io".*} (.+)$'
    return sum(map(float, re.findall(series, raw(cluster, "/metrics"), re.MULTILINE)))


@pytest.mark.parametrize(
    ("annotation", "sent"),
    [
        ("a.example/networks=x", 0),
        ("cni-genie.example/cni=x", 0),
        ("networks=x", 1),
        ("multi-ip-preferences=", 1),
        ("k8s.v1.cni.cncf.io/networks=x", 1),
        ("cni-genie.io/scheduling=off", 1),
        ("cni=weave", 1),
    ],
)
def test_a_pod_is_sent_for_a_key_of_its_own_alone(
    cluster: Cluster, namespace: str, annotation: str, sent: int
) -> None:
    """Ignored keys are warned of, and every other pod of the cluster still costs nothing."""
    before = calls(cluster)
    run = ("run", "web", "-n", namespace, "--image=nginx:latest", f"--annotations={annotation}")
    cluster.kubectl(*run, "--dry-run=server")
    assert calls(cluster) == before + sent


BROKEN = "broken.cni-genie.io"
CONDITION = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "MutatingWebhookConfiguration",
    "metadata": {"name": "cni-genie-broken"},
    "webhooks": [
        {
            "name": BROKEN,
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Ignore",
            "clientConfig": {"url": "https://127.0.0.1:1"},
            "rules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE"],
                    "resources": ["configmaps"],
                }
            ],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
            "matchConditions": [
                {"name": "fails", "expression": "object.metadata.annotations.x == 'y'"}
            ],
        }
    ],
}


@pytest.fixture
def trouble(cluster: Cluster) -> Iterator[Cluster]:
    """Give the cluster without replicas, and with an entry whose condition cannot be evaluated."""
    cluster.apply(CONDITION)
    scale(cluster, 0)
    yield cluster
    cluster.kubectl("delete", "mutatingwebhookconfiguration", "cni-genie-broken")
    scale(cluster, 2)


def deed(cluster: Cluster, *kubectl: str) -> Callable[[str], bool]:
    """Return what does something and then tells whether a counter of the API server has a line."""

    def done(line: str) -> bool:
        cluster.kubectl(*kubectl, "--dry-run=server", check=False)
        return re.search(line, raw(cluster, "/metrics"), re.MULTILINE) is not None

    return done


def test_the_api_server_counts_what_the_alerts_watch(trouble: Cluster) -> None:
    """Under the names that the expressions of alerts and dashboard select."""
    image = "--image=nginx:latest"
    disruptions = {
        r'^apiserver_admission_webhook_fail_open_count{name="pods[.]cni-genie[.]io"': (
            deed(trouble, "run", "web", image, "--annotations=cni=weave")
        ),
        rf'^apiserver_admission_match_condition_evaluation_errors_total{{.*name="{BROKEN}"': (
            deed(trouble, "create", "configmap", "x")
        ),
        r'^apiserver_validating_admission_policy_check_total{enforcement_action="deny",'
        r'error_type="[a-z_]+",policy="cni-genie-pod-networks"': (
            deed(trouble, "run", "web", image, "--annotations=cni=@")
        ),
    }
    for line, does in disruptions.items():
        trouble.wait_for(lambda: does(line), 120, line)  # noqa: B023 - called at once
    watched = "".join(path.read_text() for path in (CHART / "files").glob("webhook-*"))
    counted = {line.partition("{")[0].lstrip("^") for line in disruptions}
    assert set(re.findall(r"apiserver_\w+", watched)) == counted
