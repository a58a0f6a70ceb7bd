"""Commands in containers against scripted answers; real ones are in tests/cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cli import kubectl
from cli.on_node import Ran
from cli.session import Access
from dispatcher.kube.errors import KubeError
from tests.unit.apiserver import HttpAnswer, serve
from tests.unit.kube.logins import KUBECONFIG

if TYPE_CHECKING:
    from pathlib import Path

    from kubernetes import client


def api(directory: Path, url: str) -> client.CoreV1Api:
    """Return the API of the server at *url*."""
    path = directory / "config"
    path.write_text(KUBECONFIG.format(url=url))
    return kubectl.core(Access(str(path), "test"))


def execute(core: client.CoreV1Api) -> Ran:
    return kubectl.execute(core, "genie-system", "genie-agent-x", "reaper", ["true"])


def test_who_may_not_run_commands_learns_which_right_is_missing(tmp_path: Path) -> None:
    """The library puts the API server's answer into one text, with all headers."""
    with serve(lambda *_: HttpAnswer({"message": "no"}, 403)) as script:
        core = api(tmp_path, script.url)
        with pytest.raises(KubeError) as caught:
            execute(core)
    assert str(caught.value) == (
        "pod genie-agent-x: its node cannot be asked: "
        "you may not create pods/exec in namespace genie-system (403 Forbidden)"
    )


def test_a_pod_that_is_gone_is_named_with_the_status(tmp_path: Path) -> None:
    """It was listed a moment ago."""
    with serve(lambda *_: HttpAnswer({"message": "no"}, 404)) as script:
        core = api(tmp_path, script.url)
        with pytest.raises(KubeError, match=r"pod genie-agent-x: .*: HTTP status 404"):
            execute(core)


def test_an_api_server_that_is_gone_is_an_error_of_the_same_type(tmp_path: Path) -> None:
    """It may go while a command asks one node after another."""
    with pytest.raises(KubeError, match=r"pod genie-agent-x: .*Connection refused") as caught:
        execute(api(tmp_path, "http://127.0.0.1:1"))
    assert caught.value.reason == "NoAnswer"


class FakeStream:
    """A running command, as the kubernetes library gives it; *is_endless* never ends."""

    def __init__(self, *, is_endless: bool) -> None:
        self.is_endless = is_endless
        self.returncode = 3

    def run_forever(self, timeout: float) -> None:
        """Wait for the end."""
        assert timeout == kubectl.SECONDS

    def is_open(self) -> bool:
        """Return whether the command still runs."""
        return self.is_endless

    def close(self) -> None:
        """End it."""

    def read_stdout(self) -> str:
        """Return its output."""
        return "out"

    def read_stderr(self) -> str:
        """Return its errors."""
        return "err"


def test_a_command_gives_its_output_and_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a stand-in of the library's stream."""
    running = FakeStream(is_endless=False)
    monkeypatch.setattr("kubernetes.stream.stream", lambda *_, **__: running)
    assert execute(api(tmp_path, "http://127.0.0.1:1")) == Ran("out", "err", 3)


def test_a_command_that_does_not_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node may hang; its stream is closed, or the process would wait for it."""
    running = FakeStream(is_endless=True)
    monkeypatch.setattr("kubernetes.stream.stream", lambda *_, **__: running)
    with pytest.raises(KubeError, match="no end after 60 s"):
        execute(api(tmp_path, "http://127.0.0.1:1"))


def test_a_kubeconfig_that_cannot_be_read_is_an_error_of_the_same_type(tmp_path: Path) -> None:
    """The client of the API server says it first, in practice."""
    with pytest.raises(KubeError, match="cannot log in to Kubernetes"):
        kubectl.core(Access(str(tmp_path / "missing")))
