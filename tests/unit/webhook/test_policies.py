"""The policies hold the limits, patterns and keys of the code."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from certs import CertificateSettings
from certs.authority import issue_ca
from certs.ca_secret import CASecret, render
from dispatcher import annotation, keys
from dispatcher.node.settings import NodeSettings
from tests.unit.manifests import MANIFESTS, installed
from tests.unit.webhook.manifests import (
    ENTRIES,
    POLICIES,
    POLICY_OBJECTS,
    WEBHOOK,
    WITHOUT_WEBHOOK,
    conditions,
    listed,
    pod_spec,
    policies_on_pods,
    policy,
    variable,
)
from webhook import affinity, ignored_keys, limits, namespaces
from webhook.objects import parse_pod
from webhook.settings import WebhookSettings


def test_the_policys_limits_are_the_grammars() -> None:
    """Bytes, items, and the length of an allow-list."""
    assert f"<= {annotation.MAX_BYTES}" in variable("short")
    assert f"<= {annotation.MAX_ITEMS}" in variable("few")
    assert f"<= {namespaces.MAX_ALLOWED}" in variable("allowed")
    updates = conditions(WITHOUT_WEBHOOK["cni-genie-updates"])
    for name in ("had-networks", "short"):
        assert f"<= {annotation.MAX_BYTES}" in updates[name]


LIMITS = "cni-genie-pod-limits"
VALIDATION = ("expression", "messageExpression")
NEW_PODS = ("pods", "defaults")


def cluster_limits() -> dict[str, str]:
    result = installed("ConfigMap", "genie")["data"]
    return {key: result[key] for key in ("max-attachments", "max-per-network", "limits")}


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
    limits_alone = {
        name: source for name, source in environment.items() if "configMapKeyRef" in source
    }
    assert limits_alone == {
        f"GENIE_{key.upper().replace('-', '_')}": {
            "configMapKeyRef": {"name": "genie", "key": key, "optional": True}
        }
        for key in cluster_limits()
    }


def documented_patches() -> list[list[dict[str, Any]]]:
    """Return the patches of each kustomization that docs/namespaces.md shows for the limits."""
    text = (MANIFESTS.parent / "docs" / "namespaces.md").read_text()
    part = text.partition("## Limits per pod\n")[2]
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
    policies = {f"{one['kind']}/{one['metadata']['name']}": one for one in POLICY_OBJECTS}
    for one in patches:
        body = yaml.safe_load(one["patch"])
        if "target" in one:
            name = f"{one['target']['kind']}/{one['target']['name']}"
            policies[name] = jsonpatch.apply_patch(policies[name], body)
        else:
            assert (body["kind"], body["metadata"]["name"]) == ("ConfigMap", "genie")
            data |= body["data"]
    expected = cluster_limits() | data
    assert expected != cluster_limits()
    variables = policies[f"ValidatingAdmissionPolicy/{LIMITS}"]["spec"]["variables"]
    assert variables[:2] == [
        {"name": "clusterMaxAttachments", "expression": expected["max-attachments"]},
        {"name": "clusterMaxPerNetwork", "expression": expected["max-per-network"]},
    ]
    actions = policies[f"ValidatingAdmissionPolicyBinding/{LIMITS}"]["spec"]["validationActions"]
    assert actions == {"enforce": ["Deny"], "warn": ["Warn", "Audit"]}[expected["limits"]]


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
    result = re.findall(r'^[A-Z_]+ = "(\S+)"\n"""On a namespace:', text, re.MULTILINE)
    assert {keys.ANNOTATION, *result} == set(keys.NAMESPACE_KEYS)


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
    assert {result.replace("\\\\", "\\") for result in classes} == {escaped}


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


