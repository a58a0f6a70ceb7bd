"""The manifests match the code: images, commands, ports, paths, names and settings."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

from dispatcher import keys, plugin_types
from dispatcher.node.settings import NodeSettings

MANIFESTS = Path(__file__).parents[2] / "manifests"
NODE = MANIFESTS / "base" / "node"
DEFAULTS = NodeSettings(node_name="n")
NAMESPACE = "genie-system"


def documents(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def one(path: Path, kind: str) -> dict[str, Any]:
    [document] = [each for each in documents(path) if each["kind"] == kind]
    return document


def daemonset() -> dict[str, Any]:
    spec: dict[str, Any] = one(NODE / "daemonset.yaml", "DaemonSet")["spec"]["template"]["spec"]
    return spec


def container(name: str) -> dict[str, Any]:
    [spec] = [each for each in daemonset()["containers"] if each["name"] == name]
    return dict(spec)


def variables(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in spec["env"]}


@pytest.mark.parametrize("name", ["agent", "reaper"])
def test_every_variable_of_the_daemonset_is_a_setting(name: str) -> None:
    """A misspelled variable would be ignored."""
    known = {f"GENIE_{field.upper()}" for field in NodeSettings.model_fields}
    assert variables(container(name)).keys() <= known


@pytest.mark.parametrize("name", ["agent", "reaper"])
def test_every_command_is_a_module_of_ours(name: str) -> None:
    """The image is the one that overlays replace."""
    python, flag, module = container(name)["command"]
    assert (python, flag) == ("python", "-m")
    assert importlib.util.find_spec(module)
    assert container(name)["image"] == "cni-genie"


def test_the_keys_of_the_configmap_are_those_that_the_daemonset_uses() -> None:
    """Their names are those of the settings."""
    data = one(MANIFESTS / "base" / "settings.yaml", "ConfigMap")["data"]
    used = {
        each["valueFrom"]["configMapKeyRef"]["key"]: variable
        for name in ("agent", "reaper")
        for variable, each in variables(container(name)).items()
        if "configMapKeyRef" in each.get("valueFrom", {})
    }
    assert used.keys() == data.keys()
    for key, variable in used.items():
        assert variable == f"GENIE_{key.replace('-', '_').upper()}"


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
    assert [mount["name"] for mount in reaper["volumeMounts"]] == ["host"]
    assert "ports" not in reaper


def test_the_agent_starts_before_any_pod_network() -> None:
    """On every node, with any taints, in the node's own network."""
    spec = daemonset()
    assert spec["hostNetwork"] is True
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["priorityClassName"] == "system-node-critical"


def test_a_quota_admits_genies_priority_classes_in_its_namespace() -> None:
    """Some clusters allow these classes outside of kube-system only if a quota names them."""
    webhook = one(MANIFESTS / "base/webhook/deployment.yaml", "Deployment")["spec"]["template"]
    used = {daemonset()["priorityClassName"], webhook["spec"]["priorityClassName"]}
    quota = one(MANIFESTS / "base/quota.yaml", "ResourceQuota")
    assert quota["metadata"]["namespace"] == NAMESPACE
    [named] = quota["spec"]["scopeSelector"]["matchExpressions"]
    assert (named["scopeName"], named["operator"]) == ("PriorityClass", "In")
    assert set(named["values"]) == used


def test_rights_are_what_the_code_calls_and_no_more() -> None:
    """The agent may not read pods, and may not list or watch anything."""
    rules = one(NODE / "account.yaml", "ClusterRole")["rules"]
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
    }


def test_policies_name_the_agents_account_and_genies_keys() -> None:
    """No policy would apply to a renamed account."""
    account = one(NODE / "account.yaml", "ServiceAccount")["metadata"]["name"]
    user = f"system:serviceaccount:genie-system:{account}"
    assert daemonset()["serviceAccountName"] == account
    text = (NODE / "policies.yaml").read_text()
    policies = [e for e in documents(NODE / "policies.yaml") if e["kind"].endswith("Policy")]
    for policy in policies:
        [condition] = policy["spec"]["matchConditions"]
        assert condition["expression"] == f"request.userInfo.username == '{user}'"
        assert policy["spec"]["failurePolicy"] == "Fail"
    assert keys.NETWORK_LABEL in text
    assert keys.NETWORK_STATUS in text
    assert keys.PLUGIN_TYPES in text
    assert f"<= {plugin_types.MAX_BYTES}" in text
    bindings = [e for e in documents(NODE / "policies.yaml") if e["kind"].endswith("Binding")]
    assert {each["spec"]["policyName"] for each in bindings} == {
        each["metadata"]["name"] for each in policies
    }


