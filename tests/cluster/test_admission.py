"""Admission on the live cluster: under load, from zero, while down, and with hostile values."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings

from dispatcher.kube.client import MERGE_PATCH, KubeError
from tests.cluster.support.admission import (
    CONFIGURATIONS,
    NAME,
    NAMESPACE,
    THEFTS,
    VALUES,
    WEBHOOK_PODS,
    admitted,
    api,
    cannot_change,
    change,
    pod,
    scale,
    spaces,
)
from tests.cluster.support.load import PODS, Load
from tests.cluster.support.outside_webhook import webhook_kubeconfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dispatcher.kube.client import Kube
    from tests.devcluster.cluster import Cluster

CREATIONS = 500


@pytest.fixture(scope="module")
def busy(cluster: Cluster) -> Iterator[Cluster]:
    """Give the cluster with a namespace for pods that are never scheduled."""
    with spaces(cluster, {"busy": {}}, force=True):
        yield cluster


def test_a_rolling_restart_under_load_costs_no_creation(busy: Cluster) -> None:
    """500 pods and more are created while both replicas are replaced: all of them, normalised."""
    with Load(busy, clients=4, pause=0.03) as load:
        busy.wait_for(lambda: load.calls > CREATIONS / 5, 120, "the load to begin")
        busy.kubectl("rollout", "restart", f"deployment/{NAME}", "-n", NAMESPACE)
        busy.kubectl("rollout", "status", f"deployment/{NAME}", "-n", NAMESPACE)
        after = load.calls
        enough = max(CREATIONS, after + CREATIONS / 5)
        busy.wait_for(lambda: load.calls > enough, 120, "the load to go on")
    assert load.faults == []
    assert load.calls >= CREATIONS
    api(busy).delete(f"{PODS}?gracePeriodSeconds=0", timeout=100)


def test_all_replicas_restarted_at_once_become_ready(cluster: Cluster) -> None:
    """No replica waits for another, or for an endpoint of the Service that it would be itself."""
    cluster.kubectl("delete", "pods", *WEBHOOK_PODS, "--grace-period=0", "--force")
    scale(cluster, 2)
    scale(cluster, 0)
    scale(cluster, 2)


SIXTEEN_TIMES = ",".join(["canal"] * 16)
GREEDY = 17


def attack(cluster: Cluster, namespace: str) -> list[str]:
    """Create pods that would take all addresses of the default network; returns the refusals.

    Each names the network as often as the grammar lets it. That would be 272 of 253 addresses.
    """
    client, refusals = api(cluster), []
    for _ in range(GREEDY):
        try:
            value = pod(SIXTEEN_TIMES, nodeSelector={})
            client.create(f"/api/v1/namespaces/{namespace}/pods", value)
        except KubeError as error:
            refusals.append(error.message)
    return refusals


def starts(cluster: Cluster, namespace: str) -> None:
    """Expect that a pod that asks for nothing is running soon."""
    image = ("--image=nginx:latest", "--image-pull-policy=IfNotPresent")
    cluster.kubectl("run", "modest", *image, "-n", namespace)
    ready = ("--for=condition=Ready", "pod/modest", "--timeout=120s")
    cluster.kubectl("wait", *ready, "-n", namespace)


def test_one_author_cannot_take_a_networks_addresses(cluster: Cluster) -> None:
    """17 pods that each name the default network 16 times: all refused, and the next pod starts."""
    with spaces(cluster, {"greedy": {}}):
        refusals = attack(cluster, "greedy")
        assert len(refusals) == GREEDY
        for said in refusals:
            assert 'must have at most 4 networks in namespace "greedy" (has 16)' in said
            assert 'must have at most 2 attachments of network "canal"' in said
        starts(cluster, "greedy")


@pytest.fixture(scope="module")
def down(cluster: Cluster) -> Iterator[Cluster]:
    """Give the cluster with the webhook scaled to zero."""
    scale(cluster, 0)
    yield cluster
    scale(cluster, 2)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(value=VALUES)
def test_policy_and_parser_accept_the_same_values(down: Cluster, value: str) -> None:
    """The policies take exactly the values within the limits that the parser takes as they are.

    With the webhook's own tests (what it accepts is the parser's normal form): what one of
    webhook, policy and plugin refuses, all three refuse.
    """
    assert _accepted(down, value) is (admitted(value) == value)


def test_nor_can_one_while_no_webhook_runs(down: Cluster) -> None:
    """The policy refuses them in nearly the same words."""
    with spaces(down, {"greedy-too": {}}):
        refusals = attack(down, "greedy-too")
        assert len(refusals) == GREEDY
        for said in refusals:
            assert "ValidatingAdmissionPolicy 'cni-genie-pod-limits'" in said
            assert 'must have at most 4 networks in namespace "greedy-too" (has 16)' in said
        starts(down, "greedy-too")


def test_pods_of_a_list_to_choose_from_are_refused_while_no_webhook_runs(down: Cluster) -> None:
    """Nothing has chosen for them. A pod that names its network is created."""
    lists = {"choosing": "weave,canal", "choosing-badly": ",", "choosing-long": "x," * 60_000}
    client = api(down)
    with spaces(down, {name: {"cni-genie.io/choose": each} for name, each in lists.items()}):
        for name in lists:
            path = f"/api/v1/namespaces/{name}/pods?dryRun=All"
            for value in (None, ""):
                with pytest.raises(KubeError, match=f'"cni-genie.io/choose" of namespace "{name}"'):
                    client.create(path, pod(value))
            client.create(path, pod("canal"))


_client: list[Kube] = []


def _accepted(cluster: Cluster, value: str) -> bool:
    if not _client:
        _client.append(api(cluster))
    try:
        _client[0].create("/api/v1/namespaces/default/pods?dryRun=All", pod(value))
    except KubeError as error:
        if "cni-genie-pod-" not in error.message:
            raise
        return False
    return True


LABEL = "jsonpath={.metadata.labels.cni-genie\\.io/defaulted}"


def test_labels_are_repaired_after_an_outage(cluster: Cluster, down: Cluster) -> None:
    """A default that was written, and one that was taken away, while no webhook ran."""
    with spaces(cluster, {"late-default": {"cni": "weave"}, "no-default": {}}):
        cluster.kubectl("label", "namespace", "no-default", "cni-genie.io/defaulted=true")
        scale(down, 2)
        for name, expected in (("late-default", "true"), ("no-default", "")):
            is_right = functools.partial(_has_label, cluster, name, expected)
            cluster.wait_for(is_right, 120, f"the label of {name}")


def _has_label(cluster: Cluster, namespace: str, value: str) -> bool:
    return cluster.kubectl("get", "namespace", namespace, "-o", LABEL).stdout == value


@pytest.fixture(scope="module")
def thief(cluster: Cluster) -> Kube:
    """Give a client that is logged in with the webhook's own token."""
    return api(cluster, webhook_kubeconfig(cluster))


