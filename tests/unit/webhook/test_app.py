"""The application: which status for what, and nothing that leaks."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client import generate_latest

from tests.unit.webhook.builders import envelope, pod
from webhook.app import create_app
from webhook.body_reader import BodyReader, BodyTooLargeError
from webhook.decision import Cause, Decision, NoDecisionError, deny
from webhook.metrics import WebhookMetrics
from webhook.review import MalformedReviewError

if TYPE_CHECKING:
    from collections.abc import Callable

    from webhook.review import Review

REVIEW = json.dumps(envelope(pod("weave"))).encode()
JSON = {"content-type": "application/json"}


class AppRig:
    """An application whose handler does what a test wants."""

    def __init__(self) -> None:
        self.does: Callable[[Review], Decision] = lambda _: Decision()
        self.draining = False
        self.metrics = WebhookMetrics()
        body_reader = BodyReader(
            max_bytes=2000, max_buffered_bytes=4000, max_arriving=2, seconds=0.2
        )
        app = create_app({"/pods": self._handle}, body_reader, self.metrics, lambda: self.draining)
        self.client = TestClient(app)

    async def _handle(self, review: Review) -> Decision:
        return self.does(review)

    def post(self, body: Any = REVIEW, **headers: str) -> Any:
        """Send *body* to the one endpoint."""
        return self.client.post("/pods", content=body, headers={**JSON, **headers})

    def counted(self, outcome: str, reason: str) -> bool:
        """Tell whether that was counted once."""
        labels = f'endpoint="pods",outcome="{outcome}",reason="{reason}"'
        line = f"genie_webhook_decisions_total{{{labels}}} 1.0"
        return line in generate_latest(self.metrics.registry).decode()


@pytest.fixture
def rig() -> AppRig:
    return AppRig()


def raising(error: Exception) -> Callable[[Review], Decision]:
    def handle(_: Review) -> Decision:
        raise error

    return handle


REFUSED = deny([Cause("FieldValueInvalid", "Invalid value", "f")])


@pytest.mark.parametrize(
    ("decision", "outcome", "reason"),
    [
        pytest.param(Decision(), "allowed", "nothing-to-do", id="allowed"),
        pytest.param(REFUSED, "denied", "invalid", id="denied"),
        pytest.param(
            Decision(reason="defaulted", patch=[{"op": "remove", "path": "/x"}]),
            "patched",
            "defaulted",
            id="patched",
        ),
    ],
)
def test_every_decision_is_200_and_counted(
    rig: AppRig, decision: Decision, outcome: str, reason: str
) -> None:
    """Also a refusal is an answer."""
    rig.does = lambda _: decision
    response = rig.post()
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json()["response"]["allowed"] is decision.allowed
    assert rig.counted(outcome, reason)
    assert "connection" not in response.headers


@pytest.mark.parametrize(
    ("error", "status", "reason", "text"),
    [
        pytest.param(
            NoDecisionError("caches are empty"), 503, "cannot-decide", "caches are empty", id="503"
        ),
        pytest.param(
            MalformedReviewError("spec must be an object"), 400, "malformed", "spec must", id="400"
        ),
        pytest.param(KeyError("secret"), 500, "fault", "internal error", id="500"),
    ],
)
def test_what_is_no_decision_has_a_status_of_its_own(
    rig: AppRig, error: Exception, status: int, reason: str, text: str
) -> None:
    """So that failurePolicy decides; the text is one sentence and never a traceback."""
    rig.does = raising(error)
    response = rig.post()
    assert response.status_code == status
    assert text in response.text
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    assert response.headers["connection"] == "close"
    assert rig.counted("error", reason)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        pytest.param(b"garbage", {}, 400, id="no-json"),
        pytest.param(REVIEW, {"content-type": "text/plain"}, 415, id="another-type"),
        pytest.param(REVIEW, {"content-type": "Application/JSON; charset=utf-8"}, 200, id="json"),
        pytest.param(b"x" * 2001, {}, 413, id="too-large-by-its-length"),
        pytest.param(iter([b"x" * 1200] * 2), {}, 413, id="too-large-in-chunks"),
    ],
)
def test_bodies_that_cannot_be_read(
    rig: AppRig, body: Any, headers: dict[str, str], status: int
) -> None:
    """Too large, of another type, or no review."""
    assert rig.post(body, **headers).status_code == status


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/pods", 405),
        ("POST", "/other", 404),
        ("POST", "/pods/", 404),
        ("GET", "/docs", 404),
    ],
)
def test_nothing_else_is_served(rig: AppRig, method: str, path: str, status: int) -> None:
    """No documentation, no other path or method; and who asks for it is no API server."""
    response = rig.client.request(method, path, follow_redirects=False)
    assert response.status_code == status
    assert response.headers["connection"] == "close"


def test_while_draining_every_answer_closes_its_connection(rig: AppRig) -> None:
    """The API server's next call then goes to another replica."""
    rig.draining = True
    assert rig.post().headers["connection"] == "close"


