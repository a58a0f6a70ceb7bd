"""The API client against answers, and against their absence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dispatcher.kube.client import MERGE_PATCH, METADATA_LIST, Kube, KubeError, object_path
from tests.unit.apiserver import HttpAnswer, serve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.kube.logins import LogIn

NODES = "/api/v1/nodes"

CALLS: list[Any] = [
    pytest.param(lambda k: k.get(NODES, {"limit": "5"}), "GET", f"{NODES}?limit=5", None, id="get"),
    pytest.param(lambda k: k.create(NODES, {"a": 1}), "POST", NODES, {"a": 1}, id="create"),
    pytest.param(lambda k: k.update(NODES, {"a": 1}), "PUT", NODES, {"a": 1}, id="update"),
    pytest.param(
        lambda k: k.patch(NODES, [{"op": "x"}]), "PATCH", NODES, [{"op": "x"}], id="patch"
    ),
    pytest.param(lambda k: k.delete(NODES), "DELETE", NODES, None, id="delete"),
]


@pytest.mark.parametrize(("call", "method", "path", "body"), CALLS)
def test_each_verb_sends_json_with_the_token(
    log_in: LogIn, call: Callable[[Kube], Any], method: str, path: str, body: Any
) -> None:
    """A call is one request, logged in, whose JSON answer comes back."""
    with serve(lambda *_: HttpAnswer({"kind": "Node"})) as script:
        assert call(log_in(script.url)) == {"kind": "Node"}
    [(called_method, called_path, headers, sent)] = script.calls
    assert (called_method, called_path) == (method, path)
    assert headers["authorization"] == "Bearer a-token-for-tests"
    assert headers["user-agent"] == "genie-tests"
    assert (json.loads(sent) if sent else None) == body


def test_a_text_is_returned_as_it_is(log_in: LogIn) -> None:
    """Logs and metrics are no JSON, and may have bytes that are no UTF-8."""
    with serve(lambda *_: HttpAnswer(b"a 1\n\xff")) as script:
        assert log_in(script.url).get_text("/metrics") == "a 1\n\ufffd"
    with serve(lambda *_: HttpAnswer(b"", 503)) as script, pytest.raises(KubeError, match="503"):
        log_in(script.url).get_text("/metrics")


def test_a_patch_names_its_kind(log_in: LogIn) -> None:
    """A patch carries the media type asked for, a JSON patch unless told."""
    with serve(lambda *_: HttpAnswer()) as script:
        kube = log_in(script.url)
        kube.patch(NODES, [])
        kube.patch(NODES, {"a": None}, MERGE_PATCH)
    assert [call.headers["content-type"] for call in script.calls] == [
        "application/json-patch+json",
        "application/merge-patch+json",
    ]


def test_metadata_only_is_asked_for_by_header(log_in: LogIn) -> None:
    """A list can be asked for as metadata, which spares memory on both sides."""
    with serve(lambda *_: HttpAnswer({"items": []})) as script:
        log_in(script.url).get(NODES, accept=METADATA_LIST)
    assert script.calls[0].headers["accept"] == METADATA_LIST


@pytest.mark.parametrize(
    ("answer", "status", "reason", "part"),
    [
        pytest.param(
            HttpAnswer({"code": 409, "reason": "Conflict", "message": "try again"}, 409),
            409, "Conflict", "GET /x: try again", id="a Status object is passed on",
        ),
        pytest.param(HttpAnswer(b"<html>", 502), 502, "Unknown", "gave no reason", id="a proxy"),
        pytest.param(HttpAnswer([1], 500), 500, "Unknown", "gave no reason", id="no Status"),
        pytest.param(HttpAnswer(b"garbage"), 0, "BadAnswer", "not valid JSON", id="no JSON"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_the_server_said(
    log_in: LogIn, answer: HttpAnswer, status: int, reason: str, part: str
) -> None:
    """An error carries the server's status, reason and message."""
    with serve(lambda *_: answer) as script, pytest.raises(KubeError) as caught:
        log_in(script.url).get("/x")
    assert (caught.value.status, caught.value.reason) == (status, reason)
    assert part in str(caught.value)


def test_no_answer_is_status_zero(log_in: LogIn) -> None:
    """A server that is not there raises with status 0 and names the call, without a retry."""
    with serve(lambda *_: HttpAnswer()) as script:
        kube = log_in(script.url)
    with pytest.raises(KubeError, match="GET /x: no answer from the API server") as caught:
        kube.get("/x", timeout=2)
    assert caught.value.status == 0


def test_a_body_that_breaks_off_is_no_answer(log_in: LogIn) -> None:
    """An answer whose body ends early is not taken for an object."""
    with (
        serve(lambda *_: HttpAnswer(lines=[b'{"half":'])) as script,
        pytest.raises(KubeError, match="not valid JSON"),
    ):
        log_in(script.url).get("/x")


def test_a_watch_yields_events_and_asks_for_bookmarks(log_in: LogIn) -> None:
    """Events come one by one, however the server cuts its lines."""
    events = [{"type": "ADDED", "object": {"n": n}} for n in range(3)]
    text = b"".join(json.dumps(e).encode() + b"\n" for e in events)
    with serve(lambda *_: HttpAnswer(lines=[text[:10], text[10:70], text[70:]])) as script:
        with log_in(script.url).watch(NODES, {"resourceVersion": "7"}, seconds=5) as watch:
            assert list(watch) == events
        query = script.calls[0].path
    assert "resourceVersion=7&watch=1&allowWatchBookmarks=true&timeoutSeconds=5" in query


def test_an_error_event_ends_the_watch(log_in: LogIn) -> None:
    """410 in the stream is raised as such, so that the caller lists again."""
    gone = {"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old"}}
    with (
        serve(lambda *_: HttpAnswer(lines=[gone])) as script,
        log_in(script.url).watch(NODES, seconds=5) as watch,
        pytest.raises(KubeError) as caught,
    ):
        next(watch)
    assert caught.value.status == 410


def test_a_name_is_escaped_in_a_path() -> None:
    """A name cannot reach another object."""
    assert object_path("/api/v1/nodes", "a/../b") == "/api/v1/nodes/a%2F..%2Fb"


def test_without_any_configuration_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a pod's account nor a kubeconfig: one sentence, no traceback of the library."""
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none")
    )
    with pytest.raises(KubeError, match="cannot log in to Kubernetes"):
        Kube.load("genie-tests")