COMPONENTS = sorted(MANIFESTS.glob("components/*/kustomization.yaml"))


@pytest.mark.parametrize("path", COMPONENTS, ids=lambda path: path.parent.name)
def test_every_component_has_an_overlay_and_patches_what_exists(path: Path) -> None:
    """It names existing containers and variables, and has a volume for each mount."""
    overlay = MANIFESTS / "overlays" / path.parent.name / "kustomization.yaml"
    assert documents(overlay)[0]["components"] == [f"../../components/{path.parent.name}"]
    known = {f"GENIE_{field.upper()}" for field in NodeSettings.model_fields}
    for patch in documents(path)[0]["patches"]:
        if "target" in patch:
            assert patch["target"] == {"kind": "ClusterRole", "name": "genie-agent"}
            continue
        body = yaml.safe_load(patch["patch"])
        assert (body["kind"], body["metadata"]["name"]) == ("DaemonSet", "genie-agent")
        spec = body["spec"]["template"]["spec"]
        volumes = {each["name"] for each in spec.get("volumes", [])}
        for each in spec["containers"]:
            assert each["name"] in {"agent", "reaper"}
            assert variables(each).keys() <= known
            assert {mount["name"] for mount in each.get("volumeMounts", [])} <= volumes


def effective(path: Path, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the variables with a value of a container, and its mounts, under a component.

    Mounts are by the path in the container, each with the path on the host.
    """
    values: dict[str, str] = {}
    mounts: dict[str, str] = {}
    volumes: dict[str, dict[str, Any]] = {}
    patches = [yaml.safe_load(each["patch"]) for each in documents(path)[0]["patches"]]
    specs = [body["spec"]["template"]["spec"] for body in patches if isinstance(body, dict)]
    for spec in (daemonset(), *specs):
        volumes |= {each["name"]: each for each in spec.get("volumes", [])}
        for each in spec["containers"]:
            if each["name"] == name:
                values |= {v["name"]: v["value"] for v in each.get("env", []) if "value" in v}
                mounts |= {m["mountPath"]: m["name"] for m in each.get("volumeMounts", [])}
    on_host = {
        place: volumes[volume]["hostPath"]["path"]
        for place, volume in mounts.items()
        if "hostPath" in volumes[volume]
    }
    return values, on_host


@pytest.mark.parametrize("path", COMPONENTS, ids=lambda path: path.parent.name)
def test_every_path_that_a_component_sets_is_mounted_where_the_host_has_it(path: Path) -> None:
    """Agent and reaper have the same paths: one installs what the other runs."""
    values, mounts = effective(path, "agent")
    assert all(place == host for place, host in mounts.items())
    for name in ("cni_bin_dir", "cni_conf_dir", "other_bin_dirs"):
        for place in filter(None, values.get(f"GENIE_{name.upper()}", "").split(",")):
            assert any(Path(place).is_relative_to(mount) for mount in mounts), place
    reaper, _ = effective(path, "reaper")
    shared = {key for key in values if key.endswith(("_DIR", "_DIRS"))}
    assert {key: reaper[key] for key in shared} == {key: values[key] for key in shared}
    assert not [key for key in values if "SOCKET" in key]


CHART = MANIFESTS / "chart"
"""Has objects only after Helm renders it; tests/cluster/test_chart.py compares them with these."""

EVERY = sorted(
    path
    for path in MANIFESTS.rglob("*.yaml")
    if path.parent.name != "examples" and not path.is_relative_to(CHART)
)


@pytest.mark.parametrize("path", EVERY, ids=lambda path: str(path.relative_to(MANIFESTS)))
def test_every_image_and_namespace_is_genies(path: Path) -> None:
    """Nothing is pulled from elsewhere or created elsewhere."""

    def walk(value: object) -> None:
        if isinstance(value, list):
            for each in value:
                walk(each)
        if isinstance(value, dict):
            assert value.get("image", "cni-genie") == "cni-genie"
            namespace = value.get("namespace", NAMESPACE)
            assert not isinstance(namespace, str) or namespace == NAMESPACE
            for each in value.values():
                walk(each)

    for document in documents(path):
        walk(document)


def test_every_kustomization_names_existing_files_and_all_files_of_its_folder() -> None:
    """A file without a reference would not be installed."""
    for path in MANIFESTS.rglob("kustomization.yaml"):
        [content] = documents(path)
        generated = [
            file for each in content.get("configMapGenerator", ()) for file in each.get("files", ())
        ]
        named = [*content.get("resources", ()), *content.get("components", ()), *generated]
        for name in named:
            assert (path.parent / name).exists(), f"{path}: {name}"
        own = {each.name for each in path.parent.iterdir() if each.is_file()} - {path.name}
        assert own <= set(named), path
