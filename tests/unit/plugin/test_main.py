"""The whole program in one process: environment and standard input in, answer and code out."""

from __future__ import annotations

import json
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher import cni_errors, keys
from dispatcher.cni_errors import CNIError
from dispatcher.jsontext import dump
from dispatcher.plugin import agent_client, main, netlink
from dispatcher.state import journal
from tests.unit.plugin.kernel import Model, Pod

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = """#!/bin/sh
cat > /dev/null
[ "$CNI_COMMAND" = ADD ] && echo '{"ips":[{"address":"10.0.0.9/24"}]}'
exit 0
"""


class Node:
    """A folder with one network `net`, whose plugin is a shell script."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.launcher = folder / "bin" / "genie"
        self.launcher.parent.mkdir()
        self.launcher.touch()
        plugin = folder / "bin" / "plug"
        plugin.write_text(PLUGIN)
        plugin.chmod(0o755)
        conf = {"cniVersion": "1.1.0", "name": "net", "plugins": [{"type": "plug"}]}
        (folder / "net.conflist").write_text(json.dumps(conf))

    def environ(self, command: str, **changes: str) -> dict[str, str]:
        """Return what a runtime sets."""
        return {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": "c1",
            "CNI_NETNS": "/none",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(self.folder / "bin"),
            "CNI_ARGS": "K8S_POD_NAMESPACE=n;K8S_POD_NAME=p;K8S_POD_UID=u",
            **changes,
        }

    def conf(self, **changes: Any) -> bytes:
        """Return what a runtime writes."""
        return json.dumps(
            {
                "cniVersion": "1.1.0",
                "name": "genie",
                "type": "genie",
                "default": "net",
                "confDirs": [str(self.folder)],
                "stateDir": str(self.folder / "state"),
                **changes,
            }
        ).encode()

    def serve(self, command: str, data: bytes | None = None, **changes: str) -> tuple[int, Any]:
        """Run one call."""
        given = self.conf() if data is None else data
        return main.serve(self.environ(command, **changes), lambda: given, str(self.launcher))


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Return a node."""
    return Node(tmp_path)


def test_a_container_comes_and_goes(node: Node) -> None:
    """Every command in turn, on real processes."""
    assert node.serve("STATUS") == (0, None)
    code, answer = node.serve("ADD")
    assert (code, answer["ips"]) == (0, [{"address": "10.0.0.9/24"}])
    assert node.serve("CHECK") == (0, None)
    listed = [{"containerID": "c1", "ifname": "eth0"}]
    assert node.serve("GC", node.conf(**{"cni.dev/valid-attachments": listed})) == (0, None)
    assert node.serve("DEL") == (0, None)
    assert not list((node.folder / "state").glob("c1*"))
    lines = [json.loads(line) for line in (node.folder / "state/journal").read_text().splitlines()]
    assert [(line["command"], line["code"], line["pod"]) for line in lines] == [
        ("ADD", 0, ["n", "p", "u"]),
        ("DEL", 0, ["n", "p", "u"]),
    ]


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"cniVersion":"9"}'])
def test_version_works_whatever_is_given(node: Node, data: bytes) -> None:
    """Standard input is not even read."""

    def unread() -> bytes:
        raise AssertionError(data)

    code, answer = main.serve({"CNI_COMMAND": "VERSION"}, unread, str(node.launcher))
    assert code == 0
    assert answer["supportedVersions"][0] == "0.1.0"
    assert answer["supportedVersions"][-1] == answer["cniVersion"] == "1.1.0"


@pytest.mark.parametrize("command", ["ADD", "CHECK", "DEL"])
def test_the_netns_of_the_plugin_itself_is_refused(node: Node, command: str) -> None:
    """Code 8 before any delegate runs, unless the override is set."""
    code, answer = node.serve(command, CNI_NETNS="/proc/self/ns/net")
    assert (code, answer["code"]) == (1, cni_errors.INVALID_NETNS)
    assert not (node.folder / "state").exists()
    _, answer = node.serve(command, CNI_NETNS="/proc/self/ns/net", CNI_NETNS_OVERRIDE="true")
    assert cni_errors.INVALID_NETNS not in (answer or {}).values()


def test_a_call_by_our_own_delegate_is_refused(node: Node) -> None:
    """Whatever stands between, Genie is not called by itself."""
    code, answer = node.serve("ADD", GENIE_CHAIN="1")
    assert (code, answer["code"]) == (1, cni_errors.RECURSION)


def test_a_delete_by_our_own_delegate_has_nothing_to_do(node: Node) -> None:
    """The ADD was refused; a DEL that failed would keep the pod for ever."""
    assert node.serve("DEL", GENIE_CHAIN="1") == (0, None)


