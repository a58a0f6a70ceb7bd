"""The command line on a cluster that answers from a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from cli import app, session
from cli.reader import Reader
from tests.unit.kubectl_genie.builders import CLUSTER, FakeAPI

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer.testing import Result


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that runs a command; *change* may alter the cluster's answers."""

    def call(
        *words: str,
        objects: dict[str, Any] | None = None,
        forbidden: tuple[str, ...] = (),
        change: Callable[[FakeAPI], None] | None = None,
    ) -> Result:
        api = FakeAPI(CLUSTER if objects is None else objects, forbidden)
        if change is not None:
            change(api)
        monkeypatch.setattr(session, "connect", lambda _: Reader(api))
        return CliRunner().invoke(app.app, words, prog_name="kubectl genie")

    return call
