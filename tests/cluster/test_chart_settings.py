"""How the chart writes the settings of webhook and policies.

tests/cluster/test_chart.py has what else it renders, and what it refuses.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.support.chart_values import COMBINATIONS
from tests.devcluster.helm import PLAIN, render


def rendered(values: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    """Return the object of *kind* and *name* that the chart renders with *values*."""
    objects = render({**PLAIN, **values})
    [found] = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found


def test_a_changed_setting_makes_new_pods_of_the_webhook() -> None:
    """It reads its settings when it starts."""

    def checksum(values: dict[str, Any]) -> str:
        [pod] = [o["spec"]["template"] for o in render(values) if o["kind"] == "Deployment"]
        return str(pod["metadata"]["annotations"]["checksum/settings"])

    changed = {**PLAIN, "webhook": {"scheduling": "off"}}
    assert checksum(PLAIN) == checksum({**PLAIN, "defaultNetwork": "canal"})
    assert checksum(PLAIN) != checksum(changed)
    assert checksum(PLAIN) != checksum({**PLAIN, "limits": "warn"})


@pytest.mark.parametrize("values", COMBINATIONS)
def test_every_setting_is_a_string(values: dict[str, Any]) -> None:
    """Kubernetes refuses others, and YAML reads an unquoted off as false."""
    for each in render({**PLAIN, **values}):
        kind, name = each["kind"], each["metadata"]["name"]
        settings = list(each["data"].values()) if kind == "ConfigMap" else []
        if kind in {"DaemonSet", "Deployment"}:
            for container in each["spec"]["template"]["spec"]["containers"]:
                settings += [one["value"] for one in container["env"] if "value" in one]
        assert [one for one in settings if not isinstance(one, str)] == [], (kind, name)


@pytest.mark.parametrize(
    ("limits", "actions"), [("enforce", ["Deny"]), ("warn", ["Warn", "Audit"])]
)
def test_limits_that_only_warn_are_in_the_audit_log(limits: str, actions: list[str]) -> None:
    """Without a webhook nothing else shows who exceeds them; docs/namespaces.md says so."""
    kind = "ValidatingAdmissionPolicyBinding"
    binding = rendered({"limits": limits}, kind, "cni-genie-pod-limits")
    assert binding["spec"]["validationActions"] == actions


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (33554432, "33554432"),
        (10**15, "1" + "0" * 15),
        (0.5, "0.5"),
        (True, "true"),
        ("1e3", "1e3"),
    ],
)
def test_a_setting_of_the_webhook_is_what_the_values_say(value: object, text: str) -> None:
    """Helm reads the numbers of a file as floats, and would write the first as 3.3554432e+07."""
    values = {"webhook": {"settings": {"GENIE_ANY": value}}}
    assert rendered(values, "ConfigMap", "genie-webhook")["data"]["GENIE_ANY"] == text
