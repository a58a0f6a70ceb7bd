"""Alerts and panels: their metrics exist, and each alert explains itself."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from certs.metrics import CertificateMetrics
from tests.unit.apiserver import Api
from tests.unit.manifests import FILES, MANIFESTS
from tests.unit.webhook.builders import FakeCertificates
from webhook.service import Service
from webhook.settings import WebhookSettings


def expressions() -> dict[str, str]:
    """Return every expression of the webhook's alerts and panels, by name or title."""
    rules = yaml.safe_load((FILES / "webhook-alerts.yaml").read_text())["groups"]
    panels = json.loads((FILES / "webhook-dashboard.json").read_text())["panels"]
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
    matches = re.findall(r"((?:genie|apiserver)_[a-z_]+)(?:\{([^}]*)\})?", expression)
    assert matches
    for name, selectors in matches:
        assert set(re.findall(r"([a-z_]+)(?:=|!=|=~|!~)\"", selectors)) <= known[name]
    grouped = {part for by in re.findall(r"by \(([^)]*)\)", expression) for part in by.split(", ")}
    # Prometheus itself adds the pod, and le to the buckets of a histogram.
    assert grouped <= {"pod", "le"}.union(*(known[name] for name, _ in matches))


def labels_of_metrics() -> dict[str, set[str]]:
    return {
        name: set(collector._labelnames)
        for registry in (service_registry(), certificate_registry())
        for name, collector in registry._names_to_collectors.items()
        if isinstance(collector, MetricWrapperBase)
    }


def service_registry() -> CollectorRegistry:
    service = Service(WebhookSettings(), Api().client(), FakeCertificates())
    return service.registry


def certificate_registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    CertificateMetrics(lambda: 0).register(registry)
    return registry


def test_every_alert_says_what_it_means() -> None:
    """Summary, description, severity and a page (tests/unit/shared/test_runbooks.py)."""
    alerts = [
        alert
        for path in sorted(FILES.glob("*-alerts.yaml"))
        for group in yaml.safe_load(path.read_text())["groups"]
        for alert in group["rules"]
    ]
    assert len(alerts) >= 8
    for alert in alerts:
        assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
        assert alert["labels"]["severity"] in {"warning", "critical"}
        assert alert["for"]


def test_every_metric_is_described() -> None:
    """With its labels."""
    described: dict[str, set[str]] = {}
    page = (MANIFESTS.parent / "docs" / "reference" / "metrics.md").read_text()
    for line in page.partition("## Webhook\n")[2].splitlines():
        first = line.partition(" | ")[0] if line.startswith("| `") else ""
        for name, labels in re.findall(r"`(genie_[a-z_]+)(?:\{([a-z,]+)\})?`", first):
            described[name] = set(labels.split(",")) - {""}
    families = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for registry in (service_registry(), certificate_registry())
        for family in registry.collect()
        if family.name.startswith("genie_")
    }
    assert described.keys() == families
    known = labels_of_metrics()
    suffixes = ("", "_count")
    for name, labels in described.items():
        assert labels in [known[name + each] for each in suffixes if name + each in known], name
