"""The manifests of networks.cni-genie.io say what the code writes, calls and needs."""

from __future__ import annotations

import re
from typing import Any

from dispatcher import keys, plugin_types
from dispatcher.annotation import MAX_NETWORK
from tests.unit.manifests import installed
from tests.unit.webhook.manifests import pod_spec, policy
from webhook import network_objects, network_reconciler
from webhook.network_objects import NetworkStatus
from webhook.service import NETWORKS_LEASE

SPEC: dict[str, Any] = installed("CustomResourceDefinition", keys.NETWORKS_RESOURCE)["spec"]
[VERSION] = SPEC["versions"]
SCHEMA: dict[str, Any] = VERSION["schema"]["openAPIV3Schema"]["properties"]
STATUS = NetworkStatus(1, 2, 3, is_default=True, plugin_types=("weave-net",)).to_json()


def rules(kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = installed(kind, "genie-webhook")["rules"]
    return found


def test_the_definition_is_what_the_code_calls() -> None:
    """Group, version, kind and scope are in the paths and bodies of the requests."""
    assert SPEC["group"] == keys.NETWORKS_GROUP
    assert VERSION["name"] == keys.NETWORKS_VERSION
    assert SPEC["names"]["kind"] == network_reconciler.KIND
    assert SPEC["scope"] == "Cluster"
    plural = SPEC["names"]["plural"]
    assert f"/apis/{SPEC['group']}/{VERSION['name']}/{plural}" == network_objects.NETWORKS


def test_the_schema_has_the_fields_that_the_webhook_writes() -> None:
    """The API server would drop any other: the webhook would write it again and again."""

    def check(schema: dict[str, Any], value: dict[str, Any]) -> None:
        assert schema["properties"].keys() == value.keys() == set(schema["required"])
        for name, each in schema["properties"].items():
            assert each["description"]
            if isinstance(value[name], dict):
                check(each, value[name])

    check(SCHEMA["status"], STATUS)
    assert SCHEMA["spec"]["properties"].keys() == {"network", "description"}


def test_the_limits_of_the_schema_are_those_of_the_code() -> None:
    """A status beyond them could not be written."""
    assert SCHEMA["spec"]["properties"]["network"]["maxLength"] == MAX_NETWORK
    types = SCHEMA["status"]["properties"]["pluginTypes"]
    assert types["maxItems"] == plugin_types.MAX_TYPES
    assert types["items"]["maxLength"] == plugin_types.MAX_TYPE
    longest = plugin_types.MAX_TYPES * (plugin_types.MAX_TYPE + 1) - 1
    assert (
        SCHEMA["status"]["properties"]["columns"]["properties"]["plugins"]["maxLength"] >= longest
    )


def test_every_column_shows_a_field() -> None:
    """A column without one is empty for ever; an unknown key makes the whole object invalid."""
    known = {"name", "type", "jsonPath", "description", "priority"}
    for column in VERSION["additionalPrinterColumns"]:
        assert column.keys() <= known
        schema: dict[str, Any] = {"properties": SCHEMA}
        path = column["jsonPath"].removeprefix(".").split(".")
        for name in path if path[0] != "metadata" else ():
            schema = schema["properties"][name]
            assert schema["description"]


def test_the_webhooks_rights_on_networks_are_what_it_calls() -> None:
    """Nothing on one object but its status, and a Lease that exists."""
    own = [rule for rule in rules("ClusterRole") if rule["apiGroups"] == [keys.NETWORKS_GROUP]]
    assert {(r, verb) for rule in own for r in rule["resources"] for verb in rule["verbs"]} == {
        ("networks", "list"),
        ("networks", "watch"),
        ("networks", "create"),
        ("networks", "delete"),
        ("networks/status", "patch"),
    }
    named = {
        rule["resources"][0]: (rule["resourceNames"], rule["verbs"])
        for rule in rules("Role")
        if rule["resources"] != ["secrets"]
    }
    assert named == {
        "configmaps": ([network_reconciler.SETTINGS], ["list", "watch"]),
        "leases": ([NETWORKS_LEASE], ["get", "update"]),
    }


def test_the_lease_and_the_default_are_where_the_webhook_looks() -> None:
    """The Lease has no content: apply and Helm leave alone what the webhook writes there."""
    assert "spec" not in installed("Lease", NETWORKS_LEASE)
    assert network_reconciler.DEFAULT_KEY in installed("ConfigMap", "genie")["data"]
    environment = {one["name"]: one["valueFrom"] for one in pod_spec()["containers"][0]["env"]}
    for name in ("GENIE_NAMESPACE", "GENIE_CERTS_NAMESPACE"):
        assert environment[name] == {"fieldRef": {"fieldPath": "metadata.namespace"}}


def test_everybody_may_read_networks_and_no_more() -> None:
    """By one role, bound to all who are logged in."""
    [rule] = installed("ClusterRole", "genie-networks-view")["rules"]
    assert rule == {
        "apiGroups": [keys.NETWORKS_GROUP],
        "resources": ["networks"],
        "verbs": ["get", "list", "watch"],
    }
    binding = installed("ClusterRoleBinding", "genie-networks-view")
    assert binding["roleRef"]["name"] == "genie-networks-view"
    assert [each["name"] for each in binding["subjects"]] == ["system:authenticated"]


def test_the_policy_binds_the_webhook_on_every_path_of_networks() -> None:
    """Subresources included, and every version that may come."""
    spec = policy("cni-genie-webhook-networks")
    [rule] = spec["matchConstraints"]["resourceRules"]
    assert (rule["apiVersions"], rule["operations"]) == (["*"], ["*"])
    assert rule["resources"] == ["networks", "networks/*"]
    [condition] = spec["matchConditions"]
    assert re.search(
        r"== 'system:serviceaccount:genie-system:genie-webhook'$", condition["expression"]
    )
    assert spec["failurePolicy"] == "Fail"
