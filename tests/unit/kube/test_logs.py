"""The form of a log line."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest
import structlog

from dispatcher.kube import logs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_ours_and_the_libraries_lines_have_one_form(capsys: pytest.CaptureFixture[str]) -> None:
    """A line of structlog and one of the standard library are JSON with the same fields."""
    logs.configure("info")
    structlog.get_logger("webhook").info("denied", pod="a/b")
    logging.getLogger("uvicorn.error").warning("slow")
    ours, theirs = map(json.loads, capsys.readouterr().err.splitlines())
    assert (ours["event"], ours["pod"], ours["level"], ours["logger"]) == (
        "denied", "a/b", "info", "webhook",
    )  # fmt: skip
    assert (theirs["event"], theirs["level"]) == ("slow", "warning")
    assert ours["timestamp"].endswith("Z")


def test_a_level_hides_what_is_below_it(capsys: pytest.CaptureFixture[str]) -> None:
    """``warning`` hides information, and a terminal's form is for people."""
    logs.configure("warning", json=False)
    structlog.get_logger("a").info("hidden")
    structlog.get_logger("a").warning("seen")
    written = capsys.readouterr().err
    assert "hidden" not in written
    assert "seen" in written
