"""The whole program in one process: environment and standard input in, answer and code out."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher import cni_errors, keys
from dispatcher.jsontext import dump
from dispatcher.plugin import main, netlink
from tests.unit.plugin.kernel import Model, Pod
from tests.unit.plugin.program import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.plugin.program import Node


def test_a_container_comes_and_goes(node: Node) -> None:
    """Every command in turn, with real processes."""
    assert node.call("STATUS") == (0, None)
    code, answer = node.call("ADD")
    assert (code, answer["ips"]) == (0, [{"address": "10.0.0.9/24"}])
    assert node.call("CHECK") == (0, None)
    listed = [{"containerID": "c1", "ifname": "eth0"}]
    assert node.call("GC", node.conf(**{"cni.dev/valid-attachments": listed})) == (0, None)
    assert node.call("DEL") == (0, None)
    assert not list((node.folder / "state").glob("c1*"))
    lines = [json.loads(line) for line in (node.folder / "state/journal").read_text().splitlines()]
    assert [(line["command"], line["code"], line["pod"]) for line in lines] == [
        ("ADD", 0, ["n", "p", "u"]),
        ("DEL", 0, ["n", "p", "u"]),
    ]


def test_version_reads_no_standard_input(node: Node) -> None:
    """It works whatever is given, even a descriptor that is closed."""
    out = os.memfd_create("stdout")
    try:
        code = main.run({"CNI_COMMAND": "VERSION"}, str(node.launcher), stdin=-1, stdout=out)
        answer = json.loads(os.pread(out, 4096, 0))
    finally:
        os.close(out)
    assert code == 0
    assert answer["supportedVersions"][0] == "0.1.0"
    assert answer["supportedVersions"][-1] == answer["cniVersion"] == "1.1.0"


@pytest.mark.parametrize("command", ["ADD", "CHECK", "DEL"])
def test_the_netns_of_the_plugin_itself_is_refused(node: Node, command: str) -> None:
    """Code 8 before any delegate runs, unless the override is set."""
    code, answer = node.call(command, CNI_NETNS="/proc/self/ns/net")
    assert (code, answer["code"]) == (1, cni_errors.INVALID_NETNS)
    assert not (node.folder / "state").exists()
    _, answer = node.call(command, CNI_NETNS="/proc/self/ns/net", CNI_NETNS_OVERRIDE="true")
    assert cni_errors.INVALID_NETNS not in (answer or {}).values()


def test_a_call_by_our_own_delegate_is_refused(node: Node) -> None:
    """Genie is not called by itself, through any program in between."""
    code, answer = node.call("ADD", GENIE_CHAIN="1")
    assert (code, answer["code"]) == (1, cni_errors.RECURSION)


def test_a_delete_by_our_own_delegate_has_nothing_to_do(node: Node) -> None:
    """The ADD was refused; a DEL that failed would keep the pod for ever."""
    assert node.call("DEL", GENIE_CHAIN="1") == (0, None)


def test_errors_have_the_version_of_the_caller(node: Node) -> None:
    """The object has cniVersion, code, msg and, if there are any, details."""
    conf = node.conf(cniVersion="0.4.0", runtimeConfig={keys.POD_ANNOTATIONS: {"cni": "nett"}})
    code, answer = node.call("ADD", conf)
    assert code == 1
    assert answer["cniVersion"] == "0.4.0"
    assert answer["code"] == cni_errors.UNKNOWN_NETWORK
    assert 'did you mean "net"' in answer["msg"]
    assert answer["details"] == "networks of this node: net"


def test_an_error_of_the_environment_has_the_version_of_the_caller_too(node: Node) -> None:
    """Standard input is read before the environment is validated."""
    code, answer = node.call("ADD", node.conf(cniVersion="1.0.0"), CNI_IFNAME="")
    assert (code, answer["code"], answer["cniVersion"]) == (
        1,
        cni_errors.INVALID_ENVIRONMENT,
        "1.0.0",
    )
    _, answer = node.call("ADD", b"{", CNI_IFNAME="")
    assert answer["code"] == cni_errors.INVALID_ENVIRONMENT


def test_an_error_of_the_system_is_an_error_object(node: Node) -> None:
    """A state directory that cannot be made: code 5, and the path."""
    (node.folder / "state").write_text("in the way")
    code, answer = node.call("ADD")
    assert (code, answer["code"]) == (1, cni_errors.IO_FAILURE)
    assert str(node.folder / "state") in answer["msg"]


def test_a_defect_of_ours_is_an_error_object_too(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a traceback; its place is in the message."""
    monkeypatch.setattr(main, "_run_command", lambda _: 1 // 0)
    code, answer = node.call("ADD")
    assert (code, answer["code"]) == (1, cni_errors.INTERNAL)
    assert "ZeroDivisionError" in answer["msg"]
    assert "test_main.py" in answer["msg"]


def test_an_error_of_the_system_without_a_file_name(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its message is that of the system."""

    def broken(_: Any) -> None:
        raise OSError(32, "Broken pipe")

    monkeypatch.setattr(main, "_run_command", broken)
    assert "Broken pipe" in node.call("ADD")[1]["msg"]


HOSTILE = st.text(max_size=12) | st.sampled_from(
    ["..", "/", "a/b", "net", "genie", "eth0", "\0", "\n", "x" * 300, "K=V;;=", "é"]
)


COMMANDS = st.sampled_from(["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "add", ""])
VARIABLES = st.dictionaries(
    st.sampled_from(["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_PATH", "CNI_ARGS"]),
    HOSTILE.map(lambda text: text.replace("\0", "")),  # no environment holds a NUL
)


def test_any_call_ends_in_one_object_or_none(node: Node) -> None:
    """Any environment, standard input and annotation: an answer, and no other file is touched."""
    before = _outside_the_state(node)

    @settings(max_examples=300)
    @given(COMMANDS, VARIABLES, st.binary(max_size=40) | HOSTILE)
    def holds(command: str, changes: dict[str, str], given_in: bytes | str) -> None:
        annotations = {keys.ANNOTATION: given_in if isinstance(given_in, str) else ""}
        conf = node.conf(
            runtimeConfig={keys.POD_ANNOTATIONS: annotations}, **{"cni.dev/valid-attachments": []}
        )
        data = given_in if isinstance(given_in, bytes) else conf
        code, answer = node.call(command, data, **changes)
        assert code in {0, 1}
        assert answer is None or isinstance(answer, dict)
        if code:
            assert answer is not None
            assert "Traceback" not in dump(answer).decode()
            assert answer["code"] != cni_errors.INTERNAL, answer
        assert _outside_the_state(node) == before

    holds()


def _outside_the_state(node: Node) -> set[Path]:
    state = node.folder / "state"
    return {file for file in node.folder.rglob("*") if file != state and state not in file.parents}


@pytest.mark.parametrize(
    ("environ", "arguments", "expected"),
    [
        pytest.param({}, [], True, id="nothing at all"),
        pytest.param({}, ["list"], True, id="a command for people"),
        pytest.param({"CNI_COMMAND": "ADD"}, [], False, id="a runtime"),
        pytest.param({"CNI_COMMAND": "ADD"}, ["list"], False, id="a runtime, with arguments"),
        pytest.param({"CNI_CONTAINERID": "c"}, [], False, id="a runtime that forgot the command"),
        pytest.param({"CNI_PATH": "/x"}, ["list"], True, id="a person with a CNI environment"),
    ],
)
def test_a_person_or_a_runtime_calls(
    environ: dict[str, str], arguments: list[str], *, expected: bool
) -> None:
    """Without CNI_COMMAND the same executable is the command line."""
    assert main._is_command_line(environ, arguments) is expected


def test_standard_input_that_cannot_be_read_is_an_error(node: Node, tmp_path: Path) -> None:
    """The descriptor is not open for reading: code 5, and the system's reason."""
    read, write = os.pipe()
    out = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    try:
        code = main.run(node.environ("ADD"), str(node.launcher), stdin=write, stdout=out)
        answer = json.loads(os.pread(out, 4096, 0))
    finally:
        for file in (read, write, out):
            os.close(file)
    assert (code, answer["code"]) == (1, cni_errors.IO_FAILURE)
    assert answer["msg"] == "cannot read standard input: Bad file descriptor"


def test_a_person_at_a_terminal_gets_an_error_at_once(node: Node, tmp_path: Path) -> None:
    """The plugin does not wait for the end of what a terminal may still give."""
    controller, terminal = os.openpty()
    out = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    try:
        environ = {"CNI_COMMAND": "ADD"}
        code = main.run(environ, str(node.launcher), stdin=terminal, stdout=out)
        answer = json.loads(os.pread(out, 4096, 0))
    finally:
        for file in (controller, terminal, out):
            os.close(file)
    assert (code, answer["code"]) == (1, cni_errors.INVALID_ENVIRONMENT)


def test_standard_input_has_a_limit(node: Node) -> None:
    """A caller cannot fill our memory."""
    code, answer = node.call("ADD", b" " * ((16 << 20) + 1))
    assert (code, answer["code"]) == (1, cni_errors.DECODING_FAILURE)
    assert answer["msg"] == "standard input is larger than 16 MiB"


def test_a_warning_is_a_line_on_standard_error(node: Node) -> None:
    """Standard output has the answer alone."""
    (node.folder / "state").mkdir()
    (node.folder / "state" / "c1.json").write_bytes(b"{")
    conf = node.conf(runtimeConfig={keys.POD_ANNOTATIONS: {}})
    assert node.call("DEL", conf) == (0, None)
    assert node.warnings.startswith("genie: the record is corrupt; a copy is kept as ")
    assert node.warnings.endswith("\n")


def test_a_warning_may_have_characters_that_utf_8_has_not(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name from the environment may have them. A fake command emits the warning."""
    monkeypatch.setattr(main, "_run_command", lambda call: call.effects.warn("odd \ud800"))
    assert node.call("DEL") == (0, None)
    assert node.warnings == "genie: odd \\ud800\n"


def test_an_answer_that_nobody_reads_is_a_failure(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runtime is gone: the exit code is 1, and warnings are lost."""
    monkeypatch.setattr(main, "_run_command", lambda call: call.effects.warn("lost") or {})
    stdin = os.memfd_create("stdin")
    read, closed = os.pipe()
    os.close(read)
    try:
        os.pwrite(stdin, node.conf(), 0)
        environ, launcher = node.environ("ADD"), str(node.launcher)
        assert main.run(environ, launcher, stdin=stdin, stdout=closed, stderr=closed) == 1
    finally:
        os.close(stdin)
        os.close(closed)


def test_a_call_without_an_answer_prints_nothing(node: Node) -> None:
    """DEL prints nothing when it succeeds."""
    assert run(node.environ("DEL"), node.conf(), str(node.launcher)) == (0, b"", "")


class EndedError(BaseException):
    """Stands for the end of the process."""


def test_the_program_ends_with_the_exit_code_of_the_call(
    node: Node, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As an executable it takes the environment and the descriptors of its process."""

    def end(code: int) -> None:
        raise EndedError(code)

    monkeypatch.setattr("posix._exit", end)
    monkeypatch.setattr("sys.argv", ["genie"])
    monkeypatch.setattr("posix.environ", {b"CNI_COMMAND": b"VERSION"})
    with pytest.raises(EndedError) as ended:
        main.main(str(node.launcher))
    assert ended.value.args == (0,)
    assert json.loads(capfd.readouterr().out)["cniVersion"] == "1.1.0"


def test_the_program_is_the_command_line_too(
    node: Node, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without CNI_COMMAND, arguments are commands for people."""
    monkeypatch.setattr("sys.argv", ["genie", "list", "--conf-dir", str(node.folder)])
    monkeypatch.setattr("posix.environ", {})
    monkeypatch.setattr("signal.signal", lambda *_: None)  # this process has other tests to run
    with pytest.raises(SystemExit) as ended:
        main.main(str(node.launcher))
    assert ended.value.code == 0
    assert "net.conflist" in capsys.readouterr().out


def test_several_networks_need_the_pods_namespace(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is opened before anything is attached; a pod with one network does not need it."""
    script = """#!/bin/sh
[ $CNI_COMMAND != ADD ] || echo '{"ips":[]}'
"""
    (node.folder / "bin" / "plug").write_text(script)
    opened: list[str] = []
    pod = Pod()

    def open_namespace(netns: str) -> Model:
        opened.append(netns)
        return pod.open(netns)

    monkeypatch.setattr(netlink, "NetworkNamespace", open_namespace)
    assert node.call("ADD", node.conf())[0] == 0
    assert (node.call("DEL", node.conf())[0], opened) == (0, [])
    conf = node.conf(runtimeConfig={keys.POD_ANNOTATIONS: {"cni": "net,net@net1"}})
    assert node.call("ADD", conf)[0] == 0
    assert (opened, pod.opened) == (["/none"], 0)


def test_a_delegate_reads_its_configuration_as_it_was_written(node: Node) -> None:
    """Large integers, floats, order of keys and unicode; our keys are appended."""
    seen = node.folder / "seen"
    plugin = node.folder / "bin" / "plug"
    plugin.write_text(f"#!/bin/sh\ncat > {seen}\necho '{{}}'\n")
    written = (
        '{"z":12345678901234567890123,"type":"plug","a":1.10,"b":{"y":1E5,"x":"é\\u0001"},"-0":-0'
    )
    conf = f'{{"cniVersion":"1.0.0","name":"net","plugins":[{written},"cni.dev/x":1}}]}}'
    (node.folder / "net.conflist").write_text(conf)
    assert node.call("ADD")[0] == 0
    assert seen.read_text() == written + ',"name":"net","cniVersion":"1.0.0"}'


def test_a_call_for_another_namespace_is_carried_out(node: Node, tmp_path: Path) -> None:
    """Only the plugin's own namespace is refused."""
    other = tmp_path / "netns"
    other.touch()
    assert node.call("ADD", CNI_NETNS=str(other))[0] == 0
