"""The API server's time."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from certs import CertificateManager
from certs.server_clock import ServerClock
from certs.webhook_configs import API, KINDS
from tests.unit.apiserver import START, Api
from tests.unit.certs.builders import SETTINGS, make_manager


@pytest.mark.parametrize(
    ("seconds", "logged"),
    [
        pytest.param(-3600, -3600, id="backwards"),
        pytest.param(86_400, 86_400, id="forwards"),
        pytest.param(3, None, id="three seconds are two API servers"),
    ],
)
def test_a_jump_of_the_clock_is_logged_once(api: Api, seconds: float, logged: int | None) -> None:
    manager = make_manager(api)
    manager.reconcile()
    api.jumped = seconds
    with capture_logs() as logs:
        manager.reconcile()
        manager.reconcile()
    assert [one["seconds"] for one in logs if "clock jumped" in one["event"]] == (
        [logged] if logged else []
    )


def test_the_clock_is_the_api_servers(api: Api) -> None:
    """Before its first answer it is this machine's; then the boot clock advances it."""
    client = api.client()
    clock = ServerClock(client, lambda: api.seconds)
    assert abs(clock.difference()) < 60
    client.get(API + KINDS[0])
    api.seconds = 90
    assert (clock.now() - START).total_seconds() == 90
    assert CertificateManager(client, SETTINGS).leaf is None
