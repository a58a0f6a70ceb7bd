"""The command line for people: what it prints, and with which exit code."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.plugin.cli import doctor, podfile
from dispatcher.plugin.cli.main import main
from dispatcher.plugin.cli.own import Own
from dispatcher.plugin.cli.podfile import PodFileError
from dispatcher.state import store
from tests.unit.plugin.rig import Rig, error_of, failure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dispatcher.plugin.cli.diagnosis import Diagnosis

POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: web
  annotations:
    cni: "canal, weave"
spec:
  containers:
  - name: web
"""


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
    for kind in ("w1", "w2", "c1"):
        (path / kind).touch(mode=0o755)
    return rig


class Answer(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


class CommandLine:
    """The command line on a node; ``options`` say where the node's folders are."""

    def __init__(self, run: Callable[[Sequence[str], bytes], Answer], options: list[str]) -> None:
        self._run = run
        self.options = options

    def __call__(self, command: str, *more: str, stdin: bytes = b"") -> Answer:
        """Run a command on the node."""
        return self.bare(command, *self.options, *more, stdin=stdin)

    def bare(self, *arguments: str, stdin: bytes = b"") -> Answer:
        """Run it with these arguments alone."""
        return self._run(arguments, stdin)

    def json(self, *arguments: str) -> Any:
        """Return what a command answers as JSON."""
        return json.loads(self(*arguments, "--output", "json").out)


HERE, INSTALLED = "in this process", "as installed"


@pytest.fixture(params=[HERE, INSTALLED])
def genie(request: pytest.FixtureRequest, node: Rig) -> CommandLine:
    """Give the command line: this process's, and that of the payload with its own interpreter."""
    run = request.getfixturevalue("here" if request.param == HERE else "installed")
    options = ["--net-dir", f"{node.folder}/net.d", "--cni-path", f"{node.folder}/bin"]
    return CommandLine(run, options)


patched = pytest.mark.parametrize("genie", [HERE], indirect=True)
"""For tests that change something of the process."""


@pytest.fixture
def here(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Sequence[str], bytes], Answer]:
    """Give a function that runs a command in this process."""

    def run(arguments: Sequence[str], stdin: bytes) -> Answer:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        code: Any = None
        try:
            code = main(arguments)
        except SystemExit as stopped:
            code = stopped.code
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture
def installed(payload_launcher: Path) -> Callable[[Sequence[str], bytes], Answer]:
    """Give a function that runs a command as a person on a node does."""

    def run(arguments: Sequence[str], stdin: bytes) -> Answer:
        environ = {"PATH": os.environ["PATH"]}
        command = [str(payload_launcher), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, env=environ, check=False)
        return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


def test_explain_tells_what_a_pod_would_get(node: Rig, genie: CommandLine) -> None:
    """Networks, interfaces and files, in order."""
    pod = node.folder / "pod.yaml"
    pod.write_text(POD)
    done = genie("explain", str(pod))
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == 'Pod default/web, annotation cni: "canal, weave"'
    assert lines[2].split() == [
        "canal",
        "eth0",
        "(primary)",
        f"{node.conf}/10-canal.conflist",
        "c1",
    ]
    assert lines[3].split() == ["weave", "eth1", f"{node.conf}/10-weave.conflist", "w1,", "w2"]
    [said] = genie.json("explain", str(pod))
    assert [each["plugins"] for each in said["attachments"]] == [["c1"], ["w1", "w2"]]


@pytest.mark.parametrize("header", ["|", "|-", ">"])
def test_explain_reads_a_block_of_several_lines(node: Rig, genie: CommandLine, header: str) -> None:
    """Ends of lines are blanks, so `cni: |` names the same networks as one line."""
    pod = node.folder / "pod.yaml"
    pod.write_text(
        "kind: Pod\nmetadata:\n  name: web\n  annotations:\n"
        f"    cni: {header}\n      canal,\n      weave\n"
    )
    [answer] = genie.json("explain", str(pod))
    assert [each["network"] for each in answer["attachments"]] == ["canal", "weave"]


