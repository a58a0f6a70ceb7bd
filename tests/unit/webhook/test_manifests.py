"""The manifests say what the code says: keys, paths, ports, names, and one shared exclusion."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from certs import CertificateSettings
from certs.authority import issue_ca
from certs.ca_secret import CASecret, render
from certs.metrics import CertificateMetrics
from dispatcher import annotation, keys
from dispatcher.node.settings import NodeSettings
from tests.unit.apiserver import Api
from tests.unit.webhook.test_service import Certificates
from webhook import affinity, ignored_keys, limits, namespaces
from webhook.objects import TEMPLATE_PATHS, parse_pod
from webhook.service import Service
from webhook.settings import WebhookSettings

MANIFESTS = Path(__file__).parents[3] / "manifests"
BASE = MANIFESTS / "base"


def documents(folder: Path) -> list[dict[str, Any]]:
    return [
        found
        for path in sorted(folder.glob("*.yaml"))
        if path.name != "kustomization.yaml"
        for found in yaml.safe_load_all(path.read_text())
    ]


WEBHOOK = {f"{one['kind']}/{one['metadata']['name']}": one for one in documents(BASE / "webhook")}
POLICIES = [
    one for one in documents(BASE / "policies") if one["kind"] == "ValidatingAdmissionPolicy"
]
ENTRIES = {
    entry["name"]: entry
    for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
    for entry in WEBHOOK[f"{kind}/cni-genie"]["webhooks"]
}


def conditions(found: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: " ".join(one["expression"].split()) for one in found["matchConditions"]}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_an_entry_is_harmless_when_we_are_down(entry: dict[str, Any]) -> None:
    """FailurePolicy Ignore, no side effects, and the one version that we speak."""
    assert entry["failurePolicy"] == "Ignore"
    assert entry["sideEffects"] == "None"
    assert entry["timeoutSeconds"] == 5
    assert entry["matchPolicy"] == "Equivalent"
    assert entry["admissionReviewVersions"] == ["v1"]
    assert "caBundle" not in entry["clientConfig"]


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_an_entry_leads_to_an_endpoint_of_the_service(entry: dict[str, Any]) -> None:
    """Path, Service and port are those that exist."""
    target = entry["clientConfig"]["service"]
    assert target["path"] in {"/pods", "/bindings", "/namespaces", "/workloads"}
    service = WEBHOOK[f"Service/{target['name']}"]
    assert target["port"] in {port["port"] for port in service["spec"]["ports"]}


def test_mutating_entries_are_called_again_where_needed() -> None:
    """Another webhook may have changed the annotation after us."""
    mutating = WEBHOOK["MutatingWebhookConfiguration/cni-genie"]
    assert {entry["reinvocationPolicy"] for entry in mutating["webhooks"]} == {"IfNeeded"}


def test_both_configurations_are_labelled_for_the_certificates() -> None:
    """The label by which caBundle is kept."""
    for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        labels = WEBHOOK[f"{kind}/cni-genie"]["metadata"]["labels"]
        assert labels["cni-genie.io/webhook"] == "true"


WITHOUT_WEBHOOK = {
    one["metadata"]["name"]: one["spec"]
    for one in documents(MANIFESTS / "overlays/without-webhook")
    if one["kind"].endswith("AdmissionPolicy")
}


BINDINGS = "cni-genie-bindings"


def policies_on_pods() -> list[dict[str, Any]]:
    policies = [one["spec"] for one in POLICIES if "-pod-" in one["metadata"]["name"]]
    others = [spec for name, spec in WITHOUT_WEBHOOK.items() if name != BINDINGS]
    return [*policies, *others]


def for_pods() -> list[dict[str, Any]]:
    entries = [one for one in ENTRIES.values() if one["clientConfig"]["service"]["path"] == "/pods"]
    return entries + policies_on_pods()


def test_one_exclusion_is_shared_by_webhook_and_policies() -> None:
    """What the one does not see, the other does not refuse."""
    shared = {"not-host-network", "not-mirror", "not-windows"}
    seen = {
        name: {
            text.replace("oldObject", "object")
            for one in for_pods()
            for key, text in conditions(one).items()
            if key == name
        }
        for name in shared
    }
    assert all(len(texts) == 1 for texts in seen.values())
    assert all(shared <= set(conditions(one)) for one in for_pods())
    assert keys.MIRROR in next(iter(seen["not-mirror"]))


def test_the_excluded_namespaces_are_the_same_everywhere() -> None:
    """kube-system and our own."""
    selectors = [one["namespaceSelector"] for one in ENTRIES.values()]
    policies = [*policies_on_pods(), policy("cni-genie-binding"), WITHOUT_WEBHOOK[BINDINGS]]
    selectors += [one["matchConstraints"]["namespaceSelector"] for one in policies]
    for selector in selectors:
        assert selector["matchExpressions"][0] == {
            "key": "kubernetes.io/metadata.name",
            "operator": "NotIn",
            "values": ["kube-system", "genie-system"],
        }


def listed(keys_: tuple[str, ...]) -> str:
    return "[" + ", ".join(f"'{key}'" for key in keys_) + "].exists(key,"


def test_ignored_keys_are_those_that_the_webhook_warns_of() -> None:
    """A key in one list and not in the other would be a call without a warning."""
    for name in ("pods", "templates", "cronjobs"):
        condition = conditions(ENTRIES[f"{name}.cni-genie.io"])["names-networks"]
        assert listed(ignored_keys.IGNORED_ON_PODS) in condition
    namespace = conditions(ENTRIES["namespaces.cni-genie.io"])["ours-changed"]
    assert listed(ignored_keys.NAMESPACE_NEAR_MISSES) in namespace
    assert listed((keys.DEFAULTED, *keys.NAMESPACE_KEYS)) in namespace
    assert listed(keys.NAMESPACE_KEYS) in namespace
    assert f"key.startsWith('{ignored_keys.PREFIX}')" in namespace


def test_bindings_lose_the_keys_that_the_policy_refuses() -> None:
    """A key that is not removed would keep a scheduler that sends it from binding any pod."""
    entry = ENTRIES["bindings.cni-genie.io"]
    overlay = WITHOUT_WEBHOOK[BINDINGS]
    own = policy("cni-genie-binding")
    assert entry["rules"] == overlay["matchConstraints"]["resourceRules"]
    assert entry["rules"] == own["matchConstraints"]["resourceRules"]
    fixed = listed(keys.POD_KEYS)
    assert conditions(entry) == conditions(overlay)
    assert fixed in conditions(entry)["has-our-keys"]
    (mutation,) = overlay["mutations"]
    assert mutation["jsonPatch"]["expression"].startswith(fixed.partition(".exists")[0])
    refused = [one["expression"] for one in own["validations"]]
    assert refused == [
        f"!object.metadata.?annotations[?'{key}'].hasValue()" for key in keys.POD_KEYS
    ]


def test_the_workloads_sent_are_those_that_are_validated() -> None:
    """Every kind has a rule, every rule a kind."""
    plurals = {
        resource
        for entry in ENTRIES.values()
        if entry["clientConfig"]["service"]["path"] == "/workloads"
        for rule in entry["rules"]
        for resource in rule["resources"]
    }
    assert plurals == {f"{kind.lower()}s" for kind in TEMPLATE_PATHS}


def test_no_expression_uses_a_key_that_is_not_ours() -> None:
    """Keys are spelled in dispatcher.keys; base and overlays repeat them letter by letter."""
    text = "".join(path.read_text() for path in MANIFESTS.rglob("*.yaml"))
    ours = set(re.findall(r"[\w.-]*cni-genie\.io/[a-z-]*", text))
    assert ours == {
        keys.ALLOWED,
        keys.ATTACHMENTS,
        keys.DEFAULTED,
        keys.SCHEDULING,
        keys.MAX_ATTACHMENTS,
        keys.MAX_PER_NETWORK,
        keys.NETWORK_LABEL,
        keys.PLUGIN_TYPES,
        "cni-genie.io/webhook",
        "cni-genie.io/cni",
        ignored_keys.PREFIX,
    }


def policy(name: str) -> dict[str, Any]:
    (found,) = (one for one in POLICIES if one["metadata"]["name"] == name)
    spec: dict[str, Any] = found["spec"]
    return spec


def variable(name: str, of: str = "cni-genie-pod-networks") -> str:
    return str(next(one["expression"] for one in policy(of)["variables"] if one["name"] == name))


def test_the_policys_limits_are_the_grammars() -> None:
    """Bytes, items, and the length of an allow-list."""
    assert f"<= {annotation.MAX_BYTES}" in variable("short")
    assert f"<= {annotation.MAX_ITEMS}" in variable("few")
    assert f"<= {namespaces.MAX_ALLOWED}" in variable("allowed")
    updates = conditions(WITHOUT_WEBHOOK["cni-genie-updates"])
    for name in ("had-networks", "short"):
        assert f"<= {annotation.MAX_BYTES}" in updates[name]


LIMITS = "cni-genie-pod-limits"


def cluster_limits() -> dict[str, str]:
    found = yaml.safe_load((BASE / "settings.yaml").read_text())["data"]
    return {key: found[key] for key in ("max-attachments", "max-per-network", "limits")}


def test_the_limits_of_policy_webhook_and_agents_are_the_same() -> None:
    """Literals of the policy, the ConfigMap, and the defaults of both programs."""
    expected = {
        "max-attachments": variable("clusterMaxAttachments", LIMITS),
        "max-per-network": variable("clusterMaxPerNetwork", LIMITS),
        "limits": "enforce",
    }
    assert cluster_limits() == expected
    for settings in (WebhookSettings(), NodeSettings(node_name="n")):
        assert {key: str(getattr(settings, key.replace("-", "_"))) for key in expected} == expected
    assert limits.Limits() == (
        int(expected["max-attachments"]),
        int(expected["max-per-network"]),
        True,
    )
    for name in ("clusterMaxAttachments", "clusterMaxPerNetwork"):
        assert limits.parse_limit(variable(name, LIMITS))


def test_the_webhook_reads_its_limits_where_the_agents_do() -> None:
    """From the ConfigMap genie, of which an older one may lack them."""
    environment = {one["name"]: one["valueFrom"] for one in pod_spec()["containers"][0]["env"]}
    assert environment == {
        f"GENIE_{key.upper().replace('-', '_')}": {
            "configMapKeyRef": {"name": "genie", "key": key, "optional": True}
        }
        for key in cluster_limits()
    }


def documented_patches() -> list[list[dict[str, Any]]]:
    """Return the patches of each kustomization that docs/admission.md shows for the limits."""
    text = (MANIFESTS.parent / "docs" / "admission.md").read_text()
    (part,) = re.findall(r"^## Limits per pod$(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    return [
        yaml.safe_load(block)["patches"]
        for block in re.findall(r"```yaml\n(.*?)```", part, re.DOTALL)
    ]


@pytest.mark.parametrize("patches", documented_patches(), ids=["numbers", "warn"])
def test_the_documented_patch_changes_policy_webhook_and_agents_together(
    patches: list[dict[str, Any]],
) -> None:
    """One that misses its target would leave the webhook and the policies at odds."""
    data: dict[str, str] = {}
    policies = {
        f"{one['kind']}/{one['metadata']['name']}": one for one in documents(BASE / "policies")
    }
    for one in patches:
        body = yaml.safe_load(one["patch"])
        if "target" in one:
            name = f"{one['target']['kind']}/{one['target']['name']}"
            policies[name] = jsonpatch.apply_patch(policies[name], body)
        else:
            assert (body["kind"], body["metadata"]["name"]) == ("ConfigMap", "genie")
            data |= body["data"]
    wanted = cluster_limits() | data
    assert wanted != cluster_limits()
    variables = policies[f"ValidatingAdmissionPolicy/{LIMITS}"]["spec"]["variables"]
    assert variables[:2] == [
        {"name": "clusterMaxAttachments", "expression": wanted["max-attachments"]},
        {"name": "clusterMaxPerNetwork", "expression": wanted["max-per-network"]},
    ]
    actions = policies[f"ValidatingAdmissionPolicyBinding/{LIMITS}"]["spec"]["validationActions"]
    assert actions == {"enforce": ["Deny"], "warn": ["Warn", "Audit"]}[wanted["limits"]]


@given(st.integers(-1, 99).map(str) | st.text("0123456789+ \n\u0663", max_size=4))
def test_the_policys_limits_are_read_like_the_webhooks(value: str) -> None:
    """The pattern comes before int(), which would fail on anything else."""
    for name in ("maxAttachments", "maxPerNetwork"):
        expression = " ".join(variable(name, LIMITS).split())
        written = f"variables.writtenM{name[1:]}"
        pattern = re.search(r"matches\('\^(.*?)\$'\)", expression)
        assert pattern
        assert expression.startswith(
            f"size({written}) <= 2 && {written}.matches('^{pattern[1]}$') ?"
        )
        matches = len(value) <= 2 and re.fullmatch(pattern[1], value) is not None
        assert matches is (limits.parse_limit(value) is not None)


def test_who_may_set_a_namespaces_keys_is_asked_for_each_of_them_and_for_the_whole_cluster() -> (
    None
):
    """A Role in the namespace may write the Namespace object: it must not be enough."""
    keys_of_a_namespace = listed(keys.NAMESPACE_KEYS)
    rules = policy("cni-genie-namespace-keys")
    assert keys_of_a_namespace in conditions(rules)["ours-changed"]
    assert keys_of_a_namespace in conditions(ENTRIES["namespaces.cni-genie.io"])["ours-changed"]
    assert keys_of_a_namespace.replace("exists", "filter") in " ".join(
        rules["variables"][0]["expression"].split()
    )
    (constraint,) = rules["matchConstraints"]["resourceRules"]
    assert constraint["resources"] == ["namespaces", "namespaces/*"]
    assert constraint["operations"] == ["CREATE", "UPDATE"]
    (rule,) = rules["validations"]
    texts = [variable("mayWriteAll", "cni-genie-namespace-keys"), rule["expression"]]
    checks = [re.findall(r"check\('([a-z-]+)'\)", text) for text in texts]
    assert checks == [["patch", "update"], ["set-networks"]], "three in one cost more than it may"
    assert ".namespace(" not in "".join(texts)


def test_every_key_of_a_namespace_is_validated_and_guarded() -> None:
    """A new one that is missing in the list could be set by anyone who may write the namespace."""
    text = Path(keys.__file__).read_text()
    found = re.findall(r'^[A-Z_]+ = "(\S+)"\n"""On a namespace:', text, re.MULTILINE)
    assert {keys.ANNOTATION, *found} == set(keys.NAMESPACE_KEYS)


