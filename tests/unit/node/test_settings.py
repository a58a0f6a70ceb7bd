from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.kube.settings import InvalidSettingsError
from dispatcher.node.mode import Mode
from dispatcher.node.settings import NodeSettings, load


def test_the_environment_is_read_with_one_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the manifests set it; an empty variable means the default."""
    monkeypatch.setenv("GENIE_NODE_NAME", "n1")
    monkeypatch.setenv("GENIE_DEFAULT_NETWORK", "")
    monkeypatch.setenv("GENIE_MODE", "remove --force")
    monkeypatch.setenv("GENIE_IGNORED_NETWORKS", "a, b")
    monkeypatch.setenv("GENIE_OTHER_BIN_DIRS", "/x,/y")
    settings = load([])
    assert (settings.node_name, settings.default_network) == ("n1", "")
    assert settings.mode is Mode.REMOVE_FORCE
    assert settings.ignored_networks == ("a", "b")
    assert settings.bin_dirs == ["/opt/cni/bin", "/x", "/y"]
    assert settings.conf_dirs == ("/etc/cni/genie.d", "/etc/cni/net.d")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "node-name"),
        (["--node-name=n", "--default-network=a/b"], "name of one network"),
        (["--node-name=n", "--mode=destroy"], "mode"),
        (["--node-name=n", "--mode=REMOVE"], "mode"),
        (["--node-name=n", "--deadline-seconds=200"], "deadline-seconds"),
        (["--node-name=n", "--ignored-networks=a/b"], "ignored-networks"),
    ],
    ids=[
        "no node",
        "a bad name",
        "no such mode",
        "a member's name",
        "a deadline beyond kubelet's",
        "a bad list",
    ],
)
def test_an_invalid_setting_is_named(arguments: list[str], words: str) -> None:
    """The error is one line."""
    with pytest.raises(InvalidSettingsError, match=words):
        load(arguments)


def test_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """And describes each."""
    with pytest.raises(SystemExit):
        load(["--help"])
    output = capsys.readouterr().out
    for name, field in NodeSettings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in output
        assert field.description


def test_paths_are_paths() -> None:
    """Also when they come as lists from a file."""
    settings = NodeSettings(node_name="n", other_bin_dirs=(Path("/x"),))
    assert settings.bin_dirs[1:] == ["/x"]
