"""``preflight``: versions that do not go together, and workloads that would be refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from cli.facts import read_workload
from cli.pod_selections import DefinitionContext
from cli.preflight import ClusterVersions, version_checks
from cli.reader import Reader
from cli.session import Session, variable_of
from tests.unit import manifests
from tests.unit.kubectl_genie.builders import (
    APPS,
    CLUSTER,
    GENIE,
    FakeAPI,
    deployment,
    pod,
    workload,
)
from webhook.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer.testing import Result

    Run = Callable[..., Result]


def node(runtime: str) -> dict[str, Any]:
    info = {"containerRuntimeVersion": runtime}
    return {"metadata": {"name": "n1"}, "status": {"nodeInfo": info}}


def agent(image: str, ready: int = 2, updated: int | None = None) -> Any:
    item = workload("DaemonSet", "genie-agent", 2, ready, image)
    if updated is not None:
        item["status"]["updatedNumberScheduled"] = updated
    return read_workload(item)


GOOD = ClusterVersions("v1.36.1", [node("containerd://2.0.1")], [agent("x/cni-genie:0.1.4")])
VERSIONS = [
    pytest.param({}, [], id="all goes together"),
    pytest.param(
        {"api_server": "v1.33.9"}, [("API server", "failed", "1.34")], id="an old API server"
    ),
    pytest.param({"api_server": ""}, [("API server", "unknown", "")], id="no version"),
    pytest.param({"nodes": None}, [("runtimes", "unknown", "")], id="nodes that may not be listed"),
    pytest.param(
        {"nodes": [node("containerd://1.6.33")]},
        [("runtime", "failed", "1.7")],
        id="an old containerd",
    ),
    pytest.param(
        {"nodes": [node("cri-o://1.28.0")]}, [("runtime", "failed", "1.29")], id="an old CRI-O"
    ),
    pytest.param(
        {"nodes": [node("docker://27.1")]},
        [("runtime", "warning", "oldRuntimes")],
        id="cri-dockerd",
    ),
    pytest.param({"programs": [agent("cni-genie:0.0.3")]}, [], id="one minor version older"),
    pytest.param(
        {"programs": [agent("cni-genie:dev")]},
        [("genie-agent", "unknown", "")],
        id="no version in the tag",
    ),
    pytest.param(
        {"programs": [agent("r:5000/cni-genie@sha256:1.2")]},
        [("genie-agent", "unknown", "")],
        id="a digest",
    ),
    pytest.param(
        {"programs": [agent("cni-genie:0.3.0")]},
        [("genie-agent", "warning", "that you will install")],
        id="a command older than the cluster",
    ),
    pytest.param(
        {"programs": [agent("cni-genie:1.0.0")]},
        [("genie-agent", "failed", "one minor version")],
        id="another major version",
    ),
    pytest.param(
        {"programs": [agent("cni-genie:0.1.0", updated=1)]},
        [("genie-agent", "failed", "wait")],
        id="an upgrade that is not complete",
    ),
]


@pytest.mark.parametrize(("change", "expected"), VERSIONS)
def test_versions_that_do_not_go_together_are_named(
    change: dict[str, Any], expected: list[tuple[str, str, str]]
) -> None:
    """With what to do before the upgrade."""
    done = version_checks(GOOD._replace(**change), "0.1.0")
    faults = [each for each in done if each.state != "ok"]
    assert [(each.subject, str(each.state)) for each in faults] == [row[:2] for row in expected]
    for fault, (_, _, fix) in zip(faults, expected, strict=True):
        assert fix in fault.fix


def test_an_upgrade_over_two_minor_versions_fails() -> None:
    """Only neighbours are tested with each other."""
    [check] = [each for each in version_checks(GOOD, "0.3.0") if each.subject == "genie-agent"]
    assert (str(check.state), check.fix) == ("failed", "upgrade one minor version at a time")


RESOURCES = (
    "/api/v1/pods",
    "/api/v1/replicationcontrollers",
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/statefulsets",
    "/apis/apps/v1/daemonsets",
    "/apis/apps/v1/replicasets",
    "/apis/batch/v1/jobs",
    "/apis/batch/v1/cronjobs",
)


def cluster(cni: str = "canal,canal") -> dict[str, Any]:
    """Return a cluster with a Deployment, and a pod of a controller, that name *cni*."""
    objects: dict[str, Any] = {**CLUSTER, **{path: [] for path in RESOURCES}}
    objects["/version"] = {"gitVersion": "v1.37.2"}
    objects["/apis/apps/v1/deployments"] = [deployment(cni)]
    owned = pod("web-1", cni)
    owned["metadata"]["ownerReferences"] = [{"controller": True}]
    objects["/api/v1/pods"] = [owned]
    objects["/api/v1/nodes"] = [
        {**each, **node("containerd://2.0.1"), "metadata": each["metadata"]}
        for page in CLUSTER["/api/v1/nodes"]
        for each in page
    ]
    return objects


TABLE = """\
ok      API server     v1.37.2
ok      runtime        containerd 2.0.1 on n1, n2
unknown genie-agent    cni-genie:dev; this command is unreleased: the versions
                       cannot be compared