@pytest.mark.parametrize("key", [key for key in keys.NAMESPACE_KEYS if key != keys.ANNOTATION])
def test_a_key_of_namespaces_is_warned_of_on_a_pod_and_as_a_label(key: str) -> None:
    """A new one that is missing in one of the lists would be ignored without a word."""
    pods = " ".join(ignored_keys.pod_warnings(parse_pod({"metadata": {"annotations": {key: "x"}}})))
    labels = " ".join(ignored_keys.namespace_warnings({"labels": {key: "x"}}, {}))
    assert (key in ignored_keys.IGNORED_ON_PODS, key in pods, key in labels) == (True, True, True)
    assert not [*ignored_keys.namespace_warnings({"annotations": {key: "x"}}, {})]


def test_the_policies_blanks_are_the_grammars() -> None:
    """Each class of characters that has one end of line or tab has all of them."""
    text = "".join(path.read_text() for path in MANIFESTS.rglob("*.yaml"))
    classes = set(re.findall(r"\[ (?:-~)?((?:\\{1,2}[a-z])+)\]", text))
    escaped = "".join({"\t": "\\t", "\r": "\\r", "\n": "\\n"}.get(c, "") for c in annotation.BLANKS)
    assert annotation.BLANKS[0] == " "
    assert {found.replace("\\\\", "\\") for found in classes} == {escaped}


