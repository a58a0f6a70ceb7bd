from __future__ import annotations

import json
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher import keys
from dispatcher.agent import annotation_server
from dispatcher.kube.errors import KubeError
from tests.unit.apiserver import Api, fail, pod_object

if TYPE_CHECKING:
    from pathlib import Path

POD = pod_object(
    "ns", "p", "u1", {"cni": "weave", "secret": "of others", "kubernetes.io/config.mirror": "m1"}
)


def failing(error: KubeError) -> Api:
    api = Api()
    api.before = fail(error)
    return api


def asked(api: Api, **changes: Any) -> dict[str, Any]:
    request = {"version": 1, "namespace": "ns", "name": "p", "uid": "u1", **changes}
    return annotation_server.answer(api.client(), json.dumps(request).encode())


def code(reply: dict[str, Any]) -> int:
    return int(reply["error"]["code"])


@pytest.mark.parametrize("uid", ["u1", "m1", ""], ids=["of the pod", "of a static pod", "unknown"])
def test_the_networks_of_a_pod_are_answered_and_nothing_else(uid: str) -> None:
    """Other annotations are no business of the node."""
    api = Api(POD)
    assert asked(api, uid=uid) == {"annotations": {"cni": "weave"}}
    assert [call.path for call in api.calls] == ["/api/v1/namespaces/ns/pods/p"]


def test_what_selects_definitions_is_answered_too() -> None:
    """With what admission has permitted of it."""
    annotations = dict.fromkeys(sorted(annotation_server.SENT), "x")
    api = Api(pod_object("ns", "p", "u1", annotations={**annotations, "other": "y"}))
    assert len(annotations) == 4
    assert asked(api) == {"annotations": annotations}


@pytest.mark.parametrize(
    ("uid", "mirror", "is_sent"),
    [
        pytest.param("m1", "m1", True, id="a static pod"),
        pytest.param("", "m1", True, id="a static pod, of a runtime without UIDs"),
        pytest.param("u1", "m1", False, id="the mirror pod itself"),
        pytest.param("u1", None, False, id="a pod of the API"),
        pytest.param("", None, False, id="a pod of the API, of a runtime without UIDs"),
    ],
)
def test_the_source_is_answered_for_static_pods_alone(
    uid: str, mirror: str | None, *, is_sent: bool
) -> None:
    """The author of another pod could write it, to pass for one that needs no permission."""
    annotations = {"cni": "weave", keys.CONFIG_SOURCE: "file"}
    if mirror is not None:
        annotations[keys.MIRROR] = mirror
    expected = {"cni": "weave", **({keys.CONFIG_SOURCE: "file"} if is_sent else {})}
    assert asked(Api(pod_object("ns", "p", "u1", annotations)), uid=uid) == {
        "annotations": expected
    }


def test_a_pod_without_the_annotation_has_none() -> None:
    """That is an answer, not an error."""
    assert asked(Api(pod_object("ns", "p", "u1"))) == {"annotations": {}}


@pytest.mark.parametrize(
    ("pod_or_error", "expected", "words"),
    [
        pytest.param(KubeError(404, "NotFound", "x"), 120, "no longer exists", id="pod gone"),
        pytest.param(KubeError(403, "Forbidden", "x"), 122, "not allowed to read", id="no right"),
        pytest.param(KubeError(0, "NoAnswer", "x"), 11, "cannot read pod", id="API away"),
        pytest.param(KubeError(429, "TooMany", "x"), 11, "cannot read pod", id="API busy"),
        pytest.param(pod_object("ns", "p", "u2"), 121, "replaced", id="another pod of that name"),
    ],
)
def test_each_fault_has_its_own_code_and_sentence(
    pod_or_error: Any, expected: int, words: str
) -> None:
    """The plugin returns them as they are."""
    reply = asked(
        failing(pod_or_error) if isinstance(pod_or_error, KubeError) else Api(pod_or_error)
    )
    assert code(reply) == expected
    assert words in reply["error"]["msg"]


def test_a_missing_right_is_answered_with_the_fix() -> None:
    """Agents have the right only if oldRuntimes is true."""
    assert "oldRuntimes" in asked(failing(KubeError(403, "Forbidden", "x")))["error"]["details"]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"version": 2, "namespace": "n", "name": "p", "uid": ""}',
        b'{"version": 1, "namespace": "", "name": "p", "uid": ""}',
        b'{"version": 1, "namespace": "n", "name": "p"}',
        b'{"version": 1, "namespace": [], "name": "p", "uid": ""}',
        b"\xff",
    ],
)
def test_a_request_that_is_not_of_the_protocol_is_refused(line: bytes) -> None:
    """Before the API server is asked anything."""
    api = Api(POD)
    assert code(annotation_server.answer(api.client(), line)) == 123
    assert api.calls == []


def test_names_cannot_leave_their_place_in_the_path() -> None:
    """CNI_ARGS come from the runtime, but a path is a path."""
    api = Api(POD)
    asked(api, name="../secrets/x?y")
    assert [call.path for call in api.calls] == ["/api/v1/namespaces/ns/pods/..%2Fsecrets%2Fx%3Fy"]


def exchange(path: Path, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        if data:
            client.sendall(data)
        received = b""
        while chunk := client.recv(65536):
            received += chunk
        return received


def test_over_the_socket_one_line_is_answered_with_one_line(tmp_path: Path) -> None:
    """And a stale socket of an earlier agent is replaced; it is for user 0 alone."""
    path = tmp_path / "agent.sock"
    path.touch()
    server = annotation_server.start(Api(POD).client(), path, os.geteuid())
    try:
        request = b'{"version": 1, "namespace": "ns", "name": "p", "uid": "u1"}\n'
        assert exchange(path, request) == b'{"annotations": {"cni": "weave"}}\n'
        assert path.stat().st_mode & 0o777 == 0o600
    finally:
        server.shutdown()
        server.server_close()


def test_more_calls_than_can_be_worked_on_are_answered_with_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood cannot pile up threads that wait for the API server."""
    monkeypatch.setattr(annotation_server, "MAX_CALLS", 1)
    inside, leave = threading.Event(), threading.Event()

    def wait(_method: str, _path: str) -> None:
        inside.set()
        leave.wait(10)

    api = Api(POD)
    api.before = wait
    path = tmp_path / "agent.sock"
    server = annotation_server.start(api.client(), path, os.geteuid())
    request = b'{"version": 1, "namespace": "ns", "name": "p", "uid": "u1"}\n'
    first: list[bytes] = []
    thread = threading.Thread(target=lambda: first.append(exchange(path, request)))
    try:
        thread.start()
        assert inside.wait(10)
        assert json.loads(exchange(path, request))["error"]["code"] == 11
    finally:
        leave.set()
        thread.join()
        server.shutdown()
        server.server_close()
    assert first == [b'{"annotations": {"cni": "weave"}}\n']


def test_only_one_user_is_answered(tmp_path: Path) -> None:
    """Also where somebody has opened up the socket's permissions."""
    path = tmp_path / "agent.sock"
    server = annotation_server.start(Api(POD).client(), path, user=os.geteuid() + 1)
    try:
        assert exchange(path, b"") == b""
    finally:
        server.shutdown()
        server.server_close()
