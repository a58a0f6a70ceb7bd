from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dispatcher.node.loop import Loop
from dispatcher.reaper import __main__ as reaper_command

if TYPE_CHECKING:
    from tests.unit.host import Host


@pytest.mark.usefixtures("sigterm_soon")
def test_sigterm_ends_the_reaper(host: Host) -> None:
    """It needs neither the API server nor, without records, the runtime."""
    assert reaper_command.main([*host.options(), "--reap-look-seconds=0.1"]) == 0


@pytest.mark.usefixtures("signals")
def test_a_stuck_reaper_exits(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no probe; the restarts of its container show it."""
    monkeypatch.setattr(Loop, "is_alive", False)
    monkeypatch.setattr(reaper_command, "WATCH_SECONDS", 0.01)
    assert reaper_command.main(host.options()) == 1


def test_an_invalid_setting_is_named_and_the_reaper_exits_with_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In one line."""
    assert reaper_command.main(["--node-name=n", "--reap-age-seconds=-1"]) == 1
    assert "--reap-age-seconds" in capsys.readouterr().err
