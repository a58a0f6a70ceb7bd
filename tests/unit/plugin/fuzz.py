"""The fuzz target: any bytes as environment and standard input, one call, one verdict.

``python -m tests.unit.plugin.fuzz [-max_total_time=60 …]`` drives it with atheris, which finds
its way by coverage (``pip install atheris`` beside the other tools); without it, hypothesis
drives the same function in test_fuzz.py. A delegate that fakes success stands in for real
ones, so that thousands of calls a second get past it into records and results.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from dispatcher.jsontext import dump
from dispatcher.plugin import delegate, errors, main, request
from dispatcher.plugin.request import Settings

COMMANDS = ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "add", "")
NAMES = ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH", "CNI_ARGS", "CNI_NETNS_OVERRIDE")
CONF = b'{"cniVersion":"1.1.0","name":"net","plugins":[{"type":"plug","capabilities":{"x":true}}]}'

SEED = (
    b"\nc1\n/none\neth0\n\nK8S_POD_NAME=p\n1\n\n"
    b'{"ips":[{"address":"10.0.0.9/24"}],"routes":[{"dst":"0.0.0.0/0","gw":"10.0.0.1"}]}\n\n\n'
    b'{"cniVersion":"1.1.0","name":"genie","type":"genie","default":"net","confDirs":["$F"],'
    b'"stateDir":"$F/state","runtimeConfig":{"io.kubernetes.cri.pod-annotations":'
    b'{"cni":"net,net@net1"}},"cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}]}'
)
"""A call that succeeds, from which the fuzzer sets out."""


class Target:
    """A node in *folder* whose only delegate prints what the fuzzer wants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said = b""
        (folder / "net.conflist").write_bytes(CONF)
        (folder / "bin").mkdir()
        for name in ("plug", "genie"):
            (folder / "bin" / name).touch(mode=0o755)
        delegate.run = self._run  # type: ignore[assignment]
        request.Settings = self._settings  # type: ignore[assignment, misc]

    def _settings(self, conf: dict[str, Any]) -> Settings:
        """Whatever stateDir the fuzzer thinks of: the machine's own files are none of it."""
        made = Settings(conf)
        made.state_dir, made.agent_socket = str(self.folder / "state"), ""
        return made

    def _run(self, *_: Any) -> delegate.Ended:
        return delegate.Ended(0, self.said, timed_out=False)

    def __call__(self, data: bytes) -> None:
        """Make one call of *data* and hold the plugin's invariants against it."""
        head, _, rest = data.partition(b"\n")
        values, _, rest = rest.partition(b"\n\n")
        self.said, _, stdin = rest.partition(b"\n\n\n")
        command = COMMANDS[len(head) % len(COMMANDS)]
        environ = {"CNI_COMMAND": command, "CNI_PATH": str(self.folder / "bin")}
        for name, value in zip(NAMES, values.replace(b"\0", b"").split(b"\n"), strict=False):
            environ[name] = value.decode("utf-8", "surrogateescape")
        given = stdin.replace(b"$F", str(self.folder).encode())
        code, answer = main.serve(environ, lambda: given, str(self.folder / "bin" / "genie"))
        self._judge(code, answer)

    def _judge(self, code: int, answer: dict[str, Any] | None) -> None:
        assert code in {0, 1}
        if answer is not None:
            assert dump(answer).count(b"\n") == 0
        if code:
            assert answer is not None
            assert answer["code"] != errors.INTERNAL, answer
            assert "Traceback" not in answer["msg"]
        known = {"net.conflist", "bin", "state"}
        assert {file.name for file in self.folder.iterdir()} <= known


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