def test_explain_tells_the_error_and_what_is_missing(node: Rig, genie: CommandLine) -> None:
    """The plugin's own words, and exit code 1."""
    done = genie("explain", "-", stdin=POD.replace("canal,", "cnal,").encode())
    assert done.code == 1
    assert 'did you mean "canal"' in done.err
    (node.folder / "bin" / "w2").unlink()
    pod = node.folder / "pod.yaml"
    pod.write_text(POD)
    done = genie("explain", str(pod))
    assert done.code == 0
    assert "missing: w2" in done.out


def test_explain_tells_what_cannot_be_combined_in_the_plugins_own_words(
    node: Rig, genie: CommandLine
) -> None:
    """What ADD would refuse on this node has exit code 1."""
    node.network("calico", "calico", "portmap")
    node.network("flannel", "calico")
    pod = node.folder / "pod.yaml"
    pod.write_text(POD.replace("canal, weave", "calico,flannel@net1"))
    done = genie("explain", str(pod))
    assert done.code == 1
    refusal = error_of(node, "ADD", "calico,flannel@net1")
    assert f"error: {refusal.msg}" in done.err
    [answer] = genie.json("explain", str(pod))
    assert answer["error"] == {"code": refusal.code, "msg": refusal.msg, "details": ""}


def test_explain_warns_of_a_network_that_works_only_as_the_primary(
    node: Rig, genie: CommandLine
) -> None:
    """The pod would start, so the exit code is 0."""
    node.network("calico", "calico")
    pod = node.folder / "pod.yaml"
    sentence = (
        '"calico" works only as the primary (on eth0): calico leaves other interfaces unreachable'
    )
    for value, warnings in (("weave,calico@net1", [sentence]), ("weave@net1,calico", [])):
        pod.write_text(POD.replace("canal, weave", value))
        done = genie("explain", str(pod))
        assert done.code == 0
        assert [line for line in done.out.splitlines() if line.startswith("warning: ")] == [
            f"warning: {each}" for each in warnings
        ]
        [answer] = genie.json("explain", str(pod))
        assert answer["warnings"] == warnings


def test_explain_of_a_pod_without_a_choice(node: Rig, genie: CommandLine) -> None:
    """The default comes from the node's conflist, or from the command line."""
    pod = node.folder / "pod.json"
    pod.write_text('{"kind":"Pod","metadata":{"name":"x","namespace":"y"}}')
    [said] = genie.json("explain", str(pod))
    assert [each["network"] for each in said["attachments"]] == ["canal"]
    done = genie("explain", str(pod), "--default", "weave")
    assert done.code == 0
    assert "none, so the node's default" in done.out
    assert genie("explain", str(pod), "--default", "").code == 1
    [said] = genie.json("explain", str(pod), "--default", "")
    assert said["error"]["code"] == 7


@pytest.mark.parametrize("name", ["none.yaml", "odd.yaml", "list.yaml"])
def test_explain_of_what_is_no_manifest(node: Rig, genie: CommandLine, name: str) -> None:
    """The file is named."""
    (node.folder / "odd.yaml").write_bytes(b"\xff")
    (node.folder / "list.yaml").write_text("- a\n- b\n")
    done = genie("explain", str(node.folder / name))
    assert done.code == 1
    assert name in done.err


def test_list_tells_networks_and_why_not(node: Rig, genie: CommandLine) -> None:
    """One row for each file."""
    (node.conf / "broken.conf").write_text("{")
    (node.conf / "a b.conf").write_text("{")
    (node.folder / "bin" / "w2").unlink()
    rows = {row["network"]: row for row in genie.json("list")}
    assert rows["canal"]["attachable"]
    assert rows["canal"]["also"] == ["canal-net", "10-canal"]
    assert rows["weave"]["reason"] == "no executable for w2"
    assert "not valid JSON" in rows["broken"]["reason"]
    done = genie("list")
    assert done.code == 0
    assert "-        -" in done.out


