"""The Helm chart: what it renders, what it refuses, and that genie.yaml is what it renders.

tests/cluster/test_manifests.py sends what it renders to real API servers.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from dispatcher import keys
from dispatcher.nad.tenant_templates import read_templates
from dispatcher.node.settings import NodeSettings
from tests.cluster.support.chart_values import TENANTS
from tests.devcluster import helm
from tests.devcluster.build.imagebuild import PROJECT
from tests.devcluster.commands import run
from tests.devcluster.helm import GENIE_YAML, genie_yaml, render, template

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.devcluster.cluster import Cluster

IMAGE = {"image": {"repository": "cni-genie"}}
METRICS = {"podMonitor": True, "serviceMonitor": True, "rules": True, "dashboards": True}


def by_name(objects: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return *objects* by kind and name."""
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}


def test_genie_yaml_is_the_chart_with_the_defaults() -> None:
    """`make manifests` writes it again after a change of the chart."""
    assert genie_yaml() == GENIE_YAML.read_text()


REFUSED = [
    pytest.param({"image": {"repository": ""}}, "image.repository is empty", id="no image"),
    pytest.param(
        {"defaultNetwork": "canal", "ignoredNetworks": ["canal"]},
        'defaultNetwork "canal" is in ignoredNetworks too',
        id="an ignored default",
    ),
    pytest.param(
        {"certificates": "files"}, "certificateSecret is empty", id="files without a Secret"
    ),
    pytest.param(
        {"certificateSecret": "tls"}, 'certificates is not "files"', id="a Secret without files"
    ),
    pytest.param(
        {"certificateIssuer": {"name": "mine"}},
        'certificates is not "cert-manager"',
        id="an issuer without cert-manager",
    ),
    pytest.param(
        {"webhook": {"enabled": False, "hostNetwork": True}},
        "webhook.hostNetwork is true, but webhook.enabled is false",
        id="a host network without a webhook",
    ),
    pytest.param(
        {"webhook": {"enabled": False}, "certificates": "cert-manager"},
        "without a webhook there is no certificate",
        id="a certificate without a webhook",
    ),
    pytest.param(
        {"webhook": {"enabled": False}, "metrics": {"serviceMonitor": True}},
        "there is no webhook to monitor",
        id="a monitor without a webhook",
    ),
    pytest.param(
        {"webhook": {"enabled": False}, "attachmentDefinitions": {"mode": "observe"}},
        'attachmentDefinitions.mode is "observe", but webhook.enabled is false',
        id="definitions without a webhook",
    ),
    pytest.param(
        {"webhook": {"enabled": False}, "attachmentDefinitions": {"mode": "enforce"}},
        'attachmentDefinitions.mode is "enforce", but webhook.enabled is false',
        id="definitions attached without a webhook",
    ),
    pytest.param(
        {"attachmentDefinitions": {"mode": "on"}},
        "attachmentDefinitions/mode",
        id="an unknown mode of definitions",
    ),
    pytest.param(
        {"attachmentDefinitions": {"missingCapability": "allow"}},
        "attachmentDefinitions/missingCapability",
        id="an unknown rule for missing capabilities",
    ),
    pytest.param({"defaultNetwok": "canal"}, "defaultNetwok", id="a misspelled value"),
    pytest.param({"mode": "uninstall"}, "mode", id="an unknown mode"),
    pytest.param({"maxAttachments": 33}, "maxAttachments", id="a limit over 32"),
    pytest.param({"image": {"digest": "sha256:1"}}, "digest", id="a digest that is none"),
]


@pytest.mark.parametrize(("values", "sentence"), REFUSED)
def test_values_that_cannot_work_are_refused_with_a_sentence(
    values: dict[str, Any], sentence: str
) -> None:
    """By the schema, or by the chart where two values contradict each other."""
    image = {**IMAGE["image"], **values.get("image", {})}
    result = template({**values, "image": image})
    assert result.returncode != 0
    assert sentence in result.stderr


def test_policies_alone_need_kubernetes_1_36() -> None:
    """Older API servers have no MutatingAdmissionPolicies, and would ignore the defaults."""
    result = template({**IMAGE, "webhook": {"enabled": False}}, kube_version="1.35.0")
    assert result.returncode != 0
    assert "Kubernetes 1.36 or newer" in result.stderr


