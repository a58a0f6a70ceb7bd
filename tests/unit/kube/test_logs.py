"""The form of a log line."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from dispatcher.kube import logs


def test_ours_and_the_libraries_lines_have_one_form(capsys: pytest.CaptureFixture[str]) -> None:
    """A line of structlog and one of the standard library are JSON with the same fields."""
    logs.configure("info")
    structlog.get_logger("webhook").info("denied", pod="a/b")
    logging.getLogger("asyncio").warning("slow")
    ours, theirs = map(json.loads, capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["pod"], ours["level"], ours["logger"]) == (
        "denied", "a/b", "info", "webhook",
    )  # fmt: skip
    assert (theirs["event"], theirs["level"]) == ("slow", "warning")
    assert ours["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        pytest.param("conf \udcff", "conf \udcff", id="a-file-name-that-is-no-UTF-8"),
        pytest.param(2**70, 2**70, id="a-number-beyond-64-bits"),
        pytest.param(Path("/etc"), "PosixPath('/etc')", id="an-object"),
    ],
)
def test_whatever_is_logged_makes_a_line(
    value: Any, written: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who logs something unusual in the middle of trouble must not have more of it."""
    logs.configure("info", json=True)
    structlog.get_logger("agent").info("seen", what=value)
    assert json.loads(capsys.readouterr().err)["what"] == written


def test_what_is_bound_to_a_logger_is_in_each_of_its_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Unless the line itself has another value."""
    logs.configure("info", json=True)
    log = structlog.get_logger("agent").bind(node="n1", try_=1)
    log.info("first")
    log.info("second", try_=2)
    lines = map(json.loads, capsys.readouterr().err.splitlines())
    assert [(line["node"], line["try_"]) for line in lines] == [("n1", 1), ("n1", 2)]


def test_a_processor_of_a_test_gets_the_events(capsys: pytest.CaptureFixture[str]) -> None:
    """In the place of the one that makes the lines."""
    logs.configure("info", json=True)
    with capture_logs() as events:
        structlog.get_logger("agent").info("seen", what=1)
    assert events == [{"event": "seen", "what": 1, "log_level": "info"}]
    assert not capsys.readouterr().err


def test_an_exception_is_part_of_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Not lines of its own, which a collector would take for others."""
    logs.configure("info", json=True)
    try:
        dict[str, int]()["x"]
    except KeyError:
        structlog.get_logger("agent").exception("failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "KeyError: 'x'" in json.loads(line)["exception"]


def test_a_log_that_nobody_reads_any_more_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request is answered, whatever became of standard error."""
    closed = io.TextIOWrapper(io.BytesIO())
    closed.close()
    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(io.BytesIO()))
    logs.configure("info", json=True)
    monkeypatch.setattr("sys.stderr", closed)
    structlog.get_logger("agent").info("lost")


def test_a_level_hides_what_is_below_it(capsys: pytest.CaptureFixture[str]) -> None:
    """``warning`` hides information, and a terminal's form is for people."""
    logs.configure("warning", json=False)
    structlog.get_logger("a").info("hidden")
    structlog.get_logger("a").warning("seen")
    written = capsys.readouterr().err
    assert "hidden" not in written
    assert "seen" in written