@pytest.mark.parametrize(
    ("metadata", "allowed"),
    [
        pytest.param({"labels": {"cni-genie.io/defaulted": None}}, True, id="its-label"),
        pytest.param({"labels": {"a": "b"}}, False, id="another-label"),
        pytest.param({"annotations": {"cni": "weave"}}, False, id="an-annotation"),
        pytest.param({"finalizers": ["a/b"]}, False, id="a-finalizer"),
    ],
)
def test_a_stolen_token_can_do_no_more_to_namespaces(
    thief: Kube, metadata: dict[str, Any], *, allowed: bool
) -> None:
    """The right to patch namespaces is good for one label."""
    body = {"metadata": metadata}
    if allowed:
        thief.patch("/api/v1/namespaces/default?dryRun=All", body, MERGE_PATCH)
        return
    with pytest.raises(KubeError, match="may change only the label") as refused:
        thief.patch("/api/v1/namespaces/default?dryRun=All", body, MERGE_PATCH)
    assert refused.value.status == 403


@pytest.mark.parametrize("theft", THEFTS.values(), ids=THEFTS)
def test_a_stolen_token_cannot_change_what_is_sent_where(
    thief: Kube, theft: list[dict[str, Any]]
) -> None:
    """Else it could have every Secret that is written sent to an address of its own."""
    cannot_change(thief, theft)