def test_errors_speak_the_version_of_the_caller(node: Node) -> None:
    """The object has cniVersion, code, msg and, where there are any, details."""
    conf = node.conf(cniVersion="0.4.0", runtimeConfig={keys.POD_ANNOTATIONS: {"cni": "nett"}})
    code, answer = node.serve("ADD", conf)
    assert code == 1
    assert answer["cniVersion"] == "0.4.0"
    assert answer["code"] == cni_errors.UNKNOWN_NETWORK
    assert 'did you mean "net"' in answer["msg"]
    assert answer["details"] == "networks of this node: net"


def test_an_error_of_the_environment_speaks_the_version_of_the_caller_too(node: Node) -> None:
    """Standard input is read first, for its version alone."""
    code, answer = node.serve("ADD", node.conf(cniVersion="1.0.0"), CNI_IFNAME="")
    assert (code, answer["code"], answer["cniVersion"]) == (
        1,
        cni_errors.INVALID_ENVIRONMENT,
        "1.0.0",
    )
    _, answer = node.serve("ADD", b"{", CNI_IFNAME="")
    assert answer["code"] == cni_errors.INVALID_ENVIRONMENT


def test_trouble_of_the_system_is_an_error_object(node: Node) -> None:
    """A state directory that cannot be made: code 5, and the file is named."""
    (node.folder / "state").write_text("in the way")
    code, answer = node.serve("ADD")
    assert (code, answer["code"]) == (1, cni_errors.IO_FAILURE)
    assert str(node.folder / "state") in answer["msg"]


