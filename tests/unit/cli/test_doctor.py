"""``genie doctor``: what it finds on a node, but for conflicts of networks."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.plugin.cli.doctor import check_node
from dispatcher.plugin.cli.genie_conflist import GenieConflist
from dispatcher.plugin.cli.node_checks import version_of
from tests.unit.cli.builders import CommandLine, in_this_process, manifest, write
from tests.unit.plugin.rig import error_of

if TYPE_CHECKING:
    from pathlib import Path

    from dispatcher.plugin.cli.finding import DoctorFinding
    from tests.unit.plugin.rig import Rig


def problems(genie: CommandLine, *more: str) -> dict[str, str]:
    """Return what doctor finds wrong, by what it is about."""
    findings = genie.json("doctor", *more)
    return {each["about"]: each["said"] for each in findings if each["problem"]}


def _examine(
    own: GenieConflist, folder: Path, versions: dict[str, str] | None = None
) -> list[DoctorFinding]:
    known = versions or {}
    return check_node(own, str(folder), [str(folder)], [], lambda name: known.get(name, ""))


def test_doctor_of_a_healthy_node(node: Rig, genie: CommandLine) -> None:
    """Nothing is wrong, and exit code 0 says so."""
    node.run("ADD", "canal", netns="/proc/self/ns/net")
    assert problems(genie) == {}
    done = genie("doctor")
    assert done.code == 0
    assert "ok: conflist: the runtime loads" in done.out


def test_doctor_finds_what_is_wrong(node: Rig, genie: CommandLine) -> None:
    """Each trouble with its cure, and exit code 1."""
    node.run("ADD", "weave", container="gone")
    node.run("ADD", "canal", container="parked")
    node.delegates.absent.add("c1")
    error_of(node, "DEL", container="parked")
    node.now += 601
    node.run("DEL", container="parked")
    (node.state / "odd.json").write_text("{")
    (node.conf / "05-cilium.conflist.cilium_bak").touch()
    (node.folder / "bin" / "w2").unlink()
    (node.folder / "net.d" / "00-first.conflist").write_text("{}")
    (node.state / ".agent-problem").write_text("Cilium renames our file\n")
    (node.state / ".reaper-problem").write_text("the runtime does not answer")
    (node.state / ".network-problems").write_text('network "weave": STATUS returned code 50')
    done = genie("doctor")
    assert done.code == 1
    shown = done.out
    for part in (
        "00-first.conflist, the first file in lexical order",
        "renamed by Cilium",
        "no executable for w2",
        "canal is parked",
        "the network namespace /ns does not exist, but 1 attachment is still recorded",
        "odd.json",
        "agent: Cilium renames our file",
        "reaper: the runtime does not answer",
        'network: network "weave": STATUS returned code 50',
    ):
        assert part in shown
    assert shown.count("fix: ") == shown.count("problem: ")


@in_this_process
def test_doctor_knows_the_state_directory(
    genie: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unwritable, and full: not if root's reserve is left, or if there is no limit (ramfs)."""
    for flag, blocks, free, problem in (
        (os.ST_RDONLY, 9, 9, "not writable"),
        (0, 9, 0, "full"),
        (0, 9, 1, ""),
        (0, 0, 0, ""),
    ):
        disk = SimpleNamespace(f_flag=flag, f_blocks=blocks, f_bfree=free, f_bavail=0)
        monkeypatch.setattr("os.statvfs", lambda _, disk=disk: disk)
        found = problems(genie).get("state", "")
        assert problem in found
        assert bool(found) is bool(problem)