def test_attachments_are_shown_without_their_configuration(node: Rig, genie: CommandLine) -> None:
    """Configurations may hold secrets: only where asked for."""
    node.network("secret", "w1", password="hunter2")  # noqa: S106 - the secret of a test
    conf = json.loads((node.conf / "10-secret.conflist").read_text())
    conf["plugins"][0]["password"] = "hunter2"  # noqa: S105 - same
    (node.conf / "10-secret.conflist").write_text(json.dumps(conf))
    node.run("ADD", "secret,canal")
    plain = [genie("attachments"), genie("attachments", "--output", "json")]
    assert [each.code for each in plain] == [0, 0]
    shown = "".join(each.out for each in plain)
    assert "ns/pod" in shown
    assert "10.1.0.2/16" in shown
    assert "hunter2" not in shown
    done = genie("attachments", "--show-config")
    assert done.code == 0
    assert "hunter2" in done.out


@pytest.mark.parametrize(
    ("result", "said"),
    [("{}", "interfaces"), ('{"interfaces":[],"ips":[{}],"routes":[],"dns":{}}', "address")],
)
def test_a_record_with_something_foreign_inside_is_told(
    node: Rig, genie: CommandLine, result: str, said: str
) -> None:
    """Its file is named instead of a traceback."""
    node.run("ADD", "canal")
    value = node.record()
    value["attachments"][0]["result"] = json.loads(result)
    node.rewrite(value)
    captured = genie("attachments")
    assert captured.code == 1
    assert "c1.json: KeyError" in captured.err
    assert said in captured.err
    assert "nothing is attached" not in captured.err


