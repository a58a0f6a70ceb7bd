"""The chart's hooks: `helm uninstall` and `helm test` run code of the image with few rights.

What they do is tested in tests/cluster/test_helm.py, on a cluster.
"""

from __future__ import annotations

from typing import Any

import pytest

from lifecycle.__main__ import _parser
from tests.devcluster.helm import render, template

VALUES = {"image": {"repository": "r/genie", "tag": "1"}, "imagePullSecrets": [{"name": "pull"}]}


def objects(name: str, **values: Any) -> dict[str, dict[str, Any]]:
    """Return the objects of one hook by kind."""
    return {
        each["kind"]: each
        for each in render({**VALUES, **values})
        if each["metadata"]["name"] == name
    }


def rights(*roles: dict[str, Any]) -> set[tuple[str, ...]]:
    return {
        (resource, verb, *rule.get("resourceNames", ()))
        for role in roles
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def pod_of(name: str, **values: Any) -> dict[str, Any]:
    spec: dict[str, Any] = objects(name, **values)["Job"]["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("name", ["genie-uninstall", "genie-test"])
def test_a_hook_runs_the_image_without_privilege_on_the_nodes_network(name: str) -> None:
    """Pod networks may be what is removed, or what does not work."""
    spec = pod_of(name)
    assert (spec["hostNetwork"], spec["serviceAccountName"]) == (True, name)
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    [container] = spec["containers"]
    assert container["image"] == "r/genie:1"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "volumes" not in spec


@pytest.mark.parametrize("name", ["genie-uninstall", "genie-test"])
def test_a_hooks_arguments_are_those_of_the_command(name: str) -> None:
    """The parser would exit for one that it does not know."""
    values = {
        "uninstall": {"ignoreNodes": ["n2", "n3"], "timeoutSeconds": 99},
        "test": {"namespace": "tests"},
    }
    [container] = pod_of(name, **values)["containers"]
    assert container["command"][:3] == ["python", "-m", "lifecycle"]
    options = _parser().parse_args([*container["command"][3:], *container["args"]])
    assert options.namespace == "genie-system"
    if name == "genie-uninstall":
        assert (options.ignore_nodes, options.timeout) == ("n2,n3", 99)
        assert (options.release, options.revision) == ("genie", "1")
    else:
        chosen = (options.pods_namespace, options.image, options.pull_secret)
        assert chosen == ("tests", "r/genie:1", ["pull"])


def test_the_rights_of_the_hooks_are_what_their_code_calls() -> None:
    """Both only read, except one ConfigMap, and the pods of the test in their own namespace."""
    uninstalling = objects("genie-uninstall")
    assert rights(uninstalling["ClusterRole"], uninstalling["Role"]) == {
        ("nodes", "list"),
        ("pods", "list"),
        ("configmaps", "get", "genie"),
        ("configmaps", "patch", "genie"),
    }
    testing, pods = objects("genie-test"), objects("genie-test-pods")
    names = ("genie-test-default", "genie-test-two", "genie-test-refused")
    assert rights(testing["ClusterRole"], testing["Role"]) == {
        ("nodes", "list"),
        ("configmaps", "get", "genie"),
    }
    assert rights(pods["Role"]) == {
        ("pods", "create"),
        ("pods", "get", *names),
        ("pods", "delete", *names),
    }
    assert pods["Role"]["metadata"]["namespace"] == "default"


def test_the_hook_is_not_scheduled_where_no_kubelet_answers() -> None:
    """No toleration is of every key: each pod tolerates the NoExecute of a node that is down."""
    taints = pod_of("genie-uninstall")["tolerations"]
    assert [each for each in taints if "key" not in each] == []
    keys = {each["key"] for each in taints}
    assert "node.kubernetes.io/unreachable" not in keys
    assert {
        "node-role.kubernetes.io/control-plane",
        "node.kubernetes.io/unschedulable",
        "node.kubernetes.io/not-ready",
    } <= keys


def test_without_the_hook_helm_deletes_the_objects_at_once() -> None:
    """As with --no-hooks; no account stays that nothing uses."""
    assert objects("genie-uninstall", uninstall={"hook": False}) == {}


def test_policies_alone_refuse_another_pod_in_the_test() -> None:
    """They do not know which networks exist."""
    version = {"kube_version": "1.36.0"}
    text = template({**VALUES, "webhook": {"enabled": False}}, **version).stdout  # type: ignore[arg-type]
    assert "- --without-webhook" in text


def test_the_test_is_not_in_the_releases_own_namespace() -> None:
    """Admission leaves that alone, so nothing would be refused."""
    result = template({**VALUES, "test": {"namespace": "genie-system"}})
    assert "test.namespace" in result.stderr