unknown genie-webhook  cni-genie:dev; this command is unreleased: the versions
                       cannot be compared

error   Deployment shop/web
        Too many: must have at most 1 attachment of network "canal" in namespace
        "shop" (has 2); ask a cluster administrator to set the namespace's
        annotation "cni-genie.io/max-per-network" to 2
"""


def with_images(objects: dict[str, Any]) -> dict[str, Any]:
    """Return the cluster with an image that has no version."""
    image = "cni-genie:dev"
    agents = [workload("DaemonSet", "genie-agent", 2, 2, image)]
    webhooks = [workload("Deployment", "genie-webhook", 2, 2, image)]
    return {**objects, f"{APPS}/daemonsets": agents, f"{APPS}/deployments": webhooks}


def test_workloads_that_an_upgrade_would_refuse_are_listed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each where its author can change it: pods of a controller are not."""
    monkeypatch.setattr("cli.session.own_version", lambda: "unreleased")
    limit = ("preflight", "--max-per-network", "1")
    objects = with_images(cluster())
    objects["/api/v1/nodes"] = [
        {**each, "metadata": {**each["metadata"], "annotations": {}}}
        for each in objects["/api/v1/nodes"]
    ]
    result = run("preflight", objects=objects)
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (
        0,
        "No workload would be refused.",
    )
    result = run(*limit, objects=objects)
    assert (result.exit_code, result.stdout) == (1, TABLE)
    actual = json.loads(run(*limit, "-o", "json", objects=objects).stdout)
    assert [each["subject"] for each in actual["workloads"]] == ["Deployment shop/web"]
    assert {each["subject"] for each in actual["checks"]} >= {"API server", "runtime"}


def test_the_webhooks_own_limits_count_where_none_is_given(run: Run) -> None:
    """From the ConfigMap of its Deployment, and over it, from its variables."""
    webhook = workload("Deployment", "genie-webhook", 2, 2)
    [container, _] = webhook["spec"]["template"]["spec"]["containers"]
    container["envFrom"] = [{"configMapRef": {"name": "genie-webhook-x"}}]
    settings = {"GENIE_MAX_ATTACHMENTS": "1", "GENIE_NETWORKS": "later"}
    objects = {
        **cluster("canal,later"),
        f"{APPS}/deployments": [webhook],
        f"{GENIE}/configmaps/genie-webhook-x": {"data": settings},
    }
    result = run("preflight", "-o", "json", objects=objects)
    [finding] = [
        each for each in json.loads(result.stdout)["workloads"] if each["severity"] == "error"
    ]
    assert "must have at most 1 network in namespace" in finding["message"]
    container["env"] = [{"name": "GENIE_MAX_ATTACHMENTS", "value": "2"}]
    assert run("preflight", objects=objects).exit_code == 0


def cluster_session(objects: dict[str, Any]) -> Session:
    """Return what a command reads from a cluster that answers with *objects*."""
    session = object.__new__(Session)
    session.reader, session.genie = Reader(FakeAPI(objects)), "genie-system"
    return session


@pytest.mark.parametrize("workloads", [("DaemonSet", "Deployment"), ("DaemonSet",)])
def test_the_limits_are_those_of_the_charts_configmap(workloads: tuple[str, ...]) -> None:
    """The rendered Deployment refers to its keys; without a webhook the policies have the same."""
    data = {"max-attachments": "8", "max-per-network": "3", "limits": "warn"}
    objects: dict[str, Any] = {
        f"{APPS}/{kind.lower()}s": [
            each for each in manifests.GENIE if each["kind"] == kind and kind in workloads
        ]
        for kind in ("DaemonSet", "Deployment")
    }
    objects |= {
        f"{GENIE}/configmaps/{name}": manifests.installed("ConfigMap", name)
        for name in ("genie", "genie-webhook")
    }
    assert cluster_session(objects).limits == Limits()
    objects[f"{GENIE}/configmaps/genie"] = {"data": data}
    assert cluster_session(objects).limits == Limits(8, 3, are_enforced=False)