@patched
def test_attachments_whose_record_cannot_be_read(
    node: Rig, genie: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are shown, the file is named, and the exit code says so; all from one look."""
    node.run("ADD", "canal")
    (node.state / "odd.json").write_text("{")
    read, looked = store.read, []

    def look(state_dir: str, container_id: str) -> Any:
        looked.append(container_id)
        return read(state_dir, container_id)

    monkeypatch.setattr(store, "read", look)
    captured = genie("attachments")
    assert captured.code == 1
    assert looked == ["c1", "odd"]
    assert "canal" in captured.out
    assert "odd.json" in captured.err


def problems(genie: CommandLine, *more: str) -> dict[str, str]:
    """Return what doctor finds wrong, by what it is about."""
    findings = genie.json("doctor", *more)
    return {each["about"]: each["said"] for each in findings if each["problem"]}


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
    done = genie("doctor")
    assert done.code == 1
    shown = done.out
    for part in (
        "00-first.conflist, the first in lexical order",
        "renamed by Cilium",
        "no executable for w2",
        "canal is parked",
        "/ns is gone, but 1 attachments are still recorded",
        "odd.json",
        "agent: Cilium renames our file",
        "reaper: the runtime does not answer",
    ):
        assert part in shown
    assert shown.count("cure: ") == shown.count("problem: ")


@patched
def test_doctor_knows_the_state_directory(
    genie: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unwritable, and full."""
    assert problems(genie, "--state-dir", "/proc/none") != {}

    class Full:
        f_flag = 0
        f_bavail = 0

    monkeypatch.setattr("os.statvfs", lambda _: Full())
    assert "full" in problems(genie)["state"]


REFUSED = {
    "an option that does not exist": ([{"type": "genie", "defualt": "canal"}], '"default"?'),
    "a default of a wrong type": ([{"type": "genie", "default": 5}], '"default" must be'),
    "directories in one string": ([{"type": "genie", "confDirs": "/etc"}], '"confDirs" must be'),
    "a deadline of none": ([{"type": "genie", "deadlineSeconds": 0}], '"deadlineSeconds" must be'),
    "another plugin before it": ([{"type": "w1"}, {"type": "genie"}], "only the first plugin"),
    "itself behind it": ([{"type": "genie"}, {"type": "genie"}], "only the first plugin"),
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
    pod = node.folder / "pod.yaml"
    pod.write_text(POD)
    captured = genie("explain", str(pod), "--conf-dir", str(node.conf))
    assert captured.code == 1
    assert f"{said}; see genie doctor\n" in captured.err
    assert "10-canal.conflist" in captured.out


@patched
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
    assert "cure: look at it as root" in shown
    assert f"ok: state: whether {node.state} can be written only root can tell" in shown
    assert "ok: conflist" in shown


@patched
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


def test_doctor_of_a_node_without_genie(tmp_path: Path) -> None:
    """No conflist, a broken one, a default that is not there."""
    conf = tmp_path / "00-genie.conflist"
    own = Own(str(tmp_path))
    assert any("no configuration of Genie's" in each.said for each in _examine(own, tmp_path))
    conf.write_text("{")
    own = Own(str(tmp_path))
    assert any("not valid JSON" in each.said for each in _examine(own, tmp_path))
    plugin = {"type": "genie", "default": "gone", "stateDir": str(tmp_path)}
    conf.write_text(json.dumps({"name": "genie", "plugins": [plugin]}))
    own = Own(str(tmp_path))
    (tmp_path / "x.json.corrupt").touch()
    said = [each.said for each in _examine(own, tmp_path) if each.problem]
    assert any('"gone"' in each for each in said)
    assert any("x.json.corrupt" in each for each in said)


def _examine(own: Own, folder: Path, versions: dict[str, str] | None = None) -> list[Diagnosis]:
    known = versions or {}
    return doctor.examine(own, str(folder), [str(folder)], [], lambda name: known.get(name, ""))


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
    found = [each for each in _examine(Own("/none"), tmp_path, versions) if each.about == "runtime"]
    assert [(each.problem, part in each.said) for each in found] == [(problem, True)]


def test_doctor_asks_programs_for_their_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not there, or does not answer, says nothing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor._version("containerd") == ""
    program = tmp_path / "containerd"
    program.write_text("#!/bin/sh\necho containerd x v1.2.3\n")
    program.chmod(0o755)
    assert doctor._version("containerd") == "containerd x v1.2.3\n"
    program.write_text("#!/no/such/thing\n")
    assert doctor._version("containerd") == ""


@patched
def test_colour_only_on_a_terminal(genie: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Escape sequences are for eyes, not for files."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", out)
    genie("explain", "/none")
    assert "\x1b[31merror\x1b[0m" in out.getvalue()


def test_without_a_command_all_commands_are_told(genie: CommandLine) -> None:
    """Nothing was asked for: the help goes to standard error, with the exit code of misuse."""
    captured = genie.bare()
    assert (captured.code, captured.out) == (2, "")
    assert all(word in captured.err for word in ("explain", "list", "attachments", "doctor"))


def test_options_stand_before_the_command_or_behind_it(node: Rig, genie: CommandLine) -> None:
    """What is given behind it wins."""
    before = ("--output", "json", *genie.options)
    done = genie.bare(*before, "list")
    assert json.loads(done.out)[0]["file"] == f"{node.conf}/10-canal.conflist"
    assert genie.bare(*before, "list", "--output", "table").out.startswith("NETWORK")
    done = genie.bare(*before, "--conf-dir", "/none", "list")
    assert (done.code, json.loads(done.out)) == (0, [])


def test_names_are_shown_so_that_a_terminal_takes_them_for_text(
    node: Rig, genie: CommandLine
) -> None:
    """Escape sequences and lone surrogates, in manifests, in files and in what plugins said."""
    odd = json.dumps({"kind": "Pod", "metadata": {"name": "\x1b[31mweb", "namespace": "\ud800"}})
    (node.folder / "odd.json").write_text(odd)
    (node.conf / "a\x1b[2J.conf").write_text("{")
    node.network("odd", "\x1b[31mtype")
    node.run("ADD", "canal")
    node.delegates.faults["DEL", "c1"] = failure(7, "no\n\x9bmore")
    error_of(node, "DEL")
    shown = ""
    for arguments in (
        ["explain", str(node.folder / "odd.json")],
        ["list"],
        ["attachments"],
        ["doctor"],
        ["attachments", "--output", "json"],
    ):
        done = genie(*arguments)
        shown += done.out + done.err
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    assert "Traceback" not in shown
    assert "Pod \\ud800/\\x1b[31mweb" in shown
    assert "a\\x1b[2J.conf" in shown
    assert "no executable for \\x1b[31mtype" in shown
    assert "no\\n\\x9bmore" in shown
    assert "no\\n\\u009bmore" in shown


def test_json_loses_nothing_for_the_terminals_sake(node: Rig, genie: CommandLine) -> None:
    """What a terminal may act upon is escaped as JSON has it, also beyond 16 bits."""
    name = "a\x9b\u202e\U000e0001é😀"
    pod = node.folder / "pod.json"
    pod.write_text(json.dumps({"kind": "Pod", "metadata": {"name": name}}))
    out = genie("explain", str(pod), "--output", "json").out
    assert json.loads(out)[0]["name"] == name
    assert out.strip().isprintable()
    assert "é😀" in out


@pytest.mark.parametrize("arguments", [["--help"], ["list", "--help"], ["dance"]])
def test_help_and_misuse(genie: CommandLine, arguments: list[str]) -> None:
    """What can be asked for is told; exit code 2 for what cannot."""
    captured = genie.bare(*arguments)
    assert captured.code == (0 if "--help" in arguments else 2)
    assert "usage: genie" in captured.out + captured.err


def test_an_empty_node_is_told_in_words(node: Rig, genie: CommandLine) -> None:
    """A table without rows says why it has none, beside the table."""
    for file in node.conf.iterdir():
        file.unlink()
    done = [genie("list"), genie("attachments")]
    assert [each.code for each in done] == [0, 0]
    said = "".join(each.err for each in done)
    assert f"no configuration of a network in {node.conf}" in said
    assert f"nothing is attached: {node.state} has no record" in said


def test_a_manifest_that_is_not_there(genie: CommandLine) -> None:
    """The file and the reason, in words."""
    done = genie.bare("explain", "/none")
    assert (done.code, done.err) == (1, "error: /none: No such file or directory\n")


# Manifests


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(POD, ("Pod", "default", "web", "canal, weave"), id="a pod as people write it"),
        pytest.param(
            "# c\nkind: Pod\nmetadata: {name: a, namespace: b}\n",
            ("Pod", "b", "a", None),
            id="flow",
        ),
        pytest.param(
            "kind: Deployment\nmetadata:\n  name: d\nspec:\n  template:\n    metadata:\n"
            "      annotations: {cni: 'weave', \"x\": y}\n    spec:\n      containers: []\n",
            ("Deployment", "default", "d", "weave"),
            id="a workload",
        ),
        pytest.param(
            "kind: CronJob\nspec:\n  jobTemplate:\n    spec:\n      template:\n        metadata:\n"
            "          annotations:\n            cni: weave # why\n"
            "        spec:\n          containers:\n          - name: c\n",
            ("CronJob", "default", "", "weave"),
            id="a cron job",
        ),
        pytest.param(
            "kind: Pod\nmetadata:\n  generateName: g-\n  annotations:\n    note: |\n"
            "      kind: x\n      cni: no\n    cni: ''\n    more: >-\n      a\n      b\n",
            ("Pod", "default", "g-", ""),
            id="block scalars between",
        ),
        pytest.param(
            "kind: Pod\nmetadata:\n  annotations:\n    cni:\n",
            ("Pod", "default", "", None),
            id="null",
        ),
        pytest.param(
            '{"kind":"Pod","metadata":{"annotations":{"cni":"a"}}}',
            ("Pod", "default", "", "a"),
            id="JSON",
        ),
        pytest.param(
            '{"kind":"List","items":[{"kind":"Pod","metadata":{"name":"i"}}]}',
            ("Pod", "default", "i", None),
            id="a list",
        ),
        pytest.param(
            '{"kind":"PodList","items":[{"metadata":{"annotations":{"cni":"a"}}}]}',
            ("Pod", "default", "", "a"),
            id="a list of the API server's own",
        ),
        pytest.param(
            '{"kind":"PodTemplate","template":{"metadata":{"annotations":{"cni":"a"}},'
            '"spec":{"containers":[]}}}',
            ("PodTemplate", "default", "", "a"),
            id="a pod template",
        ),
    ],
)
def test_manifests(text: str, expected: tuple[str, str, str, Any]) -> None:
    """What is said about name and annotation, in the forms that people use."""
    [pod] = podfile.read(text.encode())
    assert (pod.kind, pod.namespace, pod.name, pod.annotation) == expected
    assert pod.passed_over == ""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("kind: Service\nmetadata:\n  name: n\n", "no pods", id="a service"),
        pytest.param(
            "kind: Namespace\nmetadata:\n  name: n\n  annotations:\n    cni: canal\n",
            "no pods",
            id="a namespace with an annotation",
        ),
        pytest.param(
            "kind: SealedSecret\nmetadata:\n  name: n\nspec:\n  template:\n    metadata:\n"
            "      annotations: {cni: canal}\n    type: Opaque\n",
            "no pods",
            id="a template of something else",
        ),
        pytest.param(f"{POD}  hostNetwork: true\n".replace("web", "n"), "hostNetwork", id="a pod"),
        pytest.param(
            "kind: DaemonSet\nmetadata: {name: n}\nspec:\n  template:\n    spec:\n"
            "      hostNetwork: Yes # as YAML 1.1 has it\n      containers: []\n",
            "hostNetwork",
            id="a workload",
        ),
        pytest.param(
            '{"kind":"Pod","metadata":{"name":"n"},"spec":{"hostNetwork":true}}',
            "hostNetwork",
            id="JSON",
        ),
    ],
)
def test_explain_attaches_nothing_where_a_node_does_not(
    node: Rig, genie: CommandLine, text: str, reason: str
) -> None:
    """What no runtime calls us for is passed over, with the reason."""
    file = node.folder / "n.yaml"
    file.write_text(text)
    done = genie("explain", str(file))
    assert done.code == 0
    [line] = done.out.splitlines()
    assert f" default/n: {reason}" in line or f" default/n: it has {reason}" in line
    [said] = genie.json("explain", str(file))
    assert (said["attachments"], reason in said["passedOver"]) == ([], True)