def test_a_fault_of_ours_is_an_error_object_too(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a trace; the place is told in one line."""
    monkeypatch.setattr(main, "_carry_out", lambda _: 1 // 0)
    code, answer = node.serve("ADD")
    assert (code, answer["code"]) == (1, cni_errors.INTERNAL)
    assert "ZeroDivisionError" in answer["msg"]
    assert "test_main.py" in answer["msg"]


def test_a_broken_pipe_in_the_middle_is_told(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the system without a file name."""

    def broken(_: Any) -> None:
        raise OSError(32, "Broken pipe")

    monkeypatch.setattr(main, "_carry_out", broken)
    assert "Broken pipe" in node.serve("ADD")[1]["msg"]


HOSTILE = st.text(max_size=12) | st.sampled_from(
    ["..", "/", "a/b", "net", "genie", "eth0", "\0", "\n", "x" * 300, "K=V;;=", "é"]
)


COMMANDS = st.sampled_from(["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "add", ""])
VARIABLES = st.dictionaries(
    st.sampled_from(["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_PATH", "CNI_ARGS"]),
    HOSTILE.map(lambda text: text.replace("\0", "")),  # no environment holds a NUL
)


def test_any_call_ends_in_one_object_or_none(node: Node) -> None:
    """Hostile environment, standard input and annotation: an answer, and no file elsewhere."""
    before = _outside_the_state(node)

    @settings(max_examples=300)
    @given(COMMANDS, VARIABLES, st.binary(max_size=40) | HOSTILE)
    def holds(command: str, changes: dict[str, str], given_in: bytes | str) -> None:
        annotations = {keys.ANNOTATION: given_in if isinstance(given_in, str) else ""}
        conf = node.conf(
            runtimeConfig={keys.POD_ANNOTATIONS: annotations}, **{"cni.dev/valid-attachments": []}
        )
        data = given_in if isinstance(given_in, bytes) else conf
        code, answer = node.serve(command, data, **changes)
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
    ("environ", "arguments", "people"),
    [
        pytest.param({}, [], True, id="nothing at all"),
        pytest.param({}, ["list"], True, id="a command for people"),
        pytest.param({"CNI_COMMAND": "ADD"}, [], False, id="a runtime"),
        pytest.param({"CNI_COMMAND": "ADD"}, ["list"], False, id="a runtime, with arguments"),
        pytest.param({"CNI_CONTAINERID": "c"}, [], False, id="a runtime that forgot the command"),
        pytest.param({"CNI_PATH": "/x"}, ["list"], True, id="a person with a CNI environment"),
    ],
)
def test_who_is_calling(
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    arguments: list[str],
    *,
    people: bool,
) -> None:
    """Without CNI_COMMAND the same executable is the command line."""
    monkeypatch.setattr("sys.argv", ["genie", *arguments])
    assert main._is_for_people(environ) is people


def test_standard_input_that_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """In words, and with the code for it."""

    def closed(*_: int) -> bytes:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr("posix.read", closed)
    monkeypatch.setattr("posix.isatty", lambda _: False)
    with pytest.raises(CNIError, match="standard input cannot be read: Bad file") as caught:
        main._read_stdin()
    assert caught.value.code == cni_errors.IO_FAILURE


def test_a_person_at_a_terminal_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the end of what a terminal may still give."""
    monkeypatch.setattr("posix.isatty", lambda _: True)
    assert main._read_stdin() == b""


class Ended(BaseException):
    """Stands for the end of the process."""


def _run(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], launcher: str) -> int:
    """Run the whole program as a process of its own would, and return its exit code."""

    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr("posix._exit", end)
    monkeypatch.setattr("sys.argv", ["genie"])
    raw = {key.encode(): value.encode() for key, value in environ.items()}
    monkeypatch.setattr("posix.environ", raw)
    with pytest.raises(Ended) as ended:
        main.main(launcher)
    return int(ended.value.args[0])


def test_the_program_prints_one_object_and_ends(
    node: Node, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """VERSION to standard output, with exit code 0; an error with 1; complaints to the other."""
    assert _run(monkeypatch, {"CNI_COMMAND": "VERSION"}, str(node.launcher)) == 0
    assert json.loads(capfd.readouterr().out)["cniVersion"] == "1.1.0"
    monkeypatch.setattr("posix.isatty", lambda _: True)
    assert _run(monkeypatch, {"CNI_COMMAND": "ADD"}, str(node.launcher)) == 1
    assert json.loads(capfd.readouterr().out)["code"] == cni_errors.INVALID_ENVIRONMENT
    main._complain("look \ud800")
    assert capfd.readouterr().err == "genie: look \\ud800\n"


def test_an_answer_that_nobody_takes_is_a_failure(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runtime is gone: the exit code tells whoever still looks; complaints are lost."""

    def closed(*_: Any) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("posix.write", closed)
    assert _run(monkeypatch, {"CNI_COMMAND": "VERSION"}, str(node.launcher)) == 1
    main._complain("nobody hears")


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
    """It is opened before anything is attached; a pod with one network does without."""
    script = """#!/bin/sh
[ $CNI_COMMAND != ADD ] || echo '{"ips":[]}'
"""
    (node.folder / "bin" / "plug").write_text(script)
    opened: list[str] = []
    pod = Pod()

    def open_namespace(netns: str) -> Model:
        opened.append(netns)
        return pod.open(netns)

    monkeypatch.setattr(netlink, "Namespace", open_namespace)
    assert node.serve("ADD", node.conf())[0] == 0
    assert (node.serve("DEL", node.conf())[0], opened) == (0, [])
    conf = node.conf(runtimeConfig={keys.POD_ANNOTATIONS: {"cni": "net,net@net1"}})
    assert node.serve("ADD", conf)[0] == 0
    assert (opened, pod.opened) == (["/none"], 0)


def test_standard_input_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody fills our memory."""
    read, write = os.pipe()
    stdin = os.dup(0)
    os.dup2(read, 0)
    try:
        with os.fdopen(write, "wb") as file:
            file.write(b"{}")
        assert main._read_stdin() == b"{}"
        monkeypatch.setattr("posix.read", lambda *_: b"x" * (1 << 20))
        with pytest.raises(CNIError, match="more than 16 MiB"):
            main._read_stdin()
    finally:
        os.dup2(stdin, 0)


# The agent's socket


def agent(folder: Path, answer: bytes) -> tuple[str, list[bytes]]:
    """Answer one request on a socket, and keep what was asked."""
    address = str(folder / "agent.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    asked: list[bytes] = []

    def serve() -> None:
        with listener, listener.accept()[0] as peer:
            asked.append(peer.makefile("rb").read())
            peer.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return address, asked


ARGS = "K8S_POD_NAME=p;K8S_POD_NAMESPACE=n;K8S_POD_UID=u"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(b'{"annotations":{"cni":"weave"}}\n', "weave", id="a choice"),
        pytest.param(b'{"annotations":{}}', "", id="none"),
    ],
)
def test_the_agent_tells_the_annotation(tmp_path: Path, answer: bytes, expected: str) -> None:
    """One object each way."""
    address, asked = agent(tmp_path, answer)
    assert agent_client.annotation(address, ARGS) == expected
    assert json.loads(asked[0]) == {"version": 1, "namespace": "n", "name": "p", "uid": "u"}


@pytest.mark.parametrize(
    ("answer", "code", "part"),
    [
        pytest.param(b'{"error":{"code":121,"msg":"replaced"}}', 121, "replaced", id="its error"),
        pytest.param(b"", 11, "cannot be understood", id="silence"),
        pytest.param(b"{", 11, "cannot be understood", id="half an answer"),
        pytest.param(b"[]", 11, "cannot be understood", id="a list"),
        pytest.param(b'{"annotations":{"cni":7}}', 11, "not a string", id="a wrong type"),
        pytest.param(b'{"annotations":7}', 11, "cannot be understood", id="no annotations"),
        pytest.param(b'{"error":{"code":"x","msg":""}}', 11, "cannot", id="an odd error"),
    ],
)
def test_the_agent_cannot_tell(tmp_path: Path, answer: bytes, code: int, part: str) -> None:
    """Its own error as it is; anything else asks to try again."""
    address, _ = agent(tmp_path, answer)
    with pytest.raises(CNIError) as caught:
        agent_client.annotation(address, ARGS)
    assert caught.value.code == code
    assert part in caught.value.msg


def test_an_agent_that_is_away_or_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code 11 within the time, never the default network."""
    with pytest.raises(CNIError, match="No such file") as caught:
        agent_client.annotation(str(tmp_path / "none.sock"), ARGS)
    assert caught.value.code == cni_errors.TRY_AGAIN
    monkeypatch.setattr(agent_client, "SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "silent.sock"))
        listener.listen()
        with pytest.raises(CNIError, match="timed out"):
            agent_client.annotation(str(tmp_path / "silent.sock"), ARGS)


@pytest.mark.parametrize(
    ("address", "args"), [("", ARGS), ("/x.sock", "IgnoreUnknown=1")], ids=["no agent", "no pod"]
)
def test_nobody_is_asked(address: str, args: str) -> None:
    """Without a socket in the conflist, or a pod in the call, there is nothing to ask."""
    assert agent_client.annotation(address, args) == ""


def test_the_agent_is_asked_by_a_call(node: Node) -> None:
    """A runtime that hands over nothing, and an agent that is away: the pod waits."""
    conf = node.conf(agentSocket=str(node.folder / "none.sock"))
    code, answer = node.serve("ADD", conf)
    assert (code, answer["code"]) == (1, cni_errors.TRY_AGAIN)
    assert node.serve("DEL", conf) == (0, None)


# The journal


def test_a_journal_nobody_reads_does_not_grow(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its limit no line is added."""
    monkeypatch.setattr(journal, "LIMIT", 1)
    node.serve("ADD")
    node.serve("DEL")
    assert len((node.folder / "state/journal").read_text().splitlines()) == 1


def test_a_journal_that_cannot_be_written_harms_nobody(node: Node) -> None:
    """The call's own answer counts."""
    (node.folder / "state").mkdir()
    (node.folder / "state/journal").mkdir()
    assert node.serve("ADD")[0] == 0


def test_a_line_of_the_journal_is_one_write_of_a_page(node: Node) -> None:
    """However long names and messages are."""
    args = "K8S_POD_NAME=" + "n" * 5000
    conf = node.conf(runtimeConfig={keys.POD_ANNOTATIONS: {"cni": "é" * 500 + ","}})
    node.serve("ADD", conf, CNI_ARGS=args)
    node.serve("ADD", conf)
    lines = (node.folder / "state/journal").read_bytes().splitlines()
    assert [json.loads(each)["code"] for each in lines] == [cni_errors.INVALID_ANNOTATION] * 2
    assert all(len(each) < 4096 for each in lines)


def test_a_delegate_reads_its_configuration_as_it_was_written(node: Node) -> None:
    """Large integers, floats, the order of keys and unicode; ours are added behind."""
    seen = node.folder / "seen"
    plugin = node.folder / "bin" / "plug"
    plugin.write_text(f"#!/bin/sh\ncat > {seen}\necho '{{}}'\n")
    written = (
        '{"z":12345678901234567890123,"type":"plug","a":1.10,"b":{"y":1E5,"x":"é\\u0001"},"-0":-0'
    )
    conf = f'{{"cniVersion":"1.0.0","name":"net","plugins":[{written},"cni.dev/x":1}}]}}'
    (node.folder / "net.conflist").write_text(conf)
    assert node.serve("ADD")[0] == 0
    assert seen.read_text() == written + ',"name":"net","cniVersion":"1.0.0"}'


def test_a_call_for_another_namespace_is_carried_out(node: Node, tmp_path: Path) -> None:
    """Only the plugin's own is refused; one that is there and is another's is not."""
    other = tmp_path / "netns"
    other.touch()
    assert node.serve("ADD", CNI_NETNS=str(other))[0] == 0


def test_a_call_without_an_answer_prints_nothing(
    node: Node, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """DEL succeeds in silence."""
    monkeypatch.setattr(main, "_read_stdin", node.conf)
    assert _run(monkeypatch, node.environ("DEL"), str(node.launcher)) == 0
    assert capfd.readouterr().out == ""
