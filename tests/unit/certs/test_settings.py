"""The errors of settings that are wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from certs.settings import CertificateSettings, load
from dispatcher.kube.settings import InvalidSettingsError

TREE = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        pytest.param(
            "RESYNC",
            "soon",
            "setting GENIE_CERTS_RESYNC: Input should be a valid number, unable to parse string "
            'as a number, got "soon"',
            id="no-number",
        ),
        pytest.param(
            "JITTER",
            "0.5",
            'setting GENIE_CERTS_JITTER: Input should be less than 0.5, got "0.5"',
            id="too-much",
        ),
        pytest.param(
            "RENEW_FRACTION",
            "0.1",
            "setting GENIE_CERTS_JITTER: 0.1 is too large; it must be less than "
            "GENIE_CERTS_RENEW_FRACTION, 0.1",
            id="due-before-it-is-issued",
        ),
        pytest.param(
            "SELF_CHECK",
            "inf",
            'setting GENIE_CERTS_SELF_CHECK: Input should be a finite number, got "inf"',
            id="never",
        ),
        pytest.param(
            "RETIRE_MARGIN",
            "1e300",
            "setting GENIE_CERTS_RETIRE_MARGIN: Input should be less than or equal to 315360000, "
            'got "1e300"',
            id="beyond-the-calendar",
        ),
        pytest.param(
            "CLIENT_CA",
            "/no/such/file",
            "setting GENIE_CERTS_CLIENT_CA: the file cannot be read: No such file or directory, "
            'got "/no/such/file"',
            id="a-file-that-is-missing",
        ),
        pytest.param(
            "CLIENT_CA",
            os.devnull,
            'setting GENIE_CERTS_CLIENT_CA: the file holds no certificate (PEM), got "/dev/null"',
            id="a-file-without-a-certificate",
        ),
        pytest.param(
            "WRITE_BUNDLES",
            "perhaps",
            "setting GENIE_CERTS_WRITE_BUNDLES: Input should be a valid boolean, unable to "
            'interpret input, got "perhaps"',
            id="neither-yes-nor-no",
        ),
        pytest.param(
            "CA_LIFETIME",
            "86400",
            "setting GENIE_CERTS_CA_LIFETIME: 86400 s is too short; 67% of it must be longer than "
            "GENIE_CERTS_PROPAGATION + GENIE_CERTS_LEAF_LIFETIME + GENIE_CERTS_RETIRE_MARGIN, "
            "608460 s together",
            id="due-while-its-predecessor-is-retired",
        ),
        pytest.param(
            "LEAF_LIFETIM",
            "60",
            'variable "GENIE_CERTS_LEAF_LIFETIM" is not a setting; did you mean '
            "GENIE_CERTS_LEAF_LIFETIME?",
            id="misspelt",
        ),
    ],
)
def test_a_bad_value_is_one_line_that_names_the_variable(
    name: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable, the reason, and the value or what is allowed."""
    monkeypatch.setenv(f"GENIE_CERTS_{name}", value)
    with pytest.raises(InvalidSettingsError) as refused:
        load()
    assert str(refused.value) == sentence


def test_a_variable_that_is_like_none_of_ours_is_answered_with_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The message names the right one."""
    monkeypatch.setenv("GENIE_CERTS_X", "1")
    with pytest.raises(InvalidSettingsError) as refused:
        load()
    for field in CertificateSettings.model_fields:
        assert f"GENIE_CERTS_{field.upper()}" in str(refused.value)


def test_an_empty_variable_is_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty path would be the working directory."""
    monkeypatch.setenv("GENIE_CERTS_DIRECTORY", "")
    assert load().directory is None


@pytest.mark.parametrize("command", [["webhook"], ["certs", "status"]], ids=" ".join)
def test_a_process_with_a_bad_value_ends_with_that_line(command: list[str]) -> None:
    """Exit code 2, no traceback, nothing started."""
    environment = {**os.environ, "GENIE_CERTS_PROPAGATION": "a minute"}
    result = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=TREE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        f"python -m {command[0]}: setting GENIE_CERTS_PROPAGATION: Input should be a valid number, "
        'unable to parse string as a number, got "a minute"\n'
    )