@pytest.mark.parametrize("value", ["false", "no", "null", "'x'"])
def test_a_pod_with_a_network_of_its_own(value: str) -> None:
    """It says so, or nothing, or what the API server refuses."""
    [pod] = podfile.read(f"{POD}  hostNetwork: {value}\n".encode())
    assert pod.passed_over == ""


def test_a_list_in_yaml_is_not_said_to_be_empty() -> None:
    """As `kubectl get pod -o yaml` prints it: lists are passed over, so JSON is asked for."""
    text = "apiVersion: v1\nitems:\n- kind: Pod\n  metadata:\n    name: a\nkind: List\n"
    with pytest.raises(PodFileError, match="-o json"):
        podfile.read(text.encode())


def test_several_documents() -> None:
    """Each is a pod of its own; empty ones and directives do not count."""
    pods = podfile.read(f"%YAML 1.2\n---\n{POD}---\n---\n{POD}".encode())
    assert [pod.name for pod in pods] == ["web", "web"]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("{", id="half JSON"),
        pytest.param('{"kind":"List","items":[1]}', id="a list of numbers"),
        pytest.param('{"kind":"List","items":[]}', id="an empty list"),
        pytest.param("metadata:\n  name: x\n", id="no kind"),
        pytest.param('{"kind":7}', id="a kind of a wrong type"),
        pytest.param("metadata: &a\n  name: x\n", id="an anchor"),
        pytest.param("metadata:\n\tname: x\n", id="a tab"),
        pytest.param("metadata:\n  name: !!str x\n", id="a tag"),
        pytest.param("metadata: {a: {b: c}}\n", id="flow in flow"),
        pytest.param('metadata:\n  name: "\\x"\n', id="an escape that JSON has not"),
        pytest.param("    a: b\n  c: d\n", id="outdented"),
        pytest.param("just words\n", id="words"),
    ],
)
def test_what_the_small_reader_refuses(text: str) -> None:
    """What it cannot read for certain it does not guess."""
    with pytest.raises(PodFileError):
        podfile.read(text.encode())


