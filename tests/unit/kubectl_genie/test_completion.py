"""``kubectl_complete-genie``: what kubectl offers on a tab."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from cli import completion, session
from cli.reader import Reader
from dispatcher.kube.errors import KubeError
from tests.unit.kubectl_genie.builders import CLUSTER, FakeAPI

if TYPE_CHECKING:
    from cli.session import Access


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the variables that tell typer to complete out of other tests."""
    monkeypatch.setattr("os.environ", dict(os.environ))


COMPLETIONS = [
    pytest.param(
        ["ver"], ["version\tPrint the versions of all parts, and of each node's plugin.", ":4"]
    ),
    pytest.param(["status", "-o", "y"], ["yaml", ":4"], id="a value of an option"),
    pytest.param(
        ["status", "--wa"],
        ["--wait\twait until pods that name networks would be attached", ":4"],
        id="an option",
    ),
    pytest.param(["doctor", ""], ["n1", "n2", ":4"], id="nodes"),
    pytest.param(["logs", "n2"], ["n2", ":4"], id="nodes by prefix"),
    pytest.param(["pods", "--network", "w"], ["weave", ":4"], id="networks"),
    pytest.param(["pods", "-n", ""], ["shop", ":4"], id="namespaces"),
    pytest.param(["explain", "-n", "shop", ""], ["new", "web", ":4"], id="pods"),
    pytest.param(["lint", "-f", ""], [":0"], id="files"),
]


@pytest.mark.parametrize(("words", "expected"), COMPLETIONS)
def test_a_tab_offers_what_fits(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    expected: list[str],
) -> None:
    """One value per line, then kubectl's directive: no files, except for options that take them."""
    monkeypatch.setattr(session, "connect", lambda _: Reader(FakeAPI(CLUSTER)))
    completion.main(words)
    assert capsys.readouterr().out.splitlines() == expected


def test_no_error_reaches_the_prompt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cluster that does not answer offers nothing."""

    def fail(_: Access) -> Reader:
        raise KubeError(0, "NoAnswer", "no answer")

    monkeypatch.setattr(session, "connect", fail)
    completion.main(["doctor", ""])
    assert capsys.readouterr() == (":4\n", "")
