from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.agent.installer import PluginInstaller
from dispatcher.plugin.cli.main import main
from tests.node.installed import image
from tests.unit.cli.builders import HERE, INSTALLED, Answer, CommandLine
from tests.unit.plugin.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """Return a node with the networks weave and canal."""
    return Rig(tmp_path)


@pytest.fixture
def node(rig: Rig) -> Rig:
    """Return a node with our conflist first, its networks, and their executables."""
    net = rig.folder / "net.d"
    net.mkdir()
    own = {
        "type": "genie",
        "default": "canal",
        "confDirs": [str(rig.conf)],
        "stateDir": str(rig.state),
    }
    conf = {"cniVersion": "1.0.0", "name": "genie", "plugins": [own]}
    (net / "00-genie.conflist").write_text(json.dumps(conf))
    path = rig.folder / "bin"
    path.mkdir()
    for plugin_type in ("w1", "w2", "c1"):
        (path / plugin_type).touch(mode=0o755)
    return rig


@pytest.fixture(params=[HERE, INSTALLED])
def genie(request: pytest.FixtureRequest, node: Rig) -> CommandLine:
    """Return the command line: this process's, and that of the payload's own interpreter."""
    run = request.getfixturevalue("here" if request.param == HERE else "installed")
    options = ["--net-dir", f"{node.folder}/net.d", "--cni-path", f"{node.folder}/bin"]
    return CommandLine(run, options)


@pytest.fixture
def here(
    payload_launcher: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Sequence[str], bytes], Answer]:
    """Return a function that runs a command in this process."""

    def run(arguments: Sequence[str], stdin: bytes) -> Answer:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        code: Any = None
        try:
            code = main(arguments, str(payload_launcher))
        except SystemExit as stopped:
            code = stopped.code
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture
def installed(payload_launcher: Path) -> Callable[[Sequence[str], bytes], Answer]:
    """Return a function that runs a command as a person on a node does."""

    def run(arguments: Sequence[str], stdin: bytes) -> Answer:
        environ = {"PATH": os.environ["PATH"]}
        command = [str(payload_launcher), *arguments]
        result = subprocess.run(command, input=stdin, capture_output=True, env=environ, check=False)
        return Answer(result.returncode, result.stdout.decode(), result.stderr.decode())

    return run


@pytest.fixture(scope="session")
def payload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the image's folder for nodes, with an interpreter."""
    return image.make(tmp_path_factory.mktemp("payload") / "image", image.OWN)


@pytest.fixture(scope="session")
def payload_launcher(payload: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the plugin as the agent installs it, with an interpreter of its own."""
    plugin = PluginInstaller(payload, tmp_path_factory.mktemp("installed") / "bin")
    plugin.install()
    return plugin.launcher
