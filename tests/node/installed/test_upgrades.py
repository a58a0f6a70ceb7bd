"""The agent's installation of the plugin, while pods come and go.

The agent's own code installs real payloads, each with its interpreter, one version after another;
meanwhile the plugin is called as the runtime calls it, with the real bridge and host-local.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from dispatcher.agent.installer import PluginInstaller
from dispatcher.node.plugin_layout import VERSIONS_FOLDER
from dispatcher.node.settings import NodeSettings
from dispatcher.reaper.old_versions import OldVersions
from tests import predecessor as of_history
from tests.node.calls import wait_for
from tests.node.installed import image
from tests.workers import Workers

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from tests.node.calls import Answer
    from tests.node.harness import Node
    from tests.node.namespaces import Container

UPGRADES, FULL_UPGRADES = 10, 50
LANES = 3
BOTH = "weave,canal@net1"

BETWEEN_LOOKS = 1.0
"""Seconds between two looks for versions that nothing uses; a minute in the reaper."""


class Host:
    """The node's directory of CNI plugins, and images with different versions.

    Two payloads take turns, so that a folder or a call that is made of both has the interpreter of
    the one and the libraries of the other.
    """

    def __init__(self, node: Node, payloads: tuple[Path, Path]) -> None:
        self.bin = node.folder / "cni-bin"
        self.bin.mkdir()
        self._node = node
        self._payloads = itertools.cycle(payloads)
        self._versions = OldVersions(NodeSettings(node_name="n", cni_bin_dir=self.bin))

    def install(self, name: str) -> PluginInstaller:
        """Upgrade to the version *name*, as an agent that has just started."""
        payload = next(self._payloads)
        source = image.relabelled(payload, self._node.folder / f"image-{name}", name)
        plugin = PluginInstaller(source, self.bin)
        assert plugin.install() == []
        return plugin

    def prune(self) -> list[str]:
        """Look twice, and return the versions that were removed."""
        first = self._versions.prune()
        time.sleep(BETWEEN_LOOKS)
        return first + self._versions.prune()

    def present(self) -> list[str]:
        """Return the versions that are there."""
        return sorted(
            path.name.rpartition("-")[2] for path in (self.bin / VERSIONS_FOLDER).iterdir()
        )


@pytest.fixture
def host(node: Node, payloads: tuple[Path, Path]) -> Host:
    """Give a node on which nothing is installed."""
    return Host(node, payloads)


class Lane:
    """Attaches and frees one container over and over, until told to stop."""

    def __init__(self, node: Node, program: Path, container: Container) -> None:
        self._call: Callable[[str], Answer] = lambda command: node.call(
            command, container, BOTH, program=[program]
        )
        self.begun = 0
        self.seen = 0
        self.failures: list[str] = []

    def run(self, stopping: threading.Event) -> None:
        """Call until *stopping* is set; the last call is a DEL."""
        while not stopping.is_set():
            for command in ("ADD", "DEL"):
                self.begun += 1
                answer = self._call(command)
                if answer.code:
                    self.failures.append(f"{command}: {answer.out!r} {answer.err}")


@pytest.mark.repeats
def test_no_add_fails_during_upgrades(
    node: Node, host: Host, counted: Callable[[str], None], *, full: bool
) -> None:
    """Three lanes of ADD and DEL; between two upgrades each lane begins at least one call."""
    upgrades = FULL_UPGRADES if full else UPGRADES
    host.install("0")
    lanes = [Lane(node, host.bin / "genie", node.container(f"pod{n}")) for n in range(LANES)]
    with Workers(*(lane.run for lane in lanes)):
        for number in range(1, upgrades + 1):
            for lane in lanes:
                lane.seen = lane.begun
            host.install(str(number))
            wait_for(lambda: all(lane.begun > lane.seen for lane in lanes), "calls")
            if number % 5 == 0:
                host.prune()

    assert [lane.failures for lane in lanes] == [[]] * LANES
    assert min(lane.begun for lane in lanes) >= upgrades
    assert (node.addresses("weave"), node.addresses("canal"), node.records()) == ([], [], {})
    host.prune()
    assert host.present() == [str(upgrades)]
    calls = sum(lane.begun for lane in lanes)
    counted(f"{upgrades} upgrades during {calls} calls, none failed")


SLOW = """
touch "$HERE/begun"
while [ "$CNI_COMMAND" = ADD ] && [ ! -e "$HERE/go" ]; do sleep 0.05; done
[ "$CNI_COMMAND" = ADD ] && [ -e "$HERE/fail" ] && exit 1
exec "$REAL/bridge"
"""
"""A bridge plugin that waits for the test, and fails if told to."""


@pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
def test_a_running_add_keeps_the_version_that_it_started_with(
    node: Node, host: Host, *, fails: bool
) -> None:
    """Also for what it loads only at the end; then, used by nobody, that version goes."""
    node.delegate("slow", SLOW)
    node.bridge("canal", "10.244.0.0/16", kind="slow")
    if fails:
        (node.folder / "fail").touch()
    pod = node.container("pod")
    old = host.install("old")
    running = node.begin("ADD", pod, BOTH, program=[old.launcher])
    wait_for((node.folder / "begun").exists, "canal's ADD")
    host.install("new")
    assert host.prune() == []
    assert host.present() == ["new", "old"]
    (node.folder / "go").touch()
    answer = running.answer()
    if fails:
        assert '"canal"' in answer.failed()["msg"]
        assert node.addresses("weave") == []
    else:
        answer.succeeded()
        node.delete(pod, program=[host.bin / "genie"]).succeeded()
    assert [name.rpartition("-")[2] for name in host.prune()] == ["old"]
    assert (node.addresses("weave"), node.addresses("canal"), node.records()) == ([], [], {})


def test_files_of_others_in_the_directory_are_never_touched(node: Node, host: Host) -> None:
    """Other plugins, and whatever else lies there, over installation, upgrades and removal."""
    (host.bin / "bridge").write_bytes((node.plugins / "bridge").read_bytes())
    (host.bin / ".hidden").mkdir()
    (host.bin / ".hidden" / "genie").write_text("not Genie's")
    (host.bin / "genie-of-another-kind").write_text("not Genie's")
    before = [(path, path.stat().st_mtime_ns) for path in sorted(host.bin.rglob("*"))]
    for number in range(3):
        host.install(str(number))
    host.prune()
    host.install("last").remove()
    after = [(path, path.stat().st_mtime_ns) for path in sorted(host.bin.rglob("*"))]
    assert after == before


def test_a_container_attached_by_one_version_is_freed_by_each_later_one(
    node: Node, host: Host
) -> None:
    """The record carries what is needed, whatever was installed since."""
    pods = [node.container(f"pod{number}") for number in range(3)]
    for number, pod in enumerate(pods):
        host.install(str(number))
        node.add(pod, BOTH, program=[host.bin / "genie"]).succeeded()
    for number, pod in zip(itertools.count(3), pods, strict=False):
        host.install(str(number))
        host.prune()
        node.delete(pod, program=[host.bin / "genie"]).succeeded()
    assert (node.addresses("weave"), node.addresses("canal"), node.records()) == ([], [], {})


INSTALL = """
import importlib
import sys
from pathlib import Path
module, name, method = sys.argv[3:]
installer = getattr(importlib.import_module(module), name)(Path(sys.argv[1]), Path(sys.argv[2]))
getattr(installer, method)()
"""


class Pair:
    """A node where this version and the one before it take turns, each installed by its agent."""

    def __init__(self, node: Node, predecessor: Path, payload: Path, previous: Path) -> None:
        self._bin = node.folder / "cni-bin"
        self._bin.mkdir()
        self._images = {
            "this": (
                image.TREE,
                payload,
                (PluginInstaller.__module__, "PluginInstaller", "install"),
            ),
            "the predecessor": (predecessor, previous, of_history.INSTALLER),
        }
        self.program = [self._bin / "genie"]

    def install(self, version: str) -> None:
        """Upgrade or downgrade, as an agent that has just started."""
        tree, payload, installer = self._images[version]
        command = [sys.executable, "-c", INSTALL, str(payload), str(self._bin), *installer]
        subprocess.run(command, cwd=tree, check=True, capture_output=True)


@pytest.fixture
def pair(node: Node, predecessor: Path, payload: Path, previous_payload: Path) -> Pair:
    """Give a node on which neither version is installed."""
    return Pair(node, predecessor, payload, previous_payload)


def test_an_upgrade_that_is_taken_back_and_made_again_loses_nothing(node: Node, pair: Pair) -> None:
    """At each turn a pod of every version so far goes, one stays, and one comes."""
    left: list[Container] = []
    turns = ["the predecessor", "this", "the predecessor", "this"]
    for turn, version in enumerate(turns):
        pair.install(version)
        for pod in left:
            node.check(pod, program=pair.program).succeeded()
        for number, annotation in enumerate((BOTH, "canal", BOTH)):
            pod = node.container(f"pod{turn}{number}")
            node.add(pod, annotation, program=pair.program).succeeded()
            left.append(pod)
        for pod in left[:: 2 if turn < len(turns) - 1 else 1]:
            answer = node.delete(pod, program=pair.program)
            answer.succeeded()
            assert "corrupt" not in answer.err
            left.remove(pod)
        expected = sorted(pod.id for pod in left)
        assert sorted(node.records()) == expected
        assert len(node.addresses("canal")) == len(left)
    assert (node.addresses("weave"), node.addresses("canal"), node.records()) == ([], [], {})
    assert {file.name for file in node.state.iterdir()} == {".gc.lock", ".released", "journal"}


@pytest.mark.parametrize("order", [["this", "the predecessor"], ["the predecessor", "this"]])
def test_what_one_version_could_not_free_the_other_frees(
    node: Node, pair: Pair, order: list[str]
) -> None:
    """Its record was rewritten in between, by the version that failed."""
    node.delegate(
        "slow", '[ "$CNI_COMMAND" = DEL ] && [ -e "$HERE/fail" ] && exit 1\nexec $REAL/bridge'
    )
    node.bridge("canal", "10.244.0.0/16", kind="slow")
    pod = node.container("pod")
    (node.folder / "fail").touch()
    pair.install(order[0])
    node.add(pod, BOTH, program=pair.program).succeeded()
    pair.install(order[1])
    node.delete(pod, program=pair.program).failed(103)
    pair.install(order[0])
    node.delete(pod, program=pair.program).failed(103)
    assert (len(node.addresses("canal")), list(node.records())) == (1, ["pod"])
    (node.folder / "fail").unlink()
    pair.install(order[1])
    node.delete(pod, program=pair.program).succeeded()
    assert (node.addresses("weave"), node.addresses("canal"), node.records()) == ([], [], {})
