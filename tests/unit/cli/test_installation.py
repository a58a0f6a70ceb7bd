"""Where the command line finds the node's directories, and its own version."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from dispatcher.agent.installer import PluginInstaller
from dispatcher.plugin.cli.installation import BIN_DIR, NET_DIR, PluginInstallation

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.cli.builders import CommandLine

ENVIRON = {"PATH": "/usr/bin:/bin"}

LAYOUTS = {
    "as most": ("opt/cni/bin", "etc/cni/net.d"),
    "k3s": ("var/lib/rancher/k3s/data/cni", "var/lib/rancher/k3s/agent/etc/cni/net.d"),
    "k3s before 1.31": (
        "var/lib/rancher/k3s/data/current/bin",
        "var/lib/rancher/k3s/agent/etc/cni/net.d",
    ),
    "CRI-O's own": ("usr/libexec/cni", "etc/cni/net.d"),
}


def install(root: Path, bin_dir: str, net_dir: str, version: str = "1.2-abc") -> Path:
    """Lay out an installed plugin below *root*; return the launcher."""
    folder = root / bin_dir / ".genie" / version
    folder.mkdir(parents=True)
    (folder / "python3").touch()
    (root / net_dir).mkdir(parents=True)
    launcher = root / bin_dir / "genie"
    launcher.write_text(f"#!{folder}/python3 -IS\n# Genie {version}: the CNI plugin\nmain()\n")
    return launcher


@pytest.mark.parametrize(("bin_dir", "net_dir"), LAYOUTS.values(), ids=LAYOUTS)
def test_the_directories_are_those_of_the_installation(
    tmp_path: Path, bin_dir: str, net_dir: str
) -> None:
    """Also through a link from elsewhere; k3s has its own besides the usual one of the node."""
    launcher = install(tmp_path, bin_dir, net_dir)
    (tmp_path / "etc/cni/net.d").mkdir(parents=True, exist_ok=True)
    link = tmp_path / "usr/local/bin/genie"
    link.parent.mkdir(parents=True)
    link.symlink_to(launcher)
    for path in (launcher, link):
        installation = PluginInstallation(str(path))
        assert installation.launcher == str(launcher)
        assert installation.bin_dir == str(tmp_path / bin_dir)
        assert installation.net_dir == str(tmp_path / net_dir)
        assert installation.version == "1.2-abc"


def test_a_link_to_the_directory_of_plugins_stays_in_the_path(tmp_path: Path) -> None:
    """k3s changes ``data/current`` with each of its versions."""
    net_dir = "var/lib/rancher/k3s/agent/etc/cni/net.d"
    install(tmp_path, "var/lib/rancher/k3s/data/0a1b/bin", net_dir)
    current = tmp_path / "var/lib/rancher/k3s/data/current"
    current.symlink_to("0a1b")
    installation = PluginInstallation(f"{current}/bin/genie")
    assert installation.bin_dir == f"{current}/bin"
    assert installation.net_dir == f"{tmp_path}/{net_dir}"


def test_a_build_that_was_not_installed_uses_the_usual_directories(tmp_path: Path) -> None:
    """``make plugin`` brings no interpreter; no other plugin is beside it."""
    (tmp_path / "build/.genie/1.2-abc").mkdir(parents=True)
    launcher = tmp_path / "build/genie"
    launcher.write_text("#!/usr/bin/python3 -IS\n# Genie 1.2-abc: the CNI plugin\n")
    installation = PluginInstallation(str(launcher))
    assert (installation.bin_dir, installation.net_dir) == (BIN_DIR, NET_DIR)
    assert installation.version == "1.2-abc"


@pytest.mark.parametrize("text", ["", "#!/bin/sh\nexec other\n", None])
def test_a_launcher_that_says_nothing(tmp_path: Path, text: str | None) -> None:
    """Its version is unknown, and nothing fails."""
    launcher = tmp_path / "genie"
    if text is not None:
        launcher.write_text(text)
    installation = PluginInstallation(str(launcher))
    assert (installation.launcher, installation.version) == (str(launcher), "unknown")


def test_version_names_the_plugin_and_what_it_reads(
    genie: CommandLine, payload_launcher: Path
) -> None:
    """As a table, and as JSON for ``kubectl genie``."""
    [folder] = (payload_launcher.parent / ".genie").iterdir()
    answer = json.loads(genie.bare("version", "--output", "json").out)
    assert answer == {
        "version": folder.name,
        "executable": str(payload_launcher),
        "pluginType": "genie",
        "cniVersions": ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
        "recordFormat": 2,
        "oldestRecordReader": 1,
    }
    lines = genie.bare("version").out.splitlines()
    assert lines[0] == f"genie {folder.name}"
    assert f"executable: {payload_launcher}" in lines
    assert "record format: 2, oldest reader 1" in lines


def test_k3s_needs_no_flags(tmp_path: Path, payload: Path) -> None:
    """The real plugin in k3s' directories: conflist, networks, records and plugins are found.

    The plugins of k3s are absolute links to one program.
    """
    root = tmp_path / "var/lib/rancher/k3s"
    bin_dir, net_dir, state = root / "data/cni", root / "agent/etc/cni/net.d", root / "genie"
    net_dir.mkdir(parents=True)
    bin_dir.mkdir(parents=True)
    plugin = PluginInstaller(payload, bin_dir)
    plugin.install()
    program = root / "data/0a1b/bin/cni"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    (bin_dir / "flannel").symlink_to(program)
    network = {"cniVersion": "1.0.0", "name": "flannel", "plugins": [{"type": "flannel"}]}
    (net_dir / "10-flannel.conflist").write_text(json.dumps(network))
    own = {
        "type": "genie",
        "default": "flannel",
        "confDirs": [str(net_dir)],
        "stateDir": str(state),
    }
    conflist = {"cniVersion": "1.0.0", "name": "genie", "plugins": [own]}
    (net_dir / "00-genie.conflist").write_text(json.dumps(conflist))

    def genie(*words: str) -> str:
        command = [str(plugin.launcher), *words]
        result = subprocess.run(command, capture_output=True, text=True, env=ENVIRON, check=False)
        assert result.stderr in {"", f"no attachments: {state} has no records\n"}
        return str(result.stdout)

    [row] = json.loads(genie("list", "--output", "json"))
    assert (row["network"], row["attachable"]) == ("flannel", True)
    assert genie("attachments", "--output", "json") == "[]\n"
    findings = json.loads(genie("doctor", "--output", "json"))
    assert f"the runtime loads {net_dir}/00-genie.conflist" in [each["said"] for each in findings]
    assert not any(each["problem"] for each in findings if each["about"] != "runtime")