def test_a_limit_has_the_same_name_in_the_configmap_and_in_the_webhook() -> None:
    """The command finds the variable of a key by its name."""
    [container] = manifests.installed("Deployment", "genie-webhook")["spec"]["template"]["spec"][
        "containers"
    ]
    references = [
        (each["name"], each["valueFrom"]["configMapKeyRef"])
        for each in container["env"]
        if "configMapKeyRef" in each.get("valueFrom", {})
    ]
    assert len(references) == 3
    for variable, reference in references:
        assert (reference["name"], variable_of(reference["key"])) == ("genie", variable)


def test_limits_that_only_warn_refuse_no_workload(run: Run) -> None:
    """The limits that are given for the check do not change that."""
    objects = with_images(cluster())
    objects[f"{GENIE}/configmaps/genie"] = {"data": {"limits": "warn", "max-per-network": "1"}}
    for limit in ((), ("--max-attachments", "1")):
        result = run("preflight", *limit, "-o", "json", objects=objects)
        severities = {each["severity"] for each in json.loads(result.stdout)["workloads"]}
        assert (result.exit_code, severities) == (0, {"warning"})


def test_the_mode_of_definitions_and_what_there_is_come_from_the_cluster() -> None:
    """By the variables of the webhook's Deployment; a tenant's definition is judged by them."""
    webhook = workload("Deployment", "genie-webhook", 2, 2)
    [container, _] = webhook["spec"]["template"]["spec"]["containers"]
    blue = {"metadata": {"namespace": "shop", "name": "blue"}, "spec": {"config": '{"type":"ptp"}'}}
    objects = {
        f"{APPS}/deployments": [webhook],
        f"{APPS}/daemonsets": [],
        f"{GENIE}/configmaps/genie": {"data": {"default-network": "canal"}},
        "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions": [blue],
    }

    def read(**variables: str) -> DefinitionContext:
        container["env"] = [{"name": f"GENIE_{key}", "value": variables[key]} for key in variables]
        return cluster_session(objects).definitions

    assert read() == read(ATTACHMENT_DEFINITIONS_MODE="off") == DefinitionContext()
    trusting = read(
        ATTACHMENT_DEFINITIONS_MODE="enforce", SHARED_NAMESPACES="a,b", MULTUS_NAMESPACE="multus"
    )
    assert (trusting.mode, trusting.cluster_default) == ("enforce", "canal")
    assert trusting.multus_namespace == "multus"
    assert trusting.rules.shared == {"a", "b"}
    assert trusting.known is not None
    assert trusting.known["shop/blue"].refused == ""
    narrow = {"TRUSTED_NAMESPACES": ",", "MISSING_CAPABILITY": "cni-args"}
    strict = read(ATTACHMENT_DEFINITIONS_MODE="observe", **narrow)
    assert (strict.mode, strict.rules.allows_cni_args) == ("observe", True)
    assert strict.multus_namespace == "kube-system"
    assert strict.known is not None
    assert "is not trusted" in strict.known["shop/blue"].refused
    # Such a webhook does not start; the text of manifests can be checked all the same.
    assert read(ATTACHMENT_DEFINITIONS_MODE="enforce", TENANT_TEMPLATES="{").known is None


def test_networks_that_plugins_cannot_combine_are_found(run: Run) -> None:
    """By the plugin types that every node of the network reports."""
    objects = cluster("weave,weave")
    objects["/api/v1/nodes"] = objects["/api/v1/nodes"][:1]
    result = run("preflight", "-o", "json", objects=objects)
    [finding] = json.loads(result.stdout)["workloads"]
    assert finding["severity"] == "error"
    assert "weave-net" in finding["message"]


def test_a_developer_gets_the_workloads_of_his_namespace(run: Run) -> None:
    """And a note for each right that is missing."""
    own = [path.replace("/v1/", "/v1/namespaces/default/") for path in RESOURCES]
    objects: dict[str, Any] = {path: [] for path in own}
    objects |= {"/version": {"gitVersion": "v1.37.2"}, f"{GENIE}/pods": []}
    objects["/apis/apps/v1/namespaces/default/deployments"] = [deployment("@")]
    every = ("/api/v1/nodes", "/api/v1/namespaces", f"{APPS}/daemonsets", f"{APPS}/deployments")
    result = run("preflight", "-o", "json", objects=objects, forbidden=(*RESOURCES, *every))
    subjects = {each["subject"] for each in json.loads(result.stdout)["workloads"]}
    assert subjects == {"Deployment shop/web"}
    assert ", list deployments, " in result.stderr
