"""The manifests match the code: images, commands, ports, paths, names and settings."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from dispatcher import keys, plugin_types
from dispatcher.kube import removal_report
from dispatcher.node.settings import LIVE, NodeSettings
from tests.unit.manifests import CHART, GENIE, MANIFESTS, NAMESPACE, component, installed, template

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULTS = NodeSettings(node_name="n")
VERSION = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
IMAGE = f"cni-genie:{VERSION}"


def daemonset() -> dict[str, Any]:
    spec: dict[str, Any] = installed("DaemonSet", "genie-agent")["spec"]["template"]["spec"]
    return spec


def container(name: str) -> dict[str, Any]:
    [spec] = [each for each in daemonset()["containers"] if each["name"] == name]
    return dict(spec)


def variables(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in spec["env"]}


@pytest.mark.parametrize("name", ["agent", "reaper"])
def test_every_variable_of_the_daemonset_is_a_setting(name: str) -> None:
    """A misspelled variable would be ignored."""
    known = {f"GENIE_{each.name.upper()}" for each in dataclasses.fields(NodeSettings)}
    assert variables(container(name)).keys() <= known


@pytest.mark.parametrize("name", ["agent", "reaper"])
def test_every_command_is_a_module_of_ours(name: str) -> None:
    """The image is the one that a kustomization replaces."""
    python, flag, module = container(name)["command"]
    assert (python, flag) == ("python", "-m")
    assert importlib.util.find_spec(module)
    assert container(name)["image"] == IMAGE


@pytest.mark.parametrize("name", ["agent", "reaper"])
def test_the_configmap_is_mounted_where_agent_and_reaper_follow_it(name: str) -> None:
    """As a directory: a file that is mounted with subPath would never change."""
    [volume] = [each for each in daemonset()["volumes"] if each["name"] == "settings"]
    assert volume == {"name": "settings", "configMap": {"name": "genie"}}
    [mount] = [each for each in container(name)["volumeMounts"] if each["name"] == "settings"]
    path = variables(container(name))["GENIE_SETTINGS_DIR"]["value"]
    assert mount == {"name": "settings", "mountPath": path, "readOnly": True}


def test_the_keys_of_the_configmap_are_the_settings_that_may_change() -> None:
    """Earlier versions read the same keys as environment variables, so a rollback finds them."""
    data = installed("ConfigMap", "genie")["data"]
    assert set(data) == {name.replace("_", "-") for name in LIVE}


def test_probes_use_the_port_that_the_agent_serves() -> None:
    """On the address where the agent listens."""
    agent = container("agent")
    port = int(variables(agent)["GENIE_PORT"]["value"])
    assert port == DEFAULTS.port
    for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert agent[probe]["httpGet"] == {"host": DEFAULTS.listen, "port": port, "path": path}


def test_every_path_of_the_settings_is_mounted_where_the_host_has_it() -> None:
    """A path is the same in a log, in the conflist and on the node."""
    volumes = {
        volume["name"]: volume["hostPath"]["path"]
        for volume in daemonset()["volumes"]
        if "hostPath" in volume
    }
    mounts = {mount["name"]: mount["mountPath"] for mount in container("agent")["volumeMounts"]}
    for name, path in volumes.items():
        if name in mounts:
            assert mounts[name] == path
    host_paths = [Path(volumes[name]) for name in mounts if name in volumes]
    needed = (
        DEFAULTS.cni_bin_dir,
        DEFAULTS.cni_conf_dir,
        DEFAULTS.extra_conf_dir,
        DEFAULTS.state_dir,
        DEFAULTS.socket,
    )
    for path in needed:
        assert any(path.is_relative_to(mounted) for mounted in host_paths), path


def test_the_agent_has_a_token_and_few_rights_and_the_reaper_has_no_token() -> None:
    """Who takes over one container does not have both. The agent writes only to its mounts."""
    assert daemonset()["automountServiceAccountToken"] is False
    agent, reaper = container("agent"), container("reaper")
    assert agent["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["DAC_OVERRIDE"]},
    }
    assert "/" not in [mount["mountPath"] for mount in agent["volumeMounts"]]
    assert [mount["name"] for mount in reaper["volumeMounts"]] == ["host", "settings"]
    assert "ports" not in reaper


def test_the_agent_starts_before_any_pod_network() -> None:
    """On every node, with any taints, in the node's own network."""
    spec = daemonset()
    assert spec["hostNetwork"] is True
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["priorityClassName"] == "system-node-critical"


