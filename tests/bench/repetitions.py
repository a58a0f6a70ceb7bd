"""``python -m tests.bench.repetitions``: run the tests that are marked ``repeats`` in full length.

``make test`` runs them in a short form. A test may say what it has repeated, by the fixture
``counted``. The part of docs/performance.md between the two
markers is written from the results, also from those of tests that fail.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from datetime import UTC, datetime

import pytest

from tests.bench import page

COUNTED = "counted"
"""The property of a test with what it has repeated, such as ``100 of 100 pods attached``."""


class Results:
    """A plugin of pytest that collects the results of each test function."""

    def __init__(self) -> None:
        self._outcomes: dict[str, list[str]] = {}
        self._counted: dict[str, list[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the result of a call, and of a fixture that fails."""
        if report.when != "call" and report.passed:
            return
        function = report.nodeid.partition("[")[0].rpartition("::")[2]
        name = function.removeprefix("test_").replace("_", " ")
        self._outcomes.setdefault(name, []).append(report.outcome)
        values = [str(value) for key, value in report.user_properties if key == COUNTED]
        self._counted.setdefault(name, []).extend(values)

    def table(self) -> str:
        """Return a row for each test function, in the order in which they ran."""
        rows = [f"| {name} | {self._result(name)} |" for name in self._outcomes]
        return "\n".join(["| test | result |", "|---|---|", *rows])

    def _result(self, name: str) -> str:
        outcomes, counted = self._outcomes[name], self._counted[name]
        passed = outcomes.count("passed")
        if passed < len(outcomes):
            return f"**{len(outcomes) - passed} of {len(outcomes)} did not pass**"
        return "; ".join(counted) or f"{passed} of {passed} passed"


def main() -> int:
    """Run the tests and write the page; return pytest's exit code."""
    parser = argparse.ArgumentParser(description="Run the tests marked `repeats` in full length.")
    parser.add_argument("paths", nargs="*", default=["tests"], help="default: all tests")
    paths = parser.parse_args().paths

    begun, results = time.monotonic(), Results()
    code = pytest.main(["--full", "-m", "repeats", *paths], plugins=[results])
    minutes = (time.monotonic() - begun) / 60

    load, today = os.getloadavg()[0], datetime.now(UTC).date()
    end = (
        f"- {minutes:.0f} minutes; {os.cpu_count()} processors; load average: {load:.1f}; {today}."
    )
    table = f"{results.table()}\n\n{end}"
    page.show("repetitions", table)
    print(table)
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
