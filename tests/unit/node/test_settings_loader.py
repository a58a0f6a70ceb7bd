from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from dispatcher.kube.errors import InvalidSettingsError
from dispatcher.node import settings_loader
from dispatcher.node.settings import Settings


def test_every_setting_is_told_as_it_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the command line, of the environment, and what follows from them."""
    monkeypatch.setenv("GENIE_IGNORED_NETWORKS", "a, b")
    monkeypatch.setenv("GENIE_NODE_NAME", "n1")
    arguments = ["--mode=remove --force", "--other-bin-dirs=/x,/y"]
    judged = Settings(
        node_name="n1",
        ignored_networks=("a", "b"),
        mode="remove --force",
        other_bin_dirs=(Path("/x"), Path("/y")),
    )
    found = settings_loader.load(arguments)
    for name in (*Settings.model_fields, "conf_dirs", "bin_dirs"):
        assert getattr(found, name) == getattr(judged, name), name


def test_the_judge_says_everything_or_why_not(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Values to standard output; to standard error what is wrong, and exit code 1."""
    assert settings_loader.main(["--node-name=n1"]) == 0
    assert pickle.loads(capfdbinary.readouterr().out)["node_name"] == "n1"  # noqa: S301 - ours
    assert settings_loader.main([]) == 1
    assert b"--node-name" in capfdbinary.readouterr().err


def test_a_bad_setting_is_told_in_one_line() -> None:
    """That of the judge."""
    with pytest.raises(InvalidSettingsError, match=r"^setting --port \(GENIE_PORT\): .*$"):
        settings_loader.load(["--node-name=n", "--port=many"])


def test_help_is_the_judges(capfd: pytest.CaptureFixture[str]) -> None:
    """And ends the process that asked."""
    with pytest.raises(SystemExit) as ended:
        settings_loader.load(["--help"])
    assert ended.value.code == 0
    assert "--reap-age-seconds" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("dispatcher.agent.__main__", {"pydantic", "yaml", "kubernetes", "h2"}),
        ("dispatcher.reaper.__main__", {"pydantic", "yaml", "kubernetes", "urllib3", "watchdog"}),
    ],
)
def test_what_is_dear_is_not_loaded(module: str, unwanted: set[str]) -> None:
    """Agent and reaper may take 90 MiB together, on every node."""
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not unwanted & set(done.stdout.split())