@pytest.mark.parametrize("namespace", ["default", "kube-system", "infra-42"])
def test_another_namespace_is_refused_with_a_sentence(namespace: str) -> None:
    """Policies, certificates and `kubectl genie` name ours."""
    result = template(IMAGE, namespace)
    assert result.returncode != 0
    assert f'the release\'s namespace is "{namespace}"' in result.stderr
    assert "--namespace genie-system --create-namespace" in result.stderr


def test_a_second_release_in_a_cluster_is_refused(cluster: Cluster) -> None:
    """Names of the cluster's objects are fixed, so it would take them from the first."""
    command: list[str | Path] = [helm.helm(), "install", "second", helm.CHART]
    options = [
        "--namespace",
        helm.NAMESPACE,
        "--dry-run=server",
        "--take-ownership",
        "--values",
        "-",
    ]
    result = run(
        [*command, *options], input=json.dumps(IMAGE), env=cluster.environment, check=False
    )
    assert result.returncode != 0
    assert 'this cluster has Genie already, as the release "genie"' in result.stderr


EVERYTHING = {
    **IMAGE,
    "defaultNetwork": "canal",
    "ignoredNetworks": ["storage"],
    "platform": "k3s",
    "certificates": "cert-manager",
    "webhook": {"hostNetwork": True, "settings": {"GENIE_LOG_LEVEL": "debug"}},
    "metrics": {**METRICS, "labels": {"release": "prometheus"}},
}
"""cert-manager, host network, k3s and metrics together."""


def test_values_of_several_kinds_combine() -> None:
    """What overlays could not: each of them was a whole installation."""
    objects = by_name(render(EVERYTHING))
    webhook = objects["Deployment", "genie-webhook"]["spec"]["template"]["spec"]
    assert webhook["hostNetwork"] is True
    assert webhook["volumes"][0]["secret"]["secretName"] == "genie-webhook-tls"
    agent = objects["DaemonSet", "genie-agent"]["spec"]["template"]["spec"]["containers"][0]
    variables = {each["name"] for each in agent["env"]}
    assert {"GENIE_LISTEN", "GENIE_CNI_BIN_DIR"} <= variables
    assert objects["ConfigMap", "genie"]["data"]["ignored-networks"] == "storage"
    settings = objects["ConfigMap", "genie-webhook"]["data"]
    assert (settings["GENIE_PORT"], settings["GENIE_LOG_LEVEL"]) == ("10443", "debug")
    for kind in ("PodMonitor", "ServiceMonitor", "PrometheusRule"):
        labels = [o["metadata"]["labels"] for (k, _), o in objects.items() if k == kind]
        assert labels
        assert all(each["release"] == "prometheus" for each in labels)


PLATFORMS = ["standard", "k3s", "rke2", "crio"]


