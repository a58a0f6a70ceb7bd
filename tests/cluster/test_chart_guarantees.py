"""What holds whatever the values of the chart: few rights, restricted pods, one image.

tests/unit/test_manifests.py and tests/unit/webhook/test_manifests.py hold the same, and more, for
the defaults.
"""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.support.chart_values import COMBINATIONS, POLICIES_ALONE
from tests.devcluster.helm import NAMESPACE, render

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE = "registry.example/cni-genie:1.2.3"
EVERY = [*COMBINATIONS, *POLICIES_ALONE]
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def objects(values: dict[str, Any]) -> list[dict[str, Any]]:
    return _rendered(json.dumps(values))


@functools.cache  # each test asks for each combination
def _rendered(values: str) -> list[dict[str, Any]]:
    repository, _, tag = IMAGE.rpartition(":")
    image = {"repository": repository, "tag": tag}
    return render({**json.loads(values), "image": image}, kube_version="1.36.0")


def pods(values: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the pod template of each workload."""
    for each in objects(values):
        if each["kind"] in {"DaemonSet", "Deployment", "Job"}:
            yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def rules(values: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield each Role with each of its rules."""
    for each in objects(values):
        if each["kind"] in {"Role", "ClusterRole"}:
            for rule in each["rules"]:
                yield each, rule


@pytest.mark.parametrize("values", EVERY)
def test_every_pod_is_restricted_but_the_agents(values: dict[str, Any]) -> None:
    """Of these, one container has one capability and a token, the other privilege and no token."""
    workloads = dict(pods(values))
    agent, reaper = workloads.pop("genie-agent")["containers"]
    assert agent["securityContext"] == {
        **RESTRICTED,
        "capabilities": {"drop": ["ALL"], "add": ["DAC_OVERRIDE"]},
    }
    assert reaper["securityContext"] == {"privileged": True, "readOnlyRootFilesystem": True}
    assert [each["name"] for each in reaper["volumeMounts"] if each["name"] == "api"] == []

    assert workloads
    for pod in workloads.values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert [each["securityContext"] for each in pod["containers"]] == [RESTRICTED]
        assert not [each for each in pod.get("volumes", ()) if "hostPath" in each]
        assert "hostPID" not in pod


@pytest.mark.parametrize("values", EVERY)
def test_every_container_runs_the_one_image(values: dict[str, Any]) -> None:
    """Nothing else is pulled."""
    images = [each["image"] for _, pod in pods(values) for each in pod["containers"]]
    assert set(images) == {IMAGE}


@pytest.mark.parametrize("values", EVERY)
def test_no_role_has_a_wildcard_or_more_than_one_secret(values: dict[str, Any]) -> None:
    """Nor a right to give itself others; only one's own Secret can be read, by name."""
    for role, rule in rules(values):
        granted = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert "*" not in granted
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])
        assert rule["apiGroups"] != ["rbac.authorization.k8s.io"]
        if "secrets" in rule["resources"]:
            assert role["kind"] == "Role"
            assert rule["verbs"] == ["create"] or rule["resourceNames"] == ["genie-webhook-ca"]


@pytest.mark.parametrize("values", EVERY)
def test_every_account_that_may_write_in_the_cluster_is_policed(values: dict[str, Any]) -> None:
    """RBAC cannot limit a patch to one label: a policy for the account does."""
    rendered = objects(values)
    texts = [str(each["spec"]) for each in rendered if each["kind"].endswith("AdmissionPolicy")]
    bound = {
        each["roleRef"]["name"]: each["subjects"][0]["name"]
        for each in rendered
        if each["kind"] == "ClusterRoleBinding" and each["subjects"][0]["kind"] == "ServiceAccount"
    }
    for role, rule in rules(values):
        writes = {"create", "update", "patch", "delete"} & set(rule["verbs"])
        if role["kind"] == "ClusterRole" and writes and rule["resources"] != ["events"]:
            account = f"system:serviceaccount:{NAMESPACE}:{bound[role['metadata']['name']]}"
            assert any(account in text for text in texts), account


@pytest.mark.parametrize("values", EVERY)
def test_every_namespaced_object_is_in_our_namespace(values: dict[str, Any]) -> None:
    """But those of `helm test`, whose pods must be where Genie does not leave them alone."""
    for each in objects(values):
        if each["metadata"].get("labels", {}).get("app.kubernetes.io/component") != "test":
            assert each["metadata"].get("namespace", NAMESPACE) == NAMESPACE
