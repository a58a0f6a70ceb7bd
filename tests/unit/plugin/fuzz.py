"""The fuzz target: any bytes as environment and standard input, and checks of the output.

``python -m tests.unit.plugin.fuzz [-max_total_time=60 …]`` drives it with atheris, which finds
its way by coverage (``pip install atheris`` beside the other tools); without it, hypothesis
drives the same function in test_fuzz.py, and in tests/node the built executable with the same
bytes. A delegate that fakes success stands in for real ones, so that hundreds of calls a
second get past it into records and results.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from unittest import mock

from dispatcher import cni_errors
from dispatcher.plugin import delegate, genie_conf, netlink
from dispatcher.plugin.genie_conf import PluginSettings
from dispatcher.plugin.process import CompletedProcess
from dispatcher.state import lock
from tests.unit.plugin.kernel import Pod
from tests.unit.plugin.program import run

if TYPE_CHECKING:
    from collections.abc import Callable

SEQUENCES = (
    ("ADD", "CHECK", "DEL"),
    ("ADD", "GC", "DEL"),
    ("ADD", "ADD"),
    ("DEL",),
    ("CHECK",),
    ("GC",),
    ("STATUS",),
    ("VERSION",),
    ("add",),
    ("",),
)
"""The commands of a case: the first byte chooses, and all get the same environment and input."""

NAMES = ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_NETNS_OVERRIDE")
CONF = b'{"cniVersion":"1.1.0","name":"net","plugins":[{"type":"plug","capabilities":{"x":true}}]}'

SEED = (
    b"\0c1\0/none\0eth0\0K8S_POD_NAME=p\x001\0"
    b'{"ips":[{"address":"10.0.0.9/24"}],"routes":[{"dst":"0.0.0.0/0","gw":"10.0.0.1"}]}\0'
    b'{"cniVersion":"1.1.0","name":"genie","type":"genie","default":"net","confDirs":["$F"],'
    b'"stateDir":"$F/state","runtimeConfig":{"io.kubernetes.cri.pod-annotations":'
    b'{"cni":"net,net@net1"}},"cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}]}'
)
"""A case whose calls succeed, from which the fuzzer sets out."""


class Case:
    """One case, from *data*. A NUL ends each part: neither environment nor JSON may hold one.

    After the byte that chooses the commands come the values of NAMES, what the delegates print,
    and standard input, where ``$F`` stands for the node's folder.
    """

    def __init__(self, data: bytes, folder: Path) -> None:
        self.commands = SEQUENCES[data[0] % len(SEQUENCES)] if data else SEQUENCES[0]
        *values, self.output, stdin = _padded(data[1:].split(b"\0", len(NAMES) + 1))
        self.stdin = stdin.replace(b"$F", str(folder).encode())
        texts = (value.decode("utf-8", "surrogateescape") for value in values)
        self.environ = dict(zip(NAMES, texts, strict=True))


def _padded(parts: list[bytes]) -> list[bytes]:
    return parts + [b""] * (len(NAMES) + 2 - len(parts))


class Target:
    """A node in *folder* whose only delegate prints, on ADD, what the fuzzer wants.

    ``succeeded`` are the commands that ended well so far, by which a test sees that the cases
    get anywhere.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.output = b""
        self.succeeded: set[str] = set()
        (folder / "net.conflist").write_bytes(CONF)
        (folder / "bin").mkdir()
        for name in ("plug", "genie"):
            (folder / "bin" / name).touch(mode=0o755)
        self.files = self._files()

    def _settings(self, conf: dict[str, Any]) -> PluginSettings:
        """Replace stateDir and agentSocket of the case: the machine's own files stay untouched."""
        settings = PluginSettings(conf)
        settings.state_dir, settings.agent_socket = str(self.state), ""
        return settings

    def _process(self, _: str, environ: dict[str, str], _until: float) -> AtOnce:
        return AtOnce(self.output if environ["CNI_COMMAND"] == "ADD" else b"")

    def _files(self) -> set[Path]:
        return {each for each in self.folder.rglob("*") if self.state not in (each, *each.parents)}

    def __call__(self, data: bytes) -> None:
        """Make the calls of one case on a node without records, and check what each prints."""
        shutil.rmtree(self.state, ignore_errors=True)
        case = Case(data, self.folder)
        self.output = case.output
        for command in case.commands:
            code, out = self._call(command, case)
            verify(code, out)
            assert self._files() == self.files
            if code == 0:
                self.succeeded.add(command)
            if (command, code) in {("ADD", 1), ("DEL", 0)} and case.commands != ("ADD", "ADD"):
                assert not list(self.state.glob("*.json")), "a delegate that succeeds was not freed"

    def _call(self, command: str, case: Case) -> tuple[int, bytes]:
        environ = {**case.environ, "CNI_COMMAND": command, "CNI_PATH": str(self.folder / "bin")}
        with (
            # No namespace of the machine's is entered.
            mock.patch.object(netlink, "NetworkNamespace", Pod().open),
            mock.patch("posix.fdatasync", _nothing),  # no power is cut here
            mock.patch.object(genie_conf, "PluginSettings", self._settings),
            mock.patch.object(delegate, "Process", self._process),
        ):
            code, out, _ = run(environ, case.stdin, str(self.folder / "bin" / "genie"))
        return code, out


def _nothing(*_: Any) -> None:
    pass


class AtOnce:
    """A delegate that prints *output* and succeeds. A fake: processes would take the time."""

    pid = lock.NO_DELEGATE

    def __init__(self, output: bytes) -> None:
        self._output = output

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def communicate(
        self, _given: bytes, _until: float, while_running: Callable[[], None] | None
    ) -> CompletedProcess:
        """Return the output."""
        if while_running is not None:
            while_running()
        return CompletedProcess(0, self._output, timed_out=False)

    def reap(self) -> None:
        """Do nothing: it has no process."""


def verify(code: int, out: bytes) -> None:
    """Check the plugin's invariants for the exit code and standard output of one call."""
    assert code in {0, 1}
    answer = json.loads(out) if out else None
    assert answer is None or isinstance(answer, dict), out
    if code:
        assert answer is not None, "a failure without a reason"
        assert answer["code"] != cni_errors.INTERNAL, answer
        assert "Traceback" not in answer["msg"]


def _fuzz() -> None:
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        sys.exit("atheris is not installed here: pip install atheris")
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as corpus:
        Path(corpus, "seed").write_bytes(SEED)
        atheris.instrument_all()
        atheris.Setup([*sys.argv, corpus], Target(Path(folder)))
        atheris.Fuzz()


if __name__ == "__main__":
    _fuzz()
