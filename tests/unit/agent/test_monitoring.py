"""Alerts and dashboard of the agents are held against the code."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from dispatcher.agent.metrics import AgentMetrics
from dispatcher.node.record_cache import STATES
from tests.unit.manifests import FILES

SUFFIXES = ("", "_total", "_bucket", "_count", "_sum")
OURS = re.compile(r"(genie_(?:agent|build)_[a-z_]+)(?:\{([^}]*)\})?")


def expressions() -> dict[str, str]:
    """Return every expression, by the alert's name or the panel's title."""
    rules = yaml.safe_load((FILES / "agent-alerts.yaml").read_text())["groups"][0]["rules"]
    panels = json.loads((FILES / "agent-dashboard.json").read_text())["panels"]
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
        assert used <= known[name] | {"node"}  # the monitor adds it
    grouped = {part for by in re.findall(r"by \(([^)]*)\)", expression) for part in by.split(", ")}
    added = {"le", "job", "namespace", "node"}  # by histograms and by Prometheus
    named = set().union(added, *(known[name] for name, _ in OURS.findall(expression)))
    assert grouped <= named
    for states in re.findall(r'state=~?"([a-z|]+)"', expression):
        assert set(states.split("|")) <= set(STATES)


def test_every_metric_of_ours_is_shown_or_watched() -> None:
    """One that nobody looks at need not be kept."""
    used = {name for text in expressions().values() for name, _ in OURS.findall(text)}
    families = {family.name for family in AgentMetrics().registry.collect()}
    ours = {name for name in families if name.startswith("genie_")}
    assert ours <= {name.removesuffix(suffix) for name in used for suffix in SUFFIXES}
