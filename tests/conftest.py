"""What all tests share: profiles of hypothesis, the option --full, the version before this one.

Properties are tested with the same examples in every run, so a failure is caused by the change.
``pytest --hypothesis-profile=search`` searches for new examples. No example has a deadline, since
the machine may be busy.

Tests marked ``repeats`` run a matrix or a repetition: in a short form in ``make test``, in full in
``make bench`` (``pytest --full -m repeats``). By :func:`counted` they say what they have
repeated, for docs/performance.md (:mod:`tests.bench.repetitions`).

A run ends with a table of the files that took longest.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests import predecessor as of_history
from tests.bench.repetitions import COUNTED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAX_FILES = 25
"""How many files the table at the end of a run has."""

settings.register_profile("search", deadline=None)
settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --full."""
    parser.addoption(
        "--full",
        action="store_true",
        help="run matrices and repetitions in full; `make bench` does so with the marker `repeats`",
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the time by file: setup, calls and teardown of all its tests, in wall time.

    Of tests that run in several processes, it is the sum of their times.
    """
    reports = [
        report
        for category in terminalreporter.stats.values()
        for report in category
        if isinstance(report, pytest.TestReport)
    ]
    seconds: dict[str, float] = defaultdict(float)
    tests: dict[str, int] = defaultdict(int)
    for report in reports:
        file = report.nodeid.partition("::")[0]
        seconds[file] += report.duration
        tests[file] += report.when == "call"

    if len(seconds) > 1:
        terminalreporter.section("time by file")
        for file in sorted(seconds, key=seconds.__getitem__, reverse=True)[:MAX_FILES]:
            line = f"{seconds[file]:7.1f} s  {tests[file]:4} tests  {file}"
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Return whether a test that is marked `repeats` runs in its full length."""
    return bool(request.config.getoption("--full"))


@pytest.fixture
def counted(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Return what a test calls with what it has repeated, such as ``100 pods attached``."""
    return functools.partial(record_property, COUNTED)


@pytest.fixture(scope="session")
def predecessor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the source tree of the version before this one, taken from the history."""
    return of_history.export(tmp_path_factory.mktemp("predecessor") / "tree")