def test_a_refusal_is_logged_without_the_object(
    rig: AppRig, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with who, what and why."""
    rig.does = lambda _: REFUSED
    rig.post(json.dumps(envelope(pod("weave", spec={"x": "a-secret"}))).encode())
    out = capsys.readouterr().out
    assert "denied" in out
    assert "Invalid value" in out
    assert "a-secret" not in out


@pytest.mark.parametrize(("reason", "lines"), [("over-limit", 1), ("valid", 0)])
def test_a_pod_over_a_limit_is_logged_while_limits_only_warn(
    rig: AppRig, capsys: pytest.CaptureFixture[str], reason: str, lines: int
) -> None:
    """By the name of its controller: it will be refused one day."""
    rig.does = lambda _: Decision(reason=reason)
    rig.post(json.dumps(envelope(pod("weave", metadata={"generateName": "web-"}))).encode())
    assert capsys.readouterr().out.count(reason) == lines
    assert rig.counted("allowed", reason)


def test_a_name_without_end_fills_no_log(rig: AppRig, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever reaches the port may send it; the answer is right all the same."""
    rig.does = lambda _: REFUSED
    review_object = envelope(pod(), uid="u" * 300, name="n" * 300, namespace="s" * 300)
    response = rig.post(json.dumps(review_object).encode())
    assert response.json()["response"]["uid"] == "u" * 300
    out = capsys.readouterr().out
    for letter in "uns":
        assert letter * 253 in out
        assert letter * 254 not in out


class Slow:
    """A request whose body comes when the test lets it."""

    def __init__(self, *chunks: bytes) -> None:
        self.go = asyncio.Event()
        self._chunks = list(chunks)

    async def receive(self) -> dict[str, Any]:
        """Return the next chunk; the last one waits."""
        if len(self._chunks) == 1:
            await self.go.wait()
        chunk = self._chunks.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(self._chunks)}


def outcomes(body_reader: BodyReader, *requests: Slow) -> list[Any]:
    async def run() -> list[Any]:
        reads = [asyncio.create_task(body_reader.read(b"", one.receive)) for one in requests]
        await asyncio.sleep(0.05)
        for one in requests:
            one.go.set()
        return await asyncio.gather(*reads, return_exceptions=True)

    return [
        review_object if isinstance(review_object, bytes) else type(review_object).__name__
        for review_object in asyncio.run(run())
    ]


def intake(**limits: Any) -> BodyReader:
    return BodyReader(
        **{"max_bytes": 100, "max_buffered_bytes": 100, "max_arriving": 2, "seconds": 5.0, **limits}
    )


def test_bodies_arrive_side_by_side() -> None:
    """As long as there is room for both."""
    assert outcomes(intake(), Slow(b"a", b"b"), Slow(b"c", b"d")) == [b"ab", b"cd"]


@pytest.mark.parametrize(
    ("whole", "outcome"), [(b"x" * 100, b"x" * 100), (b"x" * 101, "BodyTooLargeError")]
)
def test_a_body_that_is_there_need_not_arrive(whole: bytes, outcome: bytes | str) -> None:
    """Its limit is the same, also where no header announced its length."""

    async def read() -> bytes | str:
        try:
            return await intake().read(b"", Slow(b"other").receive, whole)
        except BodyTooLargeError as error:
            return type(error).__name__

    assert asyncio.run(read()) == outcome


def test_a_body_that_takes_too_long_is_given_up() -> None:
    """The deadline is for the whole body."""
    assert outcomes(intake(seconds=0.01), Slow(b"a", b"b")) == ["BodyTimeoutError"]


def test_when_too_many_arrive_the_oldest_is_given_up() -> None:
    """Under an attack with slow bodies that is the attacker's."""
    assert outcomes(intake(), Slow(b"a", b"1"), Slow(b"b", b"2"), Slow(b"c", b"3")) == [
        "BodyTimeoutError",
        b"b2",
        b"c3",
    ]


def test_when_too_much_arrives_the_oldest_is_given_up() -> None:
    """Memory is bounded for all bodies together; a body alone has room up to its own limit."""
    two = Slow(b"x" * 60, b"1"), Slow(b"y" * 60, b"2")
    assert outcomes(intake(), *two) == ["BodyTimeoutError", b"y" * 60 + b"2"]
    assert outcomes(intake(), Slow(b"x" * 99, b"1")) == [b"x" * 99 + b"1"]