def test_no_expression_loops_over_thousands_of_what_an_author_writes() -> None:
    """Its time grows with the square: 40,000 would keep the API server busy for ten seconds."""
    for entry in ENTRIES.values():
        if entry["clientConfig"]["service"]["path"] == "/workloads":
            not_managed = conditions(entry)["not-managed"]
            assert not_managed.startswith(
                "size(object.metadata.?ownerReferences.orValue([])) > 100 || "
            )
    loop = "object.metadata.?annotations.orValue({}).exists(key,"
    guard = f"(size(object.metadata.?annotations.orValue({{}})) <= 100 && {loop}"
    loops = [text for one in ENTRIES.values() for text in conditions(one).values() if loop in text]
    assert loops == [conditions(ENTRIES["namespaces.cni-genie.io"])["ours-changed"]]
    assert loops[0].count(loop) == loops[0].count(guard) == 1
    limit = f"size(variables.terms) <= {affinity.MAX_TERMS} && variables.terms.all("
    for name, expected in (
        ("cni-genie-pods", limit),
        ("cni-genie-alternatives", limit),
        ("cni-genie-updates", f"size(terms) <= {affinity.MAX_TERMS} && terms.all("),
    ):
        assert expected in str(WITHOUT_WEBHOOK[name])


def test_every_field_of_an_entry_but_its_bundle_is_kept_from_a_thief() -> None:
    """A field that the policy forgets is one that a stolen token may set."""
    rule = policy("cni-genie-webhook-configurations")["validations"][1]["expression"]
    fields = {key for entry in ENTRIES.values() for key in entry} - {"clientConfig", "name"}
    for field in fields | {"objectSelector"}:
        assert f"new.?{field} == old.?{field}" in rule
    for target in {key for entry in ENTRIES.values() for key in entry["clientConfig"]} | {"url"}:
        assert f"new.clientConfig.?{target} == old.clientConfig.?{target}" in rule
    assert "caBundle" not in rule


