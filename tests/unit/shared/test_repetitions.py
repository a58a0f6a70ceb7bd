"""The table of repeated tests: a failure is never hidden."""

from __future__ import annotations

from typing import Literal

import pytest

from tests.bench.repetitions import COUNTED, Results


def report(
    name: str,
    outcome: Literal["passed", "failed", "skipped"],
    *counted: str,
    when: Literal["setup", "call", "teardown"] = "call",
) -> pytest.TestReport:
    properties = [(COUNTED, text) for text in counted]
    nodeid = f"tests/test_x.py::{name}"
    return pytest.TestReport(
        nodeid, ("", None, ""), {}, outcome, None, when, user_properties=properties
    )


def test_a_row_has_what_was_counted_or_how_many_passed() -> None:
    """Cases of one function share a row, and one that failed, or did not begin, is all it says."""
    results = Results()
    for each in (
        report("test_pods_come_and_go", "passed", when="setup"),
        report("test_pods_come_and_go", "passed", "100 of 100 pods attached"),
        report("test_kills[a-b]", "passed"),
        report("test_kills[c::d]", "passed"),
        report("test_routes[v4]", "passed", "7 combinations"),
        report("test_routes[v6]", "failed"),
        report("test_routes[both]", "passed"),
        report("test_routes[both]", "failed", when="teardown"),
        report("test_upgrades", "failed", when="setup"),
        report("test_builds", "skipped", when="setup"),
    ):
        results.pytest_runtest_logreport(each)
    assert results.table().splitlines()[2:] == [
        "| pods come and go | 100 of 100 pods attached |",
        "| kills | 2 of 2 passed |",
        "| routes | **2 of 4 did not pass** |",
        "| upgrades | **1 of 1 did not pass** |",
        "| builds | **1 of 1 did not pass** |",
    ]
