"""Alerts and dashboards of the chart, evaluated by Prometheus itself against recorded series.

``tests/cluster/recorded`` has what agent, webhook, API server and kubelet answered on a real
cluster (:mod:`tests.cluster.support.record_metrics`). No test here needs a cluster.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import pytest

from tests.cluster.support import record_metrics
from tests.cluster.support.alert_cases import CASES, SCRAPED, AlertCase, Series
from tests.cluster.support.record_metrics import INTERVAL, SCRAPES
from tests.devcluster import promtool
from tests.devcluster.build.imagebuild import PROJECT
from tests.devcluster.helm import render

VALUES = {
    "image": {"repository": "cni-genie"},
    "metrics": {"rules": True, "dashboards": True, "runbookUrl": "https://docs.example/{alert}.md"},
}
HOLD = 120
"""Minutes for which a recorded state lasts: longer than the longest ``for``."""


@cache
def objects() -> list[dict[str, Any]]:
    return render(VALUES)


def groups() -> list[dict[str, Any]]:
    return [
        group
        for each in objects()
        if each["kind"] == "PrometheusRule"
        for group in each["spec"]["groups"]
    ]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in groups() for rule in group["rules"]}


def dashboards() -> list[dict[str, Any]]:
    return [
        json.loads(text)
        for each in objects()
        if each["kind"] == "ConfigMap" and "grafana_dashboard" in each["metadata"].get("labels", {})
        for text in each["data"].values()
    ]


@cache
def recorded(name: str) -> Series:
    return record_metrics.read(name)


def labels_of(series: str) -> frozenset[str]:
    return frozenset(re.findall(r'([a-z_]+)="', series.partition("{")[2]))


def scraped(series: str) -> str:
    """Return *series* with the labels that Prometheus adds, unless it has them."""
    name, _, labels = series.rstrip("}").partition("{")
    [added] = [value for prefix, value in SCRAPED.items() if name.startswith(prefix)]
    own = labels_of(series)
    pairs = [f'{key}="{value}"' for key, value in added.items() if key not in own]
    return f"{name}{{{','.join([*filter(None, [labels]), *pairs])}}}"


def inputs(series: Series) -> list[dict[str, str]]:
    return [{"series": scraped(name), "values": values} for name, values in series.items()]


def expected(case: AlertCase) -> dict[str, Any]:
    """Return the alert as Prometheus sends it; the texts' values are those of the labels."""
    rule = alerts()[case.alert]
    description = re.sub(
        r"\{\{ \$labels\.(\w+) \}\}",
        lambda match: case.labels[match[1]],
        rule["annotations"]["description"],
    )
    return {
        "exp_labels": {**case.labels, **rule["labels"]},
        "exp_annotations": {
            "summary": case.summary,
            "description": description,
            "runbook_url": f"https://docs.example/{case.alert}.md",
        },
    }


def evaluate(test: dict[str, Any], alert: str = "") -> None:
    """Evaluate *test* against the rule of *alert* alone, which is cheap; "": against all."""
    rules = [{"name": alert, "rules": [alerts()[alert]]}] if alert else groups()
    result = promtool.evaluate(rules, [test])
    assert result.returncode == 0, result.stdout + result.stderr


def no_alert(name: str, at: str) -> dict[str, Any]:
    expression = f'ALERTS{{alertname=~"{name}",alertstate="firing"}}'
    return {"expr": expression, "eval_time": at, "exp_samples": []}


def test_every_alert_has_a_case() -> None:
    """And none is left of an alert that is gone."""
    assert list(dict.fromkeys(case.alert for case in CASES)) == list(alerts())


def test_by_default_an_alert_has_the_path_of_its_page() -> None:
    """In this repository: the project has no address that would be known beforehand."""
    values = {"image": {"repository": "cni-genie"}, "metrics": {"rules": True}}
    rules = [
        rule
        for each in render(values)
        if each["kind"] == "PrometheusRule"
        for group in each["spec"]["groups"]
        for rule in group["rules"]
    ]
    assert len(rules) == len(alerts())
    assert all((PROJECT / rule["annotations"]["runbook_url"]).is_file() for rule in rules)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_fires_with_its_texts(case: AlertCase) -> None:
    """Labels, summary, description and the address of its page are what a person receives."""
    rule_test = {"eval_time": case.at, "alertname": case.alert, "exp_alerts": [expected(case)]}
    test = {"interval": "1m", "input_series": inputs(case.firing), "alert_rule_test": [rule_test]}
    evaluate(test, case.alert)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_is_silent_when_it_comes_close(case: AlertCase) -> None:
    """A value below the threshold, a state that ends in time, or one that is somebody else's."""
    times = [f"{minute}m" for minute in range(1, 60, 2)]
    checks = [no_alert(case.alert, at) for at in times]
    test = {"interval": "1m", "input_series": inputs(case.silent), "promql_expr_test": checks}
    evaluate(test, case.alert)


