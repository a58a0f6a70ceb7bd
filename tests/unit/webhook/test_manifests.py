"""The manifests say what the code says: keys, paths, ports, names, and one shared exclusion."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dispatcher import keys
from tests.unit.manifests import MANIFESTS, attached
from tests.unit.webhook.manifests import (
    BINDINGS,
    ENTRIES,
    POLICIES,
    POLICY_BINDINGS,
    WEBHOOK,
    WITHOUT_WEBHOOK,
    conditions,
    listed,
    pod_spec,
    policies_on_pods,
    policy,
)
from webhook import ignored_keys
from webhook.objects import TEMPLATE_PATHS
from webhook.server import LAST_RESPONSES_SECONDS
from webhook.settings import WebhookSettings


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


def for_pods() -> list[dict[str, Any]]:
    entries = [one for one in ENTRIES.values() if one["clientConfig"]["service"]["path"] == "/pods"]
    return entries + policies_on_pods()


def excludes(item: dict[str, Any]) -> bool:
    """Return whether a condition holds only for pods that Genie attaches."""
    shared = " ".join(attached("object").split())
    for text in conditions(item).values():
        before, found, after = text.replace("oldObject", "object").partition(shared)
        for _ in range(before.count("(")):
            before = re.sub(r"\([^()]*\)", "", before)
        if found and not after and (not before or before.endswith(" && ")) and "||" not in before:
            return True
    return False


def test_one_exclusion_is_shared_by_webhook_and_policies() -> None:
    """What the one does not see, the other does not refuse."""
    assert f"?annotations[?'{keys.MIRROR}']" in attached("object")
    assert all(excludes(each) for each in for_pods())
    assert not excludes({"matchConditions": [{"name": "a", "expression": "true"}]})
    for part in ("true || false", "(true) || (false || true)"):
        weaker = {"name": "a", "expression": f"{part} && {attached('object')}"}
        assert not excludes({"matchConditions": [weaker]})


def test_the_excluded_namespaces_are_the_same_everywhere() -> None:
    """kube-system and our own."""
    selectors = [one["namespaceSelector"] for one in ENTRIES.values()]
    of_pods = [one["metadata"]["name"] for one in POLICIES if "-pod-" in one["metadata"]["name"]]
    selectors += [
        POLICY_BINDINGS[name]["matchResources"]["namespaceSelector"]
        for name in ("cni-genie-binding", *of_pods, *WITHOUT_WEBHOOK)
    ]
    for selector in selectors:
        assert selector["matchExpressions"][0] == {
            "key": "kubernetes.io/metadata.name",
            "operator": "NotIn",
            "values": ["kube-system", "genie-system"],
        }


def test_ignored_keys_are_those_that_the_webhook_warns_of() -> None:
    """A key in one list and not in the other would be a call without a warning."""
    sent = conditions(ENTRIES["pods.cni-genie.io"])["names-networks"]
    searched = re.findall(r"'([^']+)' in object\.metadata\.annotations", sent)
    assert searched == [keys.ANNOTATION, *ignored_keys.IGNORED_ON_PODS, keys.ATTACHMENTS]
    for name in ("templates", "cronjobs"):
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
    searched = conditions(own)["has-our-keys"]
    assert re.findall(r"'([^']+)' in object\.metadata\.annotations", searched) == [*keys.POD_KEYS]
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
    """Keys are spelled in dispatcher.keys; the chart repeats them letter by letter."""
    text = "".join(path.read_text() for path in MANIFESTS.rglob("*.yaml"))
    ours = set(re.findall(r"(?<![/\w.-])[\w.-]*cni-genie\.io/[a-z-]*", text))  # no address
    assert ours == {
        keys.ALLOWED,
        keys.ATTACHMENTS,
        keys.CHOOSE,
        keys.ATTACHMENTS_LABEL,
        keys.DEFAULTED,
        keys.SCHEDULING,
        keys.MAX_ATTACHMENTS,
        keys.MAX_PER_NETWORK,
        keys.HOST_PORTS,
        keys.NETWORK_LABEL,
        keys.PLUGIN_TYPES,
        keys.REMOVAL,
        "cni-genie.io/webhook",
        "cni-genie.io/cni",
        ignored_keys.PREFIX,
    }


def test_the_pods_ports_are_the_settings_defaults() -> None:
    """And the probes ask the port that answers."""
    defaults = WebhookSettings()
    ports = {one["name"]: one["containerPort"] for one in pod_spec()["containers"][0]["ports"]}
    assert ports == {"https": defaults.port, "probes": defaults.probe_port}


def test_the_pods_have_time_to_drain() -> None:
    """The drain and the last responses fit into the grace period."""
    seconds = WebhookSettings().drain_seconds + LAST_RESPONSES_SECONDS
    assert pod_spec()["terminationGracePeriodSeconds"] > seconds


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
    data = WEBHOOK["ConfigMap/genie-webhook"]["data"]
    assert data
    for name in data:
        assert name.removeprefix("GENIE_").lower() in WebhookSettings.model_fields
