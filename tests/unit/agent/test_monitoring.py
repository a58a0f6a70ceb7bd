"""Alerts, dashboard and monitor of the agents are held against the code and the manifests."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dispatcher.agent.metrics import STATES, AgentMetrics
from dispatcher.node.settings import NodeSettings

MANIFESTS = Path(__file__).parents[3] / "manifests"
MONITORING = MANIFESTS / "monitoring"
SUFFIXES = ("", "_total", "_bucket", "_count", "_sum")
OURS = re.compile(r"(genie_agent_[a-z_]+)(?:\{([^}]*)\})?")


def one(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def expressions() -> dict[str, str]:
    """Return every expression, by the alert's name or the panel's title."""
    rules = one(MONITORING / "agent-alerts.yaml")["spec"]["groups"][0]["rules"]
    panels = json.loads((MONITORING / "agent-dashboard.json").read_text())["panels"]
    shown = {panel["title"]: panel["targets"] for panel in panels}
    return {rule["alert"]: rule["expr"] for rule in rules} | {
        title: " ; ".join(target["expr"] for target in targets) for title, targets in shown.items()
    }


def labels_of_metrics() -> dict[str, set[str]]:
    collectors = AgentMetrics().registry._names_to_collectors
    return {
        name: set(getattr(collector, "_labelnames", ()))
        for name, collector in collectors.items()
        if name.startswith("genie_")
    }


@pytest.mark.parametrize("expression", expressions().values(), ids=expressions())
def test_an_expression_names_metrics_and_labels_that_exist(expression: str) -> None:
    """One over a name that nobody exports would be empty, or silent, for ever."""
    known = labels_of_metrics()
    for name, selectors in OURS.findall(expression):
        assert name in known
        used = set(re.findall(r"([a-z_]+)(?:=|!=|=~|!~)\"", selectors))
        assert used <= known[name]
    grouped = {part for by in re.findall(r"by \(([^)]*)\)", expression) for part in by.split(", ")}
    named = set().union({"le", "node"}, *(known[name] for name, _ in OURS.findall(expression)))
    assert grouped <= named
    for states in re.findall(r'state=~?"([a-z|]+)"', expression):
        assert set(states.split("|")) <= set(STATES)


def test_every_metric_of_ours_is_shown_or_watched() -> None:
    """One that nobody looks at need not be kept."""
    used = {name for text in expressions().values() for name, _ in OURS.findall(text)}
    families = {family.name for family in AgentMetrics().registry.collect()}
    ours = {name for name in families if name.startswith("genie_")}
    assert ours <= {name.removesuffix(suffix) for name in used for suffix in SUFFIXES}


def test_an_alert_tells_the_node_by_a_label_that_the_monitor_gives() -> None:
    """The metrics themselves do not say on which node they were taken."""
    monitor = one(MONITORING / "agent-monitor.yaml")["spec"]
    [endpoint] = monitor["podMetricsEndpoints"]
    assert [each["targetLabel"] for each in endpoint["relabelings"]] == ["node"]
    assert endpoint["path"] == "/metrics"


def test_the_monitor_finds_the_port_that_the_component_opens() -> None:
    """By labels, name and number."""
    monitor = one(MONITORING / "agent-monitor.yaml")["spec"]
    daemonset = one(MANIFESTS / "base/node/daemonset.yaml")["spec"]["template"]
    wanted = monitor["selector"]["matchLabels"].items()
    assert wanted <= daemonset["metadata"]["labels"].items()
    component = one(MANIFESTS / "components/agent-metrics/kustomization.yaml")
    [agent] = yaml.safe_load(component["patches"][0]["patch"])["spec"]["template"]["spec"][
        "containers"
    ]
    [port] = agent["ports"]
    assert port["name"] == monitor["podMetricsEndpoints"][0]["port"]
    assert port["containerPort"] == NodeSettings(node_name="n").port
    assert {variable["name"] for variable in agent["env"]} == {"GENIE_LISTEN"}