def test_the_webhooks_rights_are_capped_for_the_account_that_has_them() -> None:
    """A policy for an account that does not exist would never say no."""
    account = pod_spec()["serviceAccountName"]
    assert f"ServiceAccount/{account}" in WEBHOOK
    for name in ("rights", "configurations", "secret"):
        expected = f"request.userInfo.username == 'system:serviceaccount:genie-system:{account}'"
        assert conditions(policy(f"cni-genie-webhook-{name}")) == {"is-webhook": expected}


def test_the_secret_that_the_webhook_may_create_is_the_one_it_keeps() -> None:
    """By name, and of the type that no controller fills with a token."""
    (rule,) = policy("cni-genie-webhook-secret")["validations"]
    name = f"object.metadata.?name.orValue('') == '{CertificateSettings().secret}'"
    assert rule["expression"] == f"{name} && object.?type.orValue('Opaque') == 'Opaque'"
    now = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    ca = issue_ca("x", now=now, lifetime=60, backdating=0)
    assert render(CASecret(ca), None, name="x", namespace="x")["type"] == "Opaque"


def test_with_cert_manager_the_webhook_loses_the_rights_it_does_not_need() -> None:
    """By an apply over what is installed: a Role that is left out would stay."""
    overlay = MANIFESTS / "overlays" / "cert-manager" / "kustomization.yaml"
    patches = yaml.safe_load(overlay.read_text())["patches"]
    changes = {
        one["target"]["kind"]: yaml.safe_load(one["patch"])
        for one in patches
        if one.get("target", {}).get("kind") in {"Role", "ClusterRole"}
    }
    assert changes["Role"] == [{"op": "replace", "path": "/rules", "value": []}]
    rule = WEBHOOK["ClusterRole/genie-webhook"]["rules"][3]
    for change in changes["ClusterRole"]:
        assert change["path"].startswith("/rules/3")
        if change["op"] == "test":
            assert rule[change["path"].rpartition("/")[2]] == change["value"]
    assert changes["ClusterRole"][-1] == {"op": "remove", "path": "/rules/3"}
    assert rule["verbs"] == ["patch"]


