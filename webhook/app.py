"""The FastAPI application: a review in, a decision out, and the right status for all else.

=====================================  ===========================================
200 and an AdmissionReview             a decision, be it "no"
400 the body is no review              413 too large   415 not JSON   408 too slow
503 cannot decide                      ``failurePolicy`` decides
500 a fault of ours                    same; the log has the traceback
=====================================  ===========================================

Bodies are parsed by :mod:`webhook.review`, not by models: a pod has hundreds of fields, and
we read five. An endpoint is an ASGI application of its own, which reviews reach directly: what
FastAPI puts around a function (middleware, parameters, dependencies) would cost as much as a
decision, and nothing of it is used. All else that is asked for is FastAPI's to answer.

Only a decision leaves its connection open: who gets another answer is no API server, or should
try another replica. While draining, decisions close it too, for the same reason.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog
from fastapi import FastAPI

from webhook.body_reader import (
    BodyReader,
    BodyTimeoutError,
    BodyTooLargeError,
    ClientDisconnectedError,
)
from webhook.decision import NoDecisionError
from webhook.limits import OVER_LIMIT
from webhook.review import MalformedReviewError, Review, encode_response, object_name, parse_review

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fastapi.telemetry import TelemetryConfig
    from starlette.types import Message, Receive, Scope, Send

    from webhook.decision import Decision
    from webhook.metrics import WebhookMetrics

    ReviewHandler = Callable[[Review], Awaitable[Decision]]

log = structlog.get_logger("webhook")

CLOSE = (b"connection", b"close")
JSON = (b"content-type", b"application/json")
TEXT = (b"content-type", b"text/plain; charset=utf-8")

LONGEST_NAME = 253
"""Characters of the longest name in Kubernetes."""


class RequestRefusedError(Exception):
    """An answer other than 200: ``status``, one ``sentence``, one word for the metrics."""

    def __init__(self, status: int, word: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.word = word
        self.sentence = sentence


class Application(FastAPI):
    """FastAPI, and before it the endpoints of reviews."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        off: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}
        super().__init__(
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,  # a review is never sent again to where it is redirected
            telemetry=off,
        )
        self._endpoints = endpoints
        for path, endpoint in endpoints.items():
            self.add_route(path, endpoint, methods=["POST"])  # type: ignore[arg-type]  # ASGI too

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] == "http" and scope["method"] == "POST":
            endpoint = self._endpoints.get(scope["path"])
            if endpoint is not None:
                await endpoint(scope, receive, send)
                return

        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], CLOSE]
            await send(message)

        await super().__call__(scope, receive, send_and_close)


def create_app(
    handlers: Mapping[str, ReviewHandler],
    body_reader: BodyReader,
    metrics: WebhookMetrics,
    draining: Callable[[], bool] = lambda: False,
) -> Application:
    """Return the application; *handlers* has the path of each endpoint and what decides there."""
    return Application(
        {
            path: Endpoint(path.strip("/"), handle, body_reader, metrics, draining)
            for path, handle in handlers.items()
        }
    )


class Endpoint:
    """One path: reads a review, has it judged, answers, counts and logs."""

    def __init__(
        self,
        name: str,
        handle: ReviewHandler,
        body_reader: BodyReader,
        metrics: WebhookMetrics,
        draining: Callable[[], bool],
    ) -> None:
        self._name = name
        self._handle = handle
        self._body_reader = body_reader
        self._metrics = metrics
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        self._metrics.in_flight += 1
        try:
            status, headers, body = await self._answer(dict(scope["headers"]), receive)
        finally:
            self._metrics.in_flight -= 1
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(
        self, headers: Mapping[bytes, bytes], receive: Receive
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Return status, headers and body."""
        started = time.perf_counter()
        try:
            review = parse_request(await _body(headers, receive, self._body_reader))
            body, decision = await self._decide(review)
        except RequestRefusedError as refusal:
            _log_refusal(self._name, refusal)
            self._metrics.count(self._name, "error", refusal.word)
            return refusal.status, [TEXT, CLOSE], refusal.sentence.encode()
        self._metrics.count(self._name, decision.outcome, decision.reason)
        self._metrics.observe(self._name, time.perf_counter() - started)
        return 200, [JSON, CLOSE] if self._draining() else [JSON], body

    async def _decide(self, review: Review) -> tuple[bytes, Decision]:
        try:
            decision = await self._handle(review)
            if decision.outcome != "allowed" or decision.reason == OVER_LIMIT:
                _log_decision(review, decision)
            return encode_response(review, decision), decision
        except NoDecisionError as error:
            raise RequestRefusedError(503, "cannot-decide", str(error)) from None
        except MalformedReviewError as error:
            raise RequestRefusedError(400, "malformed", str(error)) from None
        except Exception as error:
            log.exception("a review could not be judged", uid=review.uid[:LONGEST_NAME])
            raise RequestRefusedError(
                500, "fault", "the webhook failed; its log says why"
            ) from error


async def _body(headers: Mapping[bytes, bytes], receive: Receive, body_reader: BodyReader) -> bytes:
    media = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media != b"application/json":
        raise RequestRefusedError(415, "wrong-type", "the Content-Type must be application/json")
    try:
        return await body_reader.read(headers.get(b"content-length", b""), receive)
    except BodyTooLargeError:
        raise RequestRefusedError(413, "too-large", "the review is too large") from None
    except BodyTimeoutError:
        raise RequestRefusedError(408, "too-slow", "the body did not arrive in time") from None
    except ClientDisconnectedError:
        raise RequestRefusedError(400, "gone", "the client went away") from None


def parse_request(body: bytes) -> Review:
    """Return the review in *body*; raises :class:`RequestRefusedError` with 400."""
    try:
        return parse_review(body)
    except MalformedReviewError as error:
        raise RequestRefusedError(400, "malformed", str(error)) from None


def _log_decision(review: Review, decision: Decision) -> None:
    # One line for each refusal, each change, and each pod that limits only warn of; never the
    # object, which may hold secrets. What is longer than any name comes from no API server, and
    # must not fill a disk.
    log.info(
        decision.outcome,
        uid=review.uid[:LONGEST_NAME],
        kind=review.kind,
        namespace=review.namespace[:LONGEST_NAME],
        name=object_name(review)[:LONGEST_NAME],
        operation=review.operation[:LONGEST_NAME],
        reason=decision.reason,
        causes=[cause.message for cause in decision.causes] or None,
        networks=decision.audit.get("networks"),
    )


def _log_refusal(endpoint: str, refusal: RequestRefusedError) -> None:
    log.warning("no decision", endpoint=endpoint, status=refusal.status, reason=refusal.sentence)