@in_this_process
def test_doctor_goes_on_where_it_may_not_look(
    node: Rig, genie: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without root: each directory that is closed is named, and all else is looked at."""
    real = os.listdir
    closed = {str(node.conf), str(node.state)}

    def listdir(path: str) -> list[str]:
        if path in closed:
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    node.state.mkdir()
    monkeypatch.setattr("os.listdir", listdir)
    monkeypatch.setattr("posix.listdir", listdir)
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    done = genie("doctor")
    assert done.code == 1
    shown = done.out
    assert f"problem: directory: {node.conf}: Permission denied" in shown
    assert f"problem: record: {node.state}: Permission denied" in shown
    assert "fix: run as root" in shown
    assert f"ok: state: cannot check whether {node.state} is writable: run as root" in shown
    assert "ok: conflist" in shown


def test_doctor_of_a_node_without_genie(tmp_path: Path) -> None:
    """No conflist, a broken one, a default that is not there."""
    conf = tmp_path / "00-genie.conflist"
    own = GenieConflist(str(tmp_path))
    assert any("has no conflist of Genie" in each.message for each in _examine(own, tmp_path))
    conf.write_text("{")
    own = GenieConflist(str(tmp_path))
    assert any("not valid JSON" in each.message for each in _examine(own, tmp_path))
    plugin = {"type": "genie", "default": "gone", "stateDir": str(tmp_path)}
    conf.write_text(json.dumps({"name": "genie", "plugins": [plugin]}))
    own = GenieConflist(str(tmp_path))
    (tmp_path / "x.json.corrupt").touch()
    said = [each.message for each in _examine(own, tmp_path) if each.is_problem]
    assert any('"gone"' in each for each in said)
    assert any("x.json.corrupt" in each for each in said)


@pytest.mark.parametrize(
    ("versions", "problem", "part"),
    [
        pytest.param(
            {"containerd": "containerd github.com/x v2.4.2 abc"}, False, "2.4.2", id="new"
        ),
        pytest.param({"containerd": "containerd x 1.4.13"}, True, "1.4.13", id="old containerd"),
        pytest.param({"crio": "crio version 1.28.4\nx"}, True, "1.28.4", id="old CRI-O"),
        pytest.param({"crio": "crio version 1.31.0-dev+x"}, False, "1.31.0", id="new CRI-O"),
    ],
)
def test_doctor_knows_runtimes(
    tmp_path: Path, versions: dict[str, str], *, problem: bool, part: str
) -> None:
    """One that passes no annotations is told, with the way out."""
    actual = [
        each
        for each in _examine(GenieConflist("/none"), tmp_path, versions)
        if each.subject == "runtime"
    ]
    assert [(each.is_problem, part in each.message) for each in actual] == [(problem, True)]


def test_doctor_asks_programs_for_their_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not there, or does not answer, says nothing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert version_of("containerd") == ""
    program = tmp_path / "containerd"
    program.write_text("#!/bin/sh\necho containerd x v1.2.3\n")
    program.chmod(0o755)
    assert version_of("containerd") == "containerd x v1.2.3\n"
    program.write_text("#!/no/such/thing\n")
    assert version_of("containerd") == ""


@in_this_process
def test_doctor_of_a_default_that_lacks_its_plugin_and_of_a_full_disk(
    node: Rig, genie: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network's own line says what is missing; the state's where there is no room."""
    (node.folder / "bin" / "c1").unlink()
    node.state.mkdir()
    access = os.access
    monkeypatch.setattr("os.access", lambda place, mode: not mode & os.W_OK or access(place, mode))
    real = os.statvfs(node.state)
    full = os.statvfs_result((*real[:3], 0, 0, *real[5:]))
    monkeypatch.setattr("os.statvfs", lambda _: full)
    done = genie("doctor")
    assert done.code == 1
    shown = done.out
    assert "no executable for c1" in shown
    assert f"the file system of {node.state} is full" in shown
    monkeypatch.setattr("os.access", lambda _, mode: not mode & os.W_OK)
    assert f"{node.state} is not writable" in genie("doctor").out


REFUSED = {
    "an option that does not exist": ([{"type": "genie", "defualt": "canal"}], '"default"?'),
    "a default of a wrong type": ([{"type": "genie", "default": 5}], '"default" must be'),
    "directories in one string": ([{"type": "genie", "confDirs": "/etc"}], '"confDirs" must be'),
    "a deadline of none": ([{"type": "genie", "deadlineSeconds": 0}], '"deadlineSeconds" must be'),
    "another plugin before it": (
        [{"type": "w1"}, {"type": "genie"}],
        "genie must be the first plugin",
    ),
    "itself behind it": ([{"type": "genie"}, {"type": "genie"}], "genie must be the first plugin"),
}


@pytest.mark.parametrize(("plugins", "part"), REFUSED.values(), ids=REFUSED)
def test_a_conflist_that_the_plugin_refuses_is_told(
    node: Rig, genie: CommandLine, plugins: list[dict[str, Any]], part: str
) -> None:
    """Doctor says what each call is answered; the other commands say it, too, and go on."""
    options = {"confDirs": [str(node.conf)], "stateDir": str(node.state)}
    entries = [{**options, **each} if each["type"] == "genie" else each for each in plugins]
    file = node.folder / "net.d" / "00-genie.conflist"
    file.write_text(json.dumps({"cniVersion": "1.0.0", "name": "genie", "plugins": entries}))
    more = ("--conf-dir", str(node.conf), "--state-dir", str(node.state))
    done = genie("doctor", *more)
    assert done.code == 1
    assert done.out.startswith("problem: conflist: ")
    said = problems(genie, *more)["conflist"]
    assert said.startswith(f"{file}: ")
    assert part in said
    pod = write(node.folder / "pod.json", manifest("canal, weave"))
    captured = genie("explain", pod, "--conf-dir", str(node.conf))
    assert captured.code == 1
    assert f"{said}; see genie doctor\n" in captured.err
    assert "10-canal.conflist" in captured.out


@in_this_process
def test_a_directory_of_the_runtime_that_is_closed(
    node: Rig, genie: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not said to be empty."""

    def closed(path: str) -> list[str]:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("posix.listdir", closed)
    assert problems(genie)["conflist"] == f"{node.folder}/net.d: Permission denied"


def test_a_file_where_the_state_directory_should_be(node: Rig, genie: CommandLine) -> None:
    """No record can be written into it, whatever its mode."""
    node.state.touch(mode=0o777)
    assert problems(genie)["state"] == f"{node.state} is not a directory"


def test_other_files_beside_the_conflist(node: Rig, genie: CommandLine) -> None:
    """A network in the runtime's own directory is not taken for Genie's conflist."""
    other = {"cniVersion": "1.0.0", "name": "other", "plugins": [{"type": "w1"}]}
    (node.folder / "net.d" / "00-another.conflist").write_text(json.dumps(other))
    done = genie("doctor")
    assert done.code == 1
    assert "the runtime loads" in done.out