def test_policies_are_closed_and_have_no_parameters() -> None:
    """What must hold holds; a parameter that is missing would refuse every pod."""
    for one in POLICIES:
        assert one["spec"]["failurePolicy"] == "Fail"
        assert "paramKind" not in one["spec"]
        for validation in one["spec"]["validations"]:
            assert validation["message"], "messageExpression alone is dropped when it fails"
    bindings = [one for one in POLICY_OBJECTS if one["kind"].endswith("PolicyBinding")]
    assert {one["spec"]["policyName"] for one in bindings} == {
        one["metadata"]["name"] for one in POLICIES
    }
    assert all(one["spec"]["validationActions"] == ["Deny"] for one in bindings)


def test_no_pod_pays_for_a_message_that_it_does_not_get() -> None:
    """The API server evaluates each messageExpression, also where the rule holds."""
    for one in policies_on_pods():
        for each in one.get("validations", ()):
            rule, text = (" ".join(each.get(key, "").split()) for key in VALIDATION)
            assert not text or text.startswith(f"{rule} ? '' : ")


def test_each_policy_on_new_pods_has_one_condition() -> None:
    """Of several the API server evaluates all, for every pod."""
    for one in [*policies_on_pods(), *(ENTRIES[f"{name}.cni-genie.io"] for name in NEW_PODS)]:
        rules = one["rules"] if "rules" in one else one["matchConstraints"]["resourceRules"]
        if "CREATE" in rules[0]["operations"]:
            assert len(one["matchConditions"]) == 1


def test_no_write_pays_for_the_namespaces_of_a_policy_that_is_not_for_it() -> None:
    """The API server reads a policy's own selectors first, for every write of any object."""
    for spec in [*(one["spec"] for one in POLICIES), *WITHOUT_WEBHOOK.values()]:
        assert spec["matchConstraints"].keys() == {"resourceRules"}


def test_what_the_kubelet_writes_pays_for_two_comparisons() -> None:
    """The networks, and what the webhook wrote, are compared before anything else."""
    [changed] = conditions(policy("cni-genie-pod-networks-immutable")).values()
    compared = [f"metadata.?annotations[?'{key}']" for key in keys.POD_KEYS]
    differ = " || ".join(f"object.{each} != oldObject.{each}" for each in compared)
    assert changed.startswith(f"({differ}) && ")


def test_after_the_creation_nobody_writes_what_the_webhook_permitted() -> None:
    """In the modes in which nodes do not read it: they do after a change to ``enforce``."""
    written = f"object.metadata.?annotations[?'{keys.ATTACHMENTS}']"
    rule = policy("cni-genie-pod-networks-immutable")["validations"][-1]["expression"]
    assert rule == f"!{written}.hasValue() || {written} == {written.replace('o', 'oldO', 1)}"


def test_each_new_pod_is_held_by_one_of_two_policies() -> None:
    """That of pods with networks, or that of pods without; a forged annotation by the first."""
    [names] = conditions(policy("cni-genie-pod-networks")).values()
    [names_none] = conditions(policy("cni-genie-pod-defaults")).values()
    value = "object.metadata.?annotations[?'cni'].orValue('')"
    forged = f"object.metadata.?annotations[?'{keys.ATTACHMENTS}'].hasValue()"
    assert names.startswith(f"({value} != '' || {forged}) && ")
    assert names_none == names.replace(f"({value} != '' || {forged})", f"{value} == ''")


def test_the_two_ways_to_add_affinity_without_a_webhook_are_one() -> None:
    """CREATE and UPDATE have the same expression, letter by letter."""
    result = [str(one["mutations"][1]) for one in policies_on_pods() if "mutations" in one]
    assert len(result) == 2
    assert len(set(result)) == 1


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
            and (
                not at
                or annotation.is_interface_name(interface)
                or interface in annotation.RESERVED_INTERFACES
            )
            for network, at, interface in items
        )
    )


def test_the_policy_refuses_the_interfaces_that_the_grammar_reserves() -> None:
    """Its pattern takes them, so a rule of its own names each."""
    rules = [each["expression"] for each in policy("cni-genie-pod-networks")["validations"]]
    [listed] = re.findall(r"interfaces\.exists\(one, one in \[(.*)\]\)", "\n".join(rules))
    assert {name.strip(" '") for name in listed.split(",")} == annotation.RESERVED_INTERFACES
