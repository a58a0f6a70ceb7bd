"""What benchmarks write into docs/performance.md, from figures that are known."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.bench import agents, scale_report, soak, svg
from tests.bench.agents import AgentFigures
from tests.bench.api_observer import Latencies, Period, requests_of_agents
from tests.bench.debian_python import VERSION
from tests.bench.scale_report import Rollout, Step

SLOW = Latencies([5.0, 20.0], failures=1)
STEPS = [
    Step(nodes, nodes / 50, 0.5, 100, SLOW, 0.3, 0.04, Rollout(200, 0.2, SLOW))
    for nodes in (100, 5000)
]


def test_each_step_is_a_row_under_the_head() -> None:
    """As many cells as the head has."""
    head, rule, *rows = scale_report.table(STEPS, []).strip().splitlines()
    assert len(rows) == len(STEPS)
    assert {each.count("|") for each in (head, rule, *rows)} == {11}


def parsed(chart: str) -> ET.Element:
    """Return the root of a chart. Raises ParseError if it is not well formed."""
    return ET.fromstring(chart)  # noqa: S314 - our own


def test_a_chart_is_well_formed_and_has_each_value() -> None:
    """A browser refuses other files."""
    texts = [each.text for each in parsed(scale_report.chart(STEPS)).iter() if each.text]
    assert {"2", "100", "5,000"} <= set(texts)


def test_a_curve_begins_at_zero() -> None:
    """Half the value is at half the height, so that a slope is not exaggerated."""
    parts = parsed(svg.document(9, 9, "", [svg.panel(0, 0, "", [(50, 5), (100, 10)])]))
    [curve] = [each.get("points") or "" for each in parts.iter() if each.tag.endswith("polyline")]
    [ground] = [float(each.get("y1") or "") for each in parts.iter() if each.tag.endswith("}line")]
    (x1, y1), (x2, y2) = ([float(n) for n in point.split(",")] for point in curve.split())
    assert (y1 - ground) * 2 == pytest.approx(y2 - ground, abs=0.2)
    assert (x1 - 20) * 2 == pytest.approx(x2 - 20, abs=0.2)


def entry(verb: str, resource: str, node: str = "n1", stage: str = "ResponseComplete") -> Any:
    """Return an entry of an audit log."""
    extra = {"authentication.kubernetes.io/node-name": [node]} if node else None
    return {
        "verb": verb,
        "stage": stage,
        "user": {"extra": extra},
        "objectRef": {"resource": resource},
    }


def test_a_request_counts_once_for_the_node_of_its_token() -> None:
    """A watch has an entry at its begin and one at its end; an administrator has no node."""
    entries = [
        entry("get", "nodes"),
        entry("get", "nodes", "n2"),
        entry("get", "nodes"),
        entry("watch", "pods", stage="ResponseStarted"),
        entry("watch", "pods"),
        entry("create", "pods", node=""),
    ]
    counted = {("n1", "get nodes"): 2, ("n2", "get nodes"): 1, ("n1", "watch pods"): 1}
    assert requests_of_agents(entries) == Counter(counted)


def test_requests_of_many_agents_are_multiplied_by_the_second() -> None:
    """Two agents that ask once a minute: 5,000 ask 83 times a second."""
    count = Counter(
        {("node1", "get nodes"): 2, ("agent-0", "get nodes"): 2, ("agent-1", "get nodes"): 2}
    )
    period = Period(120, count, SLOW, 1.0, 3)
    text = agents.table(AgentFigures(2, 10, period, period, period, [1.0, 2.0]))
    assert "| `get nodes` | 1.00 | 1.00 | 83.3 | 2.0 |" in text
    assert "3 events to all watches" in text
    assert "at rest\n  12.5 / 20.0, 1 failed;" in text


def test_a_soak_states_load_and_leftovers() -> None:
    """The load is that of the whole run; what was left behind is not hidden."""
    figures = soak.SoakFigures(pods=10, loads=[1.0, 3.0])
    figures.samples = {("agent", 1): [(60.0, 30.0), (3660.0, 31.0)]}
    text = soak.table(figures, Namespace(minutes=4, lanes=1, pods=5, rest=0), {"veths": ["v1"]})
    assert "| agent | 1 | 30 / 31 | +1.0 |" in text
    assert text.splitlines()[-1] == "- Load average meanwhile: mean 2.0, most 3.0."
    assert "v1" in text


def test_the_webhook_is_measured_with_the_python_of_the_image() -> None:
    """Its base is named in the Dockerfile."""
    base = f"docker.io/library/python:{VERSION}-slim@"
    assert base in (Path(__file__).parents[3] / "Dockerfile").read_text()