def test_a_quota_admits_genies_priority_classes_in_its_namespace() -> None:
    """Some clusters allow these classes outside of kube-system only if a quota names them."""
    webhook = installed("Deployment", "genie-webhook")["spec"]["template"]
    used = {daemonset()["priorityClassName"], webhook["spec"]["priorityClassName"]}
    quota = installed("ResourceQuota", "genie-critical-pods")
    assert quota["metadata"]["namespace"] == NAMESPACE
    [named] = quota["spec"]["scopeSelector"]["matchExpressions"]
    assert (named["scopeName"], named["operator"]) == ("PriorityClass", "In")
    assert set(named["values"]) == used


def test_rights_are_what_the_code_calls_and_no_more() -> None:
    """The agent may not read pods, and may not list or watch anything."""
    rules = installed("ClusterRole", "genie-agent")["rules"]
    granted = {
        (resource, verb)
        for rule in rules
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == {
        ("nodes", "get"),
        ("nodes", "patch"),
        ("pods/status", "patch"),
        ("events", "create"),
        ("events", "patch"),
    }


def test_policies_name_the_agents_account_and_genies_keys() -> None:
    """No policy would apply to a renamed account."""
    account = installed("ServiceAccount", "genie-agent")["metadata"]["name"]
    user = f"system:serviceaccount:genie-system:{account}"
    assert daemonset()["serviceAccountName"] == account
    objects = component("agent")
    policies = [each for each in objects if each["kind"].endswith("Policy")]
    text = str(policies)
    for policy in policies:
        [condition] = policy["spec"]["matchConditions"]
        assert condition["expression"] == f"request.userInfo.username == '{user}'"
        assert policy["spec"]["failurePolicy"] == "Fail"
    assert keys.NETWORK_LABEL in text
    assert text.count(f"k != '{keys.ATTACHMENTS_LABEL}'") == 2
    assert keys.NETWORK_STATUS in text
    assert keys.PLUGIN_TYPES in text
    assert f"<= {plugin_types.MAX_BYTES}" in text
    assert keys.REMOVAL in text
    assert f"<= {removal_report.MAX_BYTES}" in text
    bindings = [each for each in objects if each["kind"].endswith("PolicyBinding")]
    assert {each["spec"]["policyName"] for each in bindings} == {
        each["metadata"]["name"] for each in policies
    }


def walk(value: object) -> Iterator[dict[str, Any]]:
    """Yield every mapping in *value*."""
    if isinstance(value, list):
        for each in value:
            yield from walk(each)
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from walk(each)


@pytest.mark.parametrize(
    "document",
    [pytest.param(each, id=f"{each['kind']} {each['metadata']['name']}") for each in GENIE],
)
def test_every_image_and_namespace_is_genies(document: dict[str, Any]) -> None:
    """Nothing is pulled from elsewhere or created elsewhere."""
    for each in walk(document):
        assert each.get("image", IMAGE) == IMAGE
        namespace = each.get("namespace", NAMESPACE)
        assert not isinstance(namespace, str) or namespace == NAMESPACE


def test_the_kustomization_is_genie_yaml() -> None:
    """So that users can patch it, and both ways of applying install the same."""
    content = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())
    assert content["resources"] == ["genie.yaml"]
    assert content.keys() == {"apiVersion", "kind", "resources"}


def test_genie_yaml_creates_its_namespace_first() -> None:
    """`kubectl apply -f` creates objects in the order of the file."""
    first = GENIE[0]
    assert (first["kind"], first["metadata"]["name"]) == ("Namespace", NAMESPACE)
    assert first["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"


def test_a_template_with_other_actions_is_not_read(tmp_path: Path) -> None:
    """A test that read it without Helm would hold something else than what is installed."""
    file = tmp_path / "template.yaml"
    file.write_text("{{- if .Values.x }}\nkind: {{ .Values.kind }}\n{{- end }}\n")
    with pytest.raises(ValueError, match="other actions"):
        template(file)
