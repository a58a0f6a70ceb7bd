"""The parts of what is installed that several tests of the webhook need."""

from __future__ import annotations

from typing import Any

from tests.unit.manifests import CHART, component, template

WEBHOOK = {f"{one['kind']}/{one['metadata']['name']}": one for one in component("webhook")}
POLICY_OBJECTS = component("policies")
POLICIES = [one for one in POLICY_OBJECTS if one["kind"] == "ValidatingAdmissionPolicy"]
ENTRIES = {
    entry["name"]: entry
    for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
    for entry in WEBHOOK[f"{kind}/cni-genie"]["webhooks"]
}


def conditions(item: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: " ".join(one["expression"].split()) for one in item["matchConditions"]}


_WITHOUT_WEBHOOK_OBJECTS = [
    one
    for path in sorted((CHART / "templates" / "without-webhook").glob("*.yaml"))
    for one in template(path)
]
WITHOUT_WEBHOOK = {
    one["metadata"]["name"]: one["spec"]
    for one in _WITHOUT_WEBHOOK_OBJECTS
    if one["kind"].endswith("AdmissionPolicy")
}
POLICY_BINDINGS = {
    one["spec"]["policyName"]: one["spec"]
    for one in [*POLICY_OBJECTS, *_WITHOUT_WEBHOOK_OBJECTS]
    if one["kind"].endswith("AdmissionPolicyBinding")
}
"""The binding of each policy, by the policy's name."""


BINDINGS = "cni-genie-bindings"


def listed(keys_: tuple[str, ...]) -> str:
    return "[" + ", ".join(f"'{key}'" for key in keys_) + "].exists(key,"


def policy(name: str) -> dict[str, Any]:
    (item,) = (one for one in POLICIES if one["metadata"]["name"] == name)
    spec: dict[str, Any] = item["spec"]
    return spec


def variable(name: str, of: str = "cni-genie-pod-networks") -> str:
    return str(next(one["expression"] for one in policy(of)["variables"] if one["name"] == name))


def pod_spec() -> dict[str, Any]:
    spec: dict[str, Any] = WEBHOOK["Deployment/genie-webhook"]["spec"]["template"]["spec"]
    return spec


def policies_on_pods() -> list[dict[str, Any]]:
    policies = [one["spec"] for one in POLICIES if "-pod-" in one["metadata"]["name"]]
    others = [spec for name, spec in WITHOUT_WEBHOOK.items() if name != BINDINGS]
    return [*policies, *others]