def test_policies_are_closed_and_have_no_parameters() -> None:
    """What must hold holds; a parameter that is missing would refuse every pod."""
    for one in POLICIES:
        assert one["spec"]["failurePolicy"] == "Fail"
        assert "paramKind" not in one["spec"]
        for validation in one["spec"]["validations"]:
            assert validation["message"], "messageExpression alone is dropped when it fails"
    bindings = [
        one for one in documents(BASE / "policies") if one["kind"].endswith("PolicyBinding")
    ]
    assert {one["spec"]["policyName"] for one in bindings} == {
        one["metadata"]["name"] for one in POLICIES
    }
    assert all(one["spec"]["validationActions"] == ["Deny"] for one in bindings)


def pod_spec() -> dict[str, Any]:
    spec: dict[str, Any] = WEBHOOK["Deployment/genie-webhook"]["spec"]["template"]["spec"]
    return spec


def test_the_pods_ports_are_the_settings_defaults() -> None:
    """And the probes ask the port that answers."""
    defaults = WebhookSettings()
    ports = {one["name"]: one["containerPort"] for one in pod_spec()["containers"][0]["ports"]}
    assert ports == {"https": defaults.port, "probes": defaults.probe_port}


def test_the_pods_have_time_to_drain() -> None:
    """The drain and uvicorn's own end fit into the grace period."""
    assert pod_spec()["terminationGracePeriodSeconds"] > WebhookSettings().drain_seconds + 5