KEYS = st.sampled_from(["cni", "a", "x/y", "b-c"])
SCALARS = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=12) | st.none()


@given(
    st.dictionaries(KEYS, SCALARS), st.dictionaries(KEYS, SCALARS), st.lists(SCALARS, max_size=2)
)
def test_the_small_reader_agrees_with_a_full_one(
    annotations: dict[str, str | None], labels: dict[str, str | None], args: list[str]
) -> None:
    """Whatever PyYAML writes as a pod is read the same, or refused."""
    manifest = {
        "kind": "Pod",
        "metadata": {"labels": labels, "annotations": annotations, "name": "n"},
        "spec": {"containers": [{"name": "c", "args": args, "env": [{"name": "a", "value": "b"}]}]},
    }
    try:
        [pod] = podfile.read(yaml.safe_dump(manifest, allow_unicode=True).encode())
    except PodFileError:
        return
    assert pod.annotation == annotations.get("cni")
    assert pod.name == "n"


def test_the_cli_reads_what_the_store_writes(node: Rig) -> None:
    """Records of a failed roll-back are shown too."""
    node.delegates.faults["ADD", "c1"] = failure()
    node.delegates.faults["DEL", "c1"] = failure()
    error_of(node, "ADD", "canal")
    assert list(store.container_ids(str(node.state))) == ["c1"]


