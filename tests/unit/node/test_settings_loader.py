from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from dispatcher.kube.errors import InvalidSettingsError
from dispatcher.node import settings_loader
from dispatcher.node.mode import Mode
from dispatcher.node.settings import NodeSettings


def test_every_setting_arrives_as_it_was_validated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the command line, of the environment, and what follows from them."""
    monkeypatch.setenv("GENIE_IGNORED_NETWORKS", "a, b")
    monkeypatch.setenv("GENIE_NODE_NAME", "n1")
    arguments = ["--mode=remove --force", "--other-bin-dirs=/x,/y"]
    expected = NodeSettings(
        node_name="n1",
        ignored_networks=("a", "b"),
        mode=Mode.REMOVE_FORCE,
        other_bin_dirs=(Path("/x"), Path("/y")),
    )
    settings = settings_loader.load(arguments)
    for name in (*NodeSettings.model_fields, "conf_dirs", "bin_dirs"):
        assert getattr(settings, name) == getattr(expected, name), name


def test_the_child_writes_every_setting_or_the_fault(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    """Values to standard output; to standard error what is wrong, and exit code 1."""
    assert settings_loader.main(["--node-name=n1"]) == 0
    assert pickle.loads(capfdbinary.readouterr().out)["node_name"] == "n1"  # noqa: S301 - ours
    assert settings_loader.main([]) == 1
    assert b"--node-name" in capfdbinary.readouterr().err


def test_a_bad_setting_is_reported_in_one_line() -> None:
    """The line is the child's."""
    with pytest.raises(InvalidSettingsError, match=r"^setting --port \(GENIE_PORT\): .*$"):
        settings_loader.load(["--node-name=n", "--port=many"])


def test_help_is_printed_by_the_child(capfd: pytest.CaptureFixture[str]) -> None:
    """It ends the parent, too."""
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
def test_libraries_that_need_much_memory_are_not_loaded(module: str, unwanted: set[str]) -> None:
    """Agent and reaper may take 90 MiB together, on every node."""
    assert not unwanted & modules_after(f"import {module}")


def test_loaded_settings_need_no_pydantic() -> None:
    """Each value must be of a type that the parent can import without it."""
    code = "from dispatcher.node import settings_loader; settings_loader.load(['--node-name=n1'])"
    assert "pydantic" not in modules_after(code)


def modules_after(code: str) -> set[str]:
    """Return the names of the modules that a new interpreter has loaded after *code*."""
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    completed = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(completed.stdout.split())