def test_the_pods_are_restricted() -> None:
    """Pod security's level "restricted", and a root file system that nobody can write."""
    container = pod_spec()["containers"][0]["securityContext"]
    assert pod_spec()["securityContext"]["runAsNonRoot"] is True
    assert pod_spec()["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_webhook_has_no_right_on_pods() -> None:
    """What it must know of a pod is in the review."""
    rules = [
        rule
        for one in WEBHOOK.values()
        if one["kind"] in {"Role", "ClusterRole"}
        for rule in one["rules"]
    ]
    assert not any("pods" in resource for rule in rules for resource in rule["resources"])
    assert "*" not in str(rules)


def test_settings_in_the_manifests_exist() -> None:
    """Each variable that the ConfigMap sets is a setting."""
    kustomization = yaml.safe_load((BASE / "webhook/kustomization.yaml").read_text())
    for literal in kustomization["configMapGenerator"][0]["literals"]:
        name = literal.partition("=")[0].removeprefix("GENIE_").lower()
        assert name in WebhookSettings.model_fields


def expressions() -> dict[str, str]:
    """Return every expression of the webhook's alerts and panels, by name or title."""
    folder = MANIFESTS / "monitoring"
    rules = yaml.safe_load((folder / "webhook-alerts.yaml").read_text())["spec"]["groups"]
    panels = json.loads((folder / "webhook-dashboard.json").read_text())["panels"]
    return {rule["alert"]: rule["expr"] for group in rules for rule in group["rules"]} | {
        panel["title"]: " ; ".join(target["expr"] for target in panel["targets"])
        for panel in panels
    }


FROM_THE_API_SERVER = {
    "apiserver_admission_webhook_fail_open_count": {"name", "type"},
    "apiserver_admission_match_condition_evaluation_errors_total": {
        "name", "kind", "type", "operation",
    },
    "apiserver_validating_admission_policy_check_total": {
        "policy", "policy_binding", "error_type", "enforcement_action",
    },
}  # fmt: skip
"""Its metrics, and their labels. That it has them is shown by tests/cluster."""


@pytest.mark.parametrize("expression", expressions().values(), ids=expressions())
def test_an_expression_names_metrics_and_labels_that_exist(expression: str) -> None:
    """One over a name that nobody exports would be empty, or silent, for ever."""
    known = {**FROM_THE_API_SERVER, **labels_of_metrics()}
    found = re.findall(r"((?:genie|apiserver)_[a-z_]+)(?:\{([^}]*)\})?", expression)
    assert found
    for name, selectors in found:
        assert set(re.findall(r"([a-z_]+)(?:=|!=|=~|!~)\"", selectors)) <= known[name]
    grouped = {part for by in re.findall(r"by \(([^)]*)\)", expression) for part in by.split(", ")}
    # Prometheus itself adds the pod, and le to the buckets of a histogram.
    assert grouped <= {"pod", "le"}.union(*(known[name] for name, _ in found))


def labels_of_metrics() -> dict[str, set[str]]:
    return {
        name: set(collector._labelnames)
        for registry in (service_registry(), certificate_registry())
        for name, collector in registry._names_to_collectors.items()
        if isinstance(collector, MetricWrapperBase)
    }


def service_registry() -> CollectorRegistry:
    service = Service(WebhookSettings(), Api().client(), Certificates())
    return service.registry


def certificate_registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    CertificateMetrics().register(registry)
    return registry


def test_every_alert_says_what_it_means() -> None:
    """Summary, description and severity."""
    alerts = [
        alert
        for one in documents(MANIFESTS / "monitoring")
        if one["kind"] == "PrometheusRule"
        for alert in one["spec"]["groups"][0]["rules"]
    ]
    assert len(alerts) >= 8
    for alert in alerts:
        assert set(alert["annotations"]) == {"summary", "description"}
        assert alert["labels"]["severity"] in {"warning", "critical"}
        assert alert["for"]


def test_the_two_ways_to_add_affinity_without_a_webhook_are_one() -> None:
    """CREATE and UPDATE have the same expression, letter by letter."""
    found = [str(one["mutations"][1]) for one in policies_on_pods() if "mutations" in one]
    assert len(found) == 2
    assert len(set(found)) == 1


@given(st.text("ab-._@,/é0", max_size=12) | st.text(max_size=6))
def test_the_policys_pattern_is_the_grammars(value: str) -> None:
    """What the pattern takes is made of names and interfaces that the parser takes."""
    pattern = re.search(r"matches\('\^(.*)\$'\)", variable("spelled"))
    assert pattern
    spelled = re.fullmatch(pattern[1], value) is not None
    items = [item.partition("@") for item in value.split(",")]
    assert spelled is (
        value == ""
        or all(
            annotation.is_network_name(network)
            and (not at or (annotation.is_interface_name(interface) or interface == "lo"))
            for network, at, interface in items
        )
    )