def test_a_manifest_with_breaks_that_only_some_readers_see() -> None:
    """The next-line character ends a line for one version of YAML and not for the next."""
    with pytest.raises(PodFileError):
        podfile.read(b"metadata:\n  annotations:\n    cni: 'a\xc2\x85'\n")


def test_values_on_lines_of_their_own() -> None:
    """A flow mapping, a word and an empty list below their keys."""
    text = (
        "kind: Pod\nmetadata:\n  annotations:\n    {cni: weave}\n  name:\n    web\n"
        "spec:\n  containers: []\n"
    )
    [pod] = podfile.read(text.encode())
    assert (pod.annotation, pod.name) == ("weave", "web")


@patched
def test_doctor_of_a_default_that_lacks_its_plugin_and_of_a_full_disk(
    node: Rig, genie: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network's own line says what is missing; the state's where there is no room."""
    (node.folder / "bin" / "c1").unlink()
    node.state.mkdir()
    access = os.access
    monkeypatch.setattr("os.access", lambda place, mode: not mode & os.W_OK or access(place, mode))
    real = os.statvfs(node.state)
    full = os.statvfs_result((*real[:4], 0, *real[5:]))
    monkeypatch.setattr("os.statvfs", lambda _: full)
    done = genie("doctor")
    assert done.code == 1
    shown = done.out
    assert "no executable for c1" in shown
    assert f"the file system of {node.state} is full" in shown
    monkeypatch.setattr("os.access", lambda _, mode: not mode & os.W_OK)
    assert f"{node.state} cannot be written" in genie("doctor").out


def test_other_files_beside_the_conflist(node: Rig, genie: CommandLine) -> None:
    """A network in the runtime's own directory is not taken for Genie's conflist."""
    other = {"cniVersion": "1.0.0", "name": "other", "plugins": [{"type": "w1"}]}
    (node.folder / "net.d" / "00-another.conflist").write_text(json.dumps(other))
    done = genie("doctor")
    assert done.code == 1
    assert "the runtime loads" in done.out


@patched
def test_a_record_that_goes_while_it_is_looked_for(
    genie: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the list and the look a DEL may have come."""
    monkeypatch.setattr(store, "container_ids", lambda _: iter(["gone"]))
    assert genie("attachments", "--output", "json").code == 0
