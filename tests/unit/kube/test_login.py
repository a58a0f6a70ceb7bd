"""Logging in as a pod does, with files of a temporary folder."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dispatcher.kube import login
from dispatcher.kube.login import LoginError, Token, as_pod

if TYPE_CHECKING:
    from pathlib import Path

ENVIRON = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


@pytest.fixture
def account(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "ca.crt").write_text("a certificate")
    return tmp_path


@pytest.mark.parametrize(
    ("host", "url"),
    [("10.96.0.1", "https://10.96.0.1:443"), ("fd00::1", "https://[fd00::1]:443")],
)
def test_a_pod_finds_the_api_server_in_its_environment(account: Path, host: str, url: str) -> None:
    """And trusts nothing but its account's CA."""
    pod_login = as_pod({**ENVIRON, "KUBERNETES_SERVICE_HOST": host}, account)
    assert pod_login is not None
    assert pod_login.url == url
    assert pod_login.authorization() == "Bearer first"
    trust = pod_login.pool.connection_pool_kw
    assert (trust["cert_reqs"], trust["ca_certs"]) == ("CERT_REQUIRED", str(account / "ca.crt"))


@pytest.mark.parametrize("missing", ENVIRON)
def test_outside_of_a_pod_there_is_no_such_login(account: Path, missing: str) -> None:
    """Both variables are needed, and neither may be empty."""
    assert as_pod({**ENVIRON, missing: ""}, account) is None


@pytest.mark.parametrize("missing", ["token", "ca.crt"])
def test_a_pod_without_its_account_is_told_what_is_missing(account: Path, missing: str) -> None:
    """It does not go on as somebody else."""
    (account / missing).unlink()
    with pytest.raises(LoginError, match=f"{missing}: No such file"):
        as_pod(ENVIRON, account)


def test_a_token_that_kubelet_has_renewed_is_used_within_a_minute(account: Path) -> None:
    """Until then it is not read again."""
    now = 0.0
    token = Token(account / "token", lambda: now)
    assert token() == "Bearer first"
    (account / "token").write_text("second")
    now = login.TOKEN_SECONDS - 1
    assert token() == "Bearer first"
    now = login.TOKEN_SECONDS
    assert token() == "Bearer second"


def test_the_client_costs_a_pod_no_library_that_only_people_need() -> None:
    """The kubernetes library takes 21 MiB."""
    code = "import sys, dispatcher.kube.client; print('kubernetes' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\n"