def pod_of_the_agent(values: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = by_name(render({**IMAGE, **values}))["DaemonSet", "genie-agent"]["spec"]
    return dict(spec["template"]["spec"])


def variables(pod: dict[str, Any], name: str) -> dict[str, str]:
    """Return the variables of a container that have a value of their own."""
    [container] = [each for each in pod["containers"] if each["name"] == name]
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_variable_of_a_platform_is_a_setting(platform: str) -> None:
    """A misspelled variable would be ignored."""
    pod = pod_of_the_agent({"platform": platform})
    known = {f"GENIE_{each.name.upper()}" for each in dataclasses.fields(NodeSettings)}
    for name in ("agent", "reaper"):
        assert variables(pod, name).keys() <= known


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_path_of_a_platform_is_mounted_where_the_host_has_it(platform: str) -> None:
    """Agent and reaper have the same paths: one installs what the other runs."""
    pod = pod_of_the_agent({"platform": platform})
    agent, reaper = variables(pod, "agent"), variables(pod, "reaper")
    volumes = {each["name"]: each for each in pod["volumes"]}
    [container] = [each for each in pod["containers"] if each["name"] == "agent"]
    mounts = {
        each["mountPath"]: volumes[each["name"]]["hostPath"]["path"]
        for each in container["volumeMounts"]
        if "hostPath" in volumes[each["name"]]
    }
    assert all(place == host for place, host in mounts.items())
    for name in ("cni_bin_dir", "cni_conf_dir", "other_bin_dirs"):
        for place in filter(None, agent.get(f"GENIE_{name.upper()}", "").split(",")):
            assert any(Path(place).is_relative_to(mount) for mount in mounts), place
    shared = {key for key in agent if key.endswith(("_DIR", "_DIRS"))}
    assert {key: reaper[key] for key in shared} == {key: agent[key] for key in shared}
    assert not [key for key in agent if "SOCKET" in key]


def test_only_for_old_runtimes_may_agents_read_pods() -> None:
    """One right more, and nothing else."""

    def rules(values: dict[str, Any]) -> list[Any]:
        objects = by_name(render({**IMAGE, **values}))
        return list(objects["ClusterRole", "genie-agent"]["rules"])

    more = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    assert rules({"oldRuntimes": True}) == rules({}) + more


@pytest.mark.parametrize("mode", ["off", False])
def test_only_in_a_mode_do_agents_read_definitions(mode: object) -> None:
    """One right more, and the settings; YAML reads an unquoted off as false."""
    off = by_name(render({**IMAGE, "attachmentDefinitions": {"mode": mode}}))
    assert off == by_name(render(IMAGE))
    assert "k8s.cni.cncf.io" not in json.dumps(off["ClusterRole", "genie-agent"])

    observe = by_name(render({**IMAGE, "attachmentDefinitions": {"mode": "observe", **TENANTS}}))
    role = ("ClusterRole", "genie-agent")
    [rule] = [each for each in observe[role]["rules"] if each not in off[role]["rules"]]
    assert rule == {
        "apiGroups": ["k8s.cni.cncf.io"],
        "resources": ["network-attachment-definitions"],
        "verbs": ["list", "watch"],
    }
    role = ("ClusterRole", "genie-webhook")  # a miss of its cache costs one get
    [more] = [each for each in observe[role]["rules"] if each not in off[role]["rules"]]
    assert more == {**rule, "verbs": ["get", "list", "watch"]}
    [agent, reaper] = observe["DaemonSet", "genie-agent"]["spec"]["template"]["spec"]["containers"]
    texts = {each["name"]: each.get("value", "") for each in agent["env"]}
    assert texts["GENIE_ATTACHMENT_DEFINITIONS_MODE"] == "observe"
    assert texts["GENIE_TRUSTED_NAMESPACES"] == "kube-system,infra"
    [template] = read_templates(texts["GENIE_TENANT_TEMPLATES"])
    assert (template.types, template.name_prefix) == (["bridge"], "tenant-")
    assert "GENIE_TENANT_TEMPLATES" not in str(reaper)

    [webhook] = observe["Deployment", "genie-webhook"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "GENIE_ATTACHMENT_DEFINITIONS_MODE", "value": "observe"} in webhook["env"]
    names = ("MISSING_CAPABILITY", "MULTUS_NAMESPACE", "TRUSTED_NAMESPACES", "TENANT_TEMPLATES")
    shared = [f"GENIE_{name}" for name in names]
    for name in shared:  # agent and webhook decide alike
        assert {"name": name, "value": texts[name]} in webhook["env"]
    assert not [each for each in shared if each in json.dumps([*off.values()])]


def test_agent_and_webhook_get_the_mode_and_what_to_do_without_a_capability() -> None:
    """Both are variables of their pods, so that a changed value makes new ones."""
    values = {"mode": "enforce", "missingCapability": "cni-args", "multusNamespace": "multus"}
    objects = by_name(render({**IMAGE, "attachmentDefinitions": values}))
    for kind, name in (("DaemonSet", "genie-agent"), ("Deployment", "genie-webhook")):
        container = objects[kind, name]["spec"]["template"]["spec"]["containers"][0]
        texts = {each["name"]: each.get("value") for each in container["env"]}
        assert texts["GENIE_ATTACHMENT_DEFINITIONS_MODE"] == "enforce"
        assert texts["GENIE_MISSING_CAPABILITY"] == "cni-args"
        assert texts["GENIE_MULTUS_NAMESPACE"] == "multus"


def test_the_node_takes_those_pods_as_not_validated_that_the_webhook_does_not_see() -> None:
    """In the namespaces that its entries leave out; the second is that of the release."""
    objects = by_name(render({**IMAGE, "attachmentDefinitions": {"mode": "enforce"}}))
    agent = objects["DaemonSet", "genie-agent"]["spec"]["template"]["spec"]["containers"][0]
    texts = {each["name"]: each.get("value", "") for each in agent["env"]}
    pods = objects["MutatingWebhookConfiguration", "cni-genie"]["webhooks"][0]
    [left_out] = pods["namespaceSelector"]["matchExpressions"]
    assert texts["GENIE_EXCLUDED_NAMESPACES"].split(",") == left_out["values"]


def test_only_in_a_mode_is_the_webhook_asked_about_what_pods_select() -> None:
    """One condition more; every other pod is admitted without the webhook, as before."""
    key = ("MutatingWebhookConfiguration", "cni-genie")
    values = {"mode": "observe", "sharedNamespaces": ["common", "infra"]}
    off = by_name(render(IMAGE))[key]["webhooks"]
    observe = by_name(render({**IMAGE, "attachmentDefinitions": values}))
    changed = {
        entry["name"]: [" ".join(each["expression"].split()) for each in (old, new)]
        for entry, before in zip(observe[key]["webhooks"], off, strict=True)
        for new, old in zip(entry["matchConditions"], before["matchConditions"], strict=True)
        if new != old
    }
    assert changed.keys() == {"updates.cni-genie.io"}

    old, new = changed["updates.cni-genie.io"]
    [more] = re.findall(r" \|\| \[[^]]*\]\.exists\([^()]*\)", new)
    assert new.replace(more, "") == old
    for each in keys.SELECTION_KEYS:
        assert f"'{each}'" in more
    [webhook] = observe["Deployment", "genie-webhook"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "GENIE_SHARED_NAMESPACES", "value": "common,infra"} in webhook["env"]


def test_only_in_a_mode_is_the_webhook_asked_about_definitions() -> None:
    """One entry more, which never blocks a write; the others are as they were."""
    key = ("ValidatingWebhookConfiguration", "cni-genie")
    off = by_name(render(IMAGE))[key]["webhooks"]
    observe = by_name(render({**IMAGE, "attachmentDefinitions": {"mode": "observe"}}))
    [entry] = [each for each in observe[key]["webhooks"] if each not in off]
    assert len(observe[key]["webhooks"]) == len(off) + 1
    assert entry["failurePolicy"] == "Ignore"
    assert entry["clientConfig"]["service"]["path"] == "/definitions"
    assert entry["rules"][0]["resources"] == ["network-attachment-definitions"]


def test_the_chart_never_has_the_definitions_themselves() -> None:
    """An uninstall would delete the custom resource, and with it each definition of the cluster."""
    values = {**IMAGE, "attachmentDefinitions": {"mode": "observe"}}
    kinds = [each for each in render(values) if each["kind"] == "CustomResourceDefinition"]
    assert [each["spec"]["group"] for each in kinds] == ["cni-genie.io"]
    assert not (helm.CHART / "crds").exists()


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"metrics": {"podMonitor": True}}, id="by the monitor"),
        pytest.param({"agent": {"metricsOnNodeAddress": True}}, id="by the value"),
    ],
)
def test_the_agents_metrics_are_on_the_nodes_address(values: dict[str, Any]) -> None:
    """The port has the name and number that the monitor finds, and probes follow."""
    objects = by_name(render({**IMAGE, "metrics": {"podMonitor": True}}))
    monitor = objects["PodMonitor", "genie-agent"]["spec"]
    [endpoint] = monitor["podMetricsEndpoints"]
    template = objects["DaemonSet", "genie-agent"]["spec"]["template"]
    assert monitor["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    # The metrics themselves do not say on which node they were taken.
    assert [each["targetLabel"] for each in endpoint["relabelings"]] == ["node"]
    assert endpoint["path"] == "/metrics"

    [agent, _] = pod_of_the_agent(values)["containers"]
    port = NodeSettings(node_name="n").port
    assert agent["ports"] == [{"name": endpoint["port"], "containerPort": port, "protocol": "TCP"}]
    listen = {"fieldRef": {"fieldPath": "status.hostIP"}}
    assert {"name": "GENIE_LISTEN", "valueFrom": listen} in agent["env"]
    for probe in ("livenessProbe", "readinessProbe"):
        assert "host" not in agent[probe]["httpGet"]


def test_with_cert_manager_the_webhook_loses_the_rights_it_does_not_need() -> None:
    """By an apply over what is installed: a Role that is left out would stay."""
    managed, with_cert_manager = (
        by_name(render({**IMAGE, "certificates": each})) for each in ("managed", "cert-manager")
    )
    role = ("Role", "genie-webhook")
    resources = {each["resources"][0] for each in with_cert_manager[role]["rules"]}
    assert resources == {"configmaps", "leases"}
    left_out = [
        each for each in managed[role]["rules"] if each not in with_cert_manager[role]["rules"]
    ]
    assert {each["resources"][0] for each in left_out} == {"secrets"}
    role = ("ClusterRole", "genie-webhook")
    [removed] = [
        rule for rule in managed[role]["rules"] if rule not in with_cert_manager[role]["rules"]
    ]
    assert removed == {
        "apiGroups": ["admissionregistration.k8s.io"],
        "resources": ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
        "resourceNames": ["cni-genie"],
        "verbs": ["patch"],
    }
    assert [
        rule for rule in with_cert_manager[role]["rules"] if rule not in managed[role]["rules"]
    ] == []


def test_networks_are_published_with_a_webhook_and_readable_unless_switched_off() -> None:
    """Without a webhook nobody would write the objects."""

    def of_networks(**webhook: Any) -> set[str]:
        objects = render({**IMAGE, "webhook": webhook}, kube_version="1.36.0")
        named = {f"{each['kind']}/{each['metadata']['name']}" for each in objects}
        return {
            each for each in named if ("networks" in each and "Role" in each) or "CustomR" in each
        }

    definition, role = (
        "CustomResourceDefinition/networks.cni-genie.io",
        "ClusterRole/genie-networks-view",
    )
    assert of_networks() == {definition, role, "ClusterRoleBinding/genie-networks-view"}
    assert of_networks(networksVisible=False) == {definition, role}
    assert of_networks(enabled=False) == set()


def test_only_where_it_is_allowed_may_genie_replace_multus() -> None:
    """As a setting of the agent; by default it is not set."""
    name = "GENIE_ALLOW_REPLACING_MULTUS"
    assert name not in variables(pod_of_the_agent({}), "agent")
    assert variables(pod_of_the_agent({"allowReplacingMultus": True}), "agent")[name] == "true"


def test_a_node_selector_of_the_agent_is_added_to_linux() -> None:
    """A staged rollout; no value makes the agent run on Windows."""
    chosen = {"rollout": "first", "kubernetes.io/os": "windows"}
    pod = pod_of_the_agent({"agent": {"nodeSelector": chosen}})
    assert pod["nodeSelector"] == {"rollout": "first", "kubernetes.io/os": "linux"}


def closed(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths of all objects of the schema that have named values."""
    if "properties" in schema:
        yield path
    for name, each in schema.get("properties", {}).items():
        yield from closed(each, (*path, name))


SCHEMA = json.loads((helm.CHART / "values.schema.json").read_text())


@pytest.mark.parametrize("path", list(closed(SCHEMA)), ids=lambda path: ".".join(path) or "top")
def test_a_misspelled_value_is_refused_in(path: tuple[str, ...]) -> None:
    """At every level, with its name."""
    values: dict[str, Any] = {"defaultNetwok": 1}
    for name in reversed(path):
        values = {name: values}
    result = template({**values, "image": {**IMAGE["image"], **values.get("image", {})}})
    assert result.returncode != 0
    assert "defaultNetwok" in result.stderr


def test_values_of_an_older_chart_without_the_new_defaults_are_refused(tmp_path: Path) -> None:
    """`helm upgrade --reuse-values` replaces the chart's values.yaml by that of the old chart.

    docs/upgrade.md has the sentence, and the flag that adds the new defaults.
    """
    chart = tmp_path / "chart"
    shutil.copytree(helm.CHART, chart)
    values = yaml.safe_load((chart / "values.yaml").read_text())
    del values["uninstall"], values["agent"]["settingsDelaySeconds"]
    (chart / "values.yaml").write_text(yaml.safe_dump(values))

    command: list[str | Path] = [helm.helm(), "template", helm.RELEASE, chart]
    options = ["--namespace", helm.NAMESPACE, "--set", "image.repository=any"]
    result = run([*command, *options], check=False)
    assert result.returncode != 0
    assert "- at '': missing property 'uninstall'" in result.stderr
    assert "- at '/agent': missing property 'settingsDelaySeconds'" in result.stderr
    page = (PROJECT / "docs" / "upgrade.md").read_text()
    assert "missing property 'settingsDelaySeconds'" in page


def test_every_value_is_required_described_and_has_a_default() -> None:
    """So that `helm show values` and the schema are complete."""
    defaults = yaml.safe_load((helm.CHART / "values.yaml").read_text())

    def check(schema: dict[str, Any], values: dict[str, Any], path: str) -> None:
        properties = schema["properties"]
        assert properties.keys() - {"global"} == values.keys() == set(schema["required"]), path
        for name, each in properties.items():
            assert each.get("description"), f"{path}{name}"
            nested = each.get("additionalProperties") is False and bool(values.get(name))
            if nested and name != "resources":
                check(each, values[name], f"{path}{name}.")

    check(SCHEMA, defaults, "")
