"""The plugin asks the agent for a pod's annotation, over its unix socket."""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from dispatcher import cni_errors
from dispatcher.cni_errors import CNIError
from dispatcher.plugin import agent_client

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.plugin.program import Node


def agent(folder: Path, answer: bytes) -> tuple[str, list[bytes]]:
    """Answer one request on a socket, and keep the request."""
    address = str(folder / "agent.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    requests: list[bytes] = []

    def serve() -> None:
        with listener, listener.accept()[0] as peer:
            requests.append(peer.makefile("rb").read())
            peer.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return address, requests


ARGS = "K8S_POD_NAME=p;K8S_POD_NAMESPACE=n;K8S_POD_UID=u"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(b'{"annotations":{"cni":"weave"}}\n', {"cni": "weave"}, id="a choice"),
        pytest.param(b'{"annotations":{}}', {}, id="none"),
        pytest.param(b'{"annotations":{"a":"b","c":""}}', {"a": "b", "c": ""}, id="others"),
    ],
)
def test_the_agent_answers_with_the_annotations(
    tmp_path: Path, answer: bytes, expected: dict[str, str]
) -> None:
    """The request is one JSON object, and so is the answer."""
    address, requests = agent(tmp_path, answer)
    assert agent_client.pod_annotations(address, ARGS) == expected
    assert json.loads(requests[0]) == {"version": 1, "namespace": "n", "name": "p", "uid": "u"}


@pytest.mark.parametrize(
    ("answer", "code", "part"),
    [
        pytest.param(b'{"error":{"code":121,"msg":"replaced"}}', 121, "replaced", id="its error"),
        pytest.param(b"", 11, "invalid answer", id="silence"),
        pytest.param(b"{", 11, "invalid answer", id="half an answer"),
        pytest.param(b"[]", 11, "invalid answer", id="a list"),
        pytest.param(b'{"annotations":{"cni":7}}', 11, "not a string", id="a wrong type"),
        pytest.param(b'{"annotations":7}', 11, "invalid answer", id="no annotations"),
        pytest.param(b'{"error":{"code":"x","msg":""}}', 11, "cannot", id="an odd error"),
    ],
)
def test_the_agent_answers_with_an_error_or_invalidly(
    tmp_path: Path, answer: bytes, code: int, part: str
) -> None:
    """Its own error is returned as it is; an invalid answer is code 11."""
    address, _ = agent(tmp_path, answer)
    with pytest.raises(CNIError) as caught:
        agent_client.pod_annotations(address, ARGS)
    assert caught.value.code == code
    assert part in caught.value.msg


def test_an_agent_that_is_missing_or_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code 11 before the deadline, never the default network."""
    with pytest.raises(CNIError, match="No such file") as caught:
        agent_client.pod_annotations(str(tmp_path / "none.sock"), ARGS)
    assert caught.value.code == cni_errors.TRY_AGAIN
    monkeypatch.setattr(agent_client, "SECONDS", 0.05)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "silent.sock"))
        listener.listen()
        with pytest.raises(CNIError, match="timed out"):
            agent_client.pod_annotations(str(tmp_path / "silent.sock"), ARGS)


@pytest.mark.parametrize(
    ("address", "args"), [("", ARGS), ("/x.sock", "IgnoreUnknown=1")], ids=["no agent", "no pod"]
)
def test_the_agent_is_not_asked(address: str, args: str) -> None:
    """Without a socket in the conflist, or a pod in the call, there is nothing to ask."""
    assert agent_client.pod_annotations(address, args) == {}


def test_a_call_asks_the_agent(node: Node) -> None:
    """If the agent is missing, ADD fails with code 11, and DEL of an unknown container succeeds."""
    conf = node.conf(agentSocket=str(node.folder / "none.sock"))
    code, answer = node.call("ADD", conf)
    assert (code, answer["code"]) == (1, cni_errors.TRY_AGAIN)
    assert node.call("DEL", conf) == (0, None)