def test_a_stolen_token_cannot_have_the_webhook_called_again_or_not(thief: Kube) -> None:
    """Only mutating entries have that field."""
    never = [{"op": "replace", "path": "/webhooks/0/reinvocationPolicy", "value": "Never"}]
    with pytest.raises(KubeError, match="may change only caBundle"):
        change(thief, CONFIGURATIONS[0], never)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param("genie-webhook-ca", "kubernetes.io/service-account-token", id="a-token"),
        pytest.param("another", "Opaque", id="another-name"),
    ],
)
def test_a_stolen_token_creates_no_secret_but_the_webhooks_own(
    thief: Kube, name: str, kind: str
) -> None:
    """Else the API server would write the token of another ServiceAccount into it."""
    annotations = {"kubernetes.io/service-account.name": NAME}
    body = {"metadata": {"name": name, "annotations": annotations}, "type": kind}
    with pytest.raises(KubeError, match="may create only the Secret genie-webhook-ca") as refused:
        thief.create(f"/api/v1/namespaces/{NAMESPACE}/secrets?dryRun=All", body)
    assert refused.value.status == 403


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_the_webhook_may_change_the_bundle(thief: Kube, configuration: str) -> None:
    """That is what it has the right for."""
    change(thief, configuration, [{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}])


@pytest.mark.parametrize("theft", THEFTS.values(), ids=THEFTS)
def test_an_administrator_may_change_everything(
    cluster: Cluster, theft: list[dict[str, Any]]
) -> None:
    """The policy is for one account."""
    admin = api(cluster)
    for configuration in CONFIGURATIONS:
        change(admin, configuration, theft)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/pods",
        "/api/v1/secrets",
        "/api/v1/namespaces/genie-system/secrets",
        "/api/v1/namespaces/default/configmaps",
    ],
)
def test_the_webhook_can_read_neither_pods_nor_secrets(thief: Kube, path: str) -> None:
    """What it must know of a pod is in the review."""
    with pytest.raises(KubeError) as refused:
        thief.get(path)
    assert refused.value.status == 403


def test_a_workload_of_many_owners_is_judged_soon(cluster: Cluster, namespace: str) -> None:
    """A loop over all of them in the API server would keep it busy for half a minute."""
    owner = {"apiVersion": "v1", "kind": "x"}
    owners = [{**owner, "name": f"{one}", "uid": f"{one}"} for one in range(30_000)]
    template = {
        "metadata": {"labels": {"app": "web"}, "annotations": {"cni": "@"}},
        "spec": {"containers": [{"name": "c", "image": "nginx:latest"}]},
    }
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "owned", "ownerReferences": owners},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template},
    }
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments?dryRun=All"
    with pytest.raises(KubeError, match="a network name must come before") as refused:
        api(cluster).create(path, manifest, timeout=15)
    assert refused.value.status == 422


def test_a_refused_pod_of_a_deployment_says_so_in_its_conditions(
    cluster: Cluster, namespace: str
) -> None:
    """The words that kubectl would have printed for a pod are there for its author to find."""
    template = {
        "metadata": {"labels": {"app": "web"}, "annotations": {"cni": "wave"}},
        "spec": {"containers": [{"name": "c", "image": "nginx:latest"}]},
    }
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template},
    }
    said = cluster.apply(manifest, "-n", namespace).stderr
    assert 'pods will be refused: unknown network "wave" (did you mean "weave"?)' in said

    def condition() -> str:
        conditions = cluster.get("deployment", "web", "-n", namespace)["status"].get(
            "conditions", []
        )
        return "".join(one["message"] for one in conditions if one["type"] == "ReplicaFailure")

    cluster.wait_for(condition, 120, "the Deployment to say why it has no pods")
    assert 'admission webhook "pods.cni-genie.io" denied the request' in condition()
    assert 'Unsupported value: "wave": item 1: supported values: "canal", "weave"' in condition()
