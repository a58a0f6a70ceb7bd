"""The Helm chart: what it renders, what it refuses, and that the API server takes it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.devcluster import helm
from tests.devcluster.build import gobuild
from tests.devcluster.build.imagebuild import PROJECT
from tests.devcluster.commands import run
from tests.devcluster.helm import NAMESPACE, render, template

MANIFESTS = PROJECT / "manifests"
IMAGE = {"image": {"repository": "cni-genie"}}
METRICS = {"podMonitor": True, "serviceMonitor": True, "rules": True, "dashboards": True}
CHECKSUM = "checksum/settings"
GENERATED = "genie-webhook"


def by_name(objects: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return *objects* by kind and name, without what only one of Helm and kustomize writes.

    Kustomize gives a generated ConfigMap a name with a hash, so that a change makes new pods; the
    chart has a checksum in the pods' annotations for that.
    """
    found = {}
    for each in json.loads(json.dumps(objects)):
        name = each["metadata"]["name"]
        if each["kind"].startswith(("Validating", "Mutating")):
            each["metadata"].pop("namespace", None)  # has no meaning for objects of the cluster
        if each["kind"] == "ConfigMap" and name.startswith(f"{GENERATED}-") and "data" in each:
            name = GENERATED if "GENIE_SCHEDULING" in each["data"] else name
            each["metadata"]["name"] = name
        if each["kind"] == "Deployment":
            pod = each["spec"]["template"]
            pod["metadata"].get("annotations", {}).pop(CHECKSUM, None)
            pod["metadata"].pop("annotations", None)
            for container in pod["spec"]["containers"]:
                for source in container["envFrom"]:
                    source["configMapRef"]["name"] = GENERATED
        found[each["kind"], name] = in_order(each)
    return found


def in_order(value: Any) -> Any:
    """Return *value* with its lists of named things (variables, mounts, …) in order of name."""
    if isinstance(value, dict):
        return {key: in_order(each) for key, each in value.items()}
    if not isinstance(value, list):
        return value
    values = [in_order(each) for each in value]
    if all(isinstance(each, dict) and "name" in each for each in values):
        values.sort(key=lambda each: (each["name"], each.get("mountPath", "")))
    return values


AS_BEFORE = [
    pytest.param({}, [""], id="the defaults"),
    pytest.param({"platform": "k3s"}, ["overlays/k3s"], id="k3s"),
    pytest.param({"platform": "rke2"}, ["overlays/rke2"], id="RKE2"),
    pytest.param({"platform": "crio"}, ["overlays/cri-o"], id="CRI-O"),
    pytest.param({"oldRuntimes": True}, ["overlays/old-runtimes"], id="old runtimes"),
    pytest.param(
        {"agent": {"metricsOnNodeAddress": True}}, ["overlays/agent-metrics"], id="agent metrics"
    ),
    pytest.param(
        {"webhook": {"hostNetwork": True}}, ["overlays/webhook-host-network"], id="host network"
    ),
    pytest.param({"webhook": {"enabled": False}}, ["overlays/without-webhook"], id="policies only"),
    pytest.param({"certificates": "cert-manager"}, ["overlays/cert-manager"], id="cert-manager"),
    pytest.param({"metrics": METRICS}, ["overlays/agent-metrics", "monitoring"], id="monitoring"),
]


@pytest.mark.parametrize(("values", "folders"), AS_BEFORE)
def test_the_chart_renders_the_objects_of_the_kustomization(
    values: dict[str, Any], folders: list[str]
) -> None:
    """Object by object, so that both ways of installing give the same Genie."""
    chart = by_name(render({**IMAGE, "createNamespace": True, **values}))
    kubectl = gobuild.build(gobuild.KUBERNETES) / "kubectl"
    texts = [run([kubectl, "kustomize", MANIFESTS / each]).stdout for each in folders]
    before = by_name([each for text in texts for each in yaml.safe_load_all(text) if each])
    assert chart.keys() == before.keys()
    for key, expected in before.items():
        assert chart[key] == expected, key


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
    done = template({**values, "image": image})
    assert done.returncode != 0
    assert sentence in done.stderr


def test_policies_alone_need_kubernetes_1_36() -> None:
    """Older API servers have no MutatingAdmissionPolicies, and would ignore the defaults."""
    done = template({**IMAGE, "webhook": {"enabled": False}}, kube_version="1.35.0")
    assert done.returncode != 0
    assert "Kubernetes 1.36 or newer" in done.stderr


def test_the_namespace_of_the_release_is_that_of_every_object_and_policy() -> None:
    """Names of our own namespace are in policies, bindings and certificates, too."""
    values = {**IMAGE, "metrics": METRICS, "certificates": "cert-manager"}
    text = template(values, "infra-42").stdout
    assert "genie-system" not in text
    renamed = text.replace("infra-42", NAMESPACE)
    assert list(yaml.safe_load_all(renamed)) == list(yaml.safe_load_all(template(values).stdout))


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


def test_a_changed_setting_makes_new_pods_of_the_webhook() -> None:
    """It reads its settings when it starts."""

    def checksum(values: dict[str, Any]) -> str:
        [pod] = [o["spec"]["template"] for o in render(values) if o["kind"] == "Deployment"]
        return str(pod["metadata"]["annotations"][CHECKSUM])

    changed = {**IMAGE, "webhook": {"scheduling": "off"}}
    assert checksum(IMAGE) == checksum({**IMAGE, "defaultNetwork": "canal"})
    assert checksum(IMAGE) != checksum(changed)


def test_every_value_is_described_and_has_a_default() -> None:
    """So that `helm show values` and the schema are complete."""
    defaults = yaml.safe_load((helm.CHART / "values.yaml").read_text())
    schema = json.loads((helm.CHART / "values.schema.json").read_text())

    def check(properties: dict[str, Any], values: dict[str, Any], path: str) -> None:
        assert properties.keys() - {"global"} == values.keys(), path
        for name, each in properties.items():
            assert each.get("description"), f"{path}{name}"
            nested = each.get("additionalProperties") is False and bool(values.get(name))
            if nested and name != "resources":
                check(each["properties"], values[name], f"{path}{name}.")

    check(schema["properties"], defaults, "")