def test_a_case_has_the_labels_that_were_recorded() -> None:
    """An alert over a series that no process exports would be silent for ever.

    Where this fails: python -m tests.cluster.support.record_metrics CLUSTER.
    """
    known = {
        (series.partition("{")[0], labels_of(series))
        for name in ("healthy", "faulty")
        for series in recorded(name)
    }
    for case in CASES:
        for series in (*case.firing, *case.silent):
            assert (series.partition("{")[0], labels_of(scraped(series))) in known, series


def held(name: str) -> list[dict[str, str]]:
    """Return the recorded series; each keeps its last value for two hours, one a minute."""
    return [
        {"series": series, "values": f"{values} {values.rpartition(' ')[2]}x{HOLD}"}
        for series, values in recorded(name).items()
    ]


def test_no_alert_fires_on_a_healthy_cluster() -> None:
    """While pods come and go, and afterwards."""
    checks = [no_alert(".*", f"{minute}m") for minute in range(1, HOLD, 5)]
    evaluate({"interval": "1m", "input_series": held("healthy"), "promql_expr_test": checks})


def test_the_recorded_faults_are_alerted() -> None:
    """Those that last: of others, the cases above have the rates."""
    fires = (
        "GenieNodeNotInstalled",
        "GenieSettingsRefused",
        "GenieParked",
        "GenieNothingFreed",
        "GenieRecordsUnreadable",
    )
    checks = [
        {
            "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) > bool 0',
            "eval_time": f"{HOLD}m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for name in fires
    ]
    evaluate({"interval": "1m", "input_series": held("faulty"), "promql_expr_test": checks})


def expressions(node: str, network: str) -> dict[str, str]:
    """Return every expression of the dashboards, with these values of the variables."""
    return {
        f"{board['title']}: {panel['title']} {target['refId']}": target["expr"]
        .replace("$node", node)
        .replace("$network", network)
        for board in dashboards()
        for panel in board["panels"]
        for target in panel["targets"]
    }


def both() -> list[dict[str, str]]:
    """Return the recorded series of the healthy and then of the faulty cluster."""
    healthy, faulty = recorded("healthy"), recorded("faulty")
    absent = " ".join(["_"] * SCRAPES)
    return [
        {
            "series": series,
            "values": f"{healthy.get(series, absent)} {faulty.get(series, absent)}",
        }
        for series in sorted({*healthy, *faulty})
    ]


@pytest.mark.parametrize(
    ("node", "network"),
    [
        pytest.param(".*", ".*", id="all nodes and networks"),
        pytest.param("node1", "canal|failing|absent", id="one node, some networks"),
    ],
)
def test_every_panel_shows_something(node: str, network: str) -> None:
    """A number, not NaN, for the recorded cluster, which had every fault that a panel shows."""
    end = "3m"  # the first whole minute after the last scrape: promtool loads minute by minute
    checks = [
        {
            "expr": f"count(({expression}) > -Inf) > bool 0",
            "eval_time": end,
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for expression in expressions(node, network).values()
    ]
    assert len(checks) > 25
    evaluate({"interval": f"{INTERVAL}s", "input_series": both(), "promql_expr_test": checks})


def has_network(expression: str) -> bool:
    """Return whether an expression reads series that were recorded with the label "network"."""
    names = {
        series.partition("{")[0]
        for name in ("healthy", "faulty")
        for series in recorded(name)
        if "network" in labels_of(series)
    }
    return not names.isdisjoint(re.findall(r"\w+", expression))


def test_the_variables_choose_node_and_network() -> None:
    """Of the dashboard of nodes; every panel that has these labels follows each of them."""
    [board] = [each for each in dashboards() if each["uid"] == "cni-genie-nodes"]
    variables = {each["name"]: each for each in board["templating"]["list"]}
    assert list(variables) == ["datasource", "node", "network"]
    for name in ("node", "network"):
        variable = variables[name]
        assert variable["query"]["query"].startswith("label_values(genie_agent_")
        assert variable["includeAll"] is variable["multi"] is True
        assert variable["allValue"] == ".*"
    of_nodes = {
        title: expression
        for title, expression in expressions("no-such-node", ".*").items()
        if title.startswith(board["title"])
    }
    of_networks = {
        title: expression
        for title, expression in expressions(".*", "no-such-network").items()
        if title in of_nodes and has_network(expression)
    }
    assert len(of_networks) > 5
    checks = [
        {"expr": expression, "eval_time": "2m", "exp_samples": []}
        for expression in (*of_nodes.values(), *of_networks.values())
    ]
    evaluate({"interval": f"{INTERVAL}s", "input_series": both(), "promql_expr_test": checks})
