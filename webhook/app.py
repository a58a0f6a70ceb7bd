"""The FastAPI application: a review in, a decision out.

===  ==================================================================
200  an AdmissionReview with a decision, also with a refusal
400  the body is not a review
408  the body arrived too slowly
413  the body is too large
415  the body is not JSON
500  a defect of the webhook; the log has the traceback
503  no decision is possible now
===  ==================================================================

After anything but 200, the ``failurePolicy`` of the webhook configuration decides.

Bodies are parsed by :mod:`webhook.review_parser`, not by models of FastAPI: a pod has hundreds of
fields, and the rules need a dozen. Each endpoint is an ASGI application of its own, and reviews
bypass FastAPI's router, middleware and dependencies, which would cost as much as a decision.
FastAPI answers all other requests.
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
from webhook.http_exchange import WHOLE_BODY
from webhook.limits import OVER_LIMIT
from webhook.review import MalformedReviewError, Review, encode_response, object_name
from webhook.review_parser import parse_review

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fastapi.telemetry import TelemetryConfig
    from starlette.types import Message, Receive, Scope, Send
    from structlog.typing import FilteringBoundLogger

    from webhook.decision import Decision
    from webhook.metrics import WebhookMetrics

    ReviewHandler = Callable[[Review], Awaitable[Decision]]

log = structlog.get_logger("webhook")

CLOSE = (b"connection", b"close")
JSON = (b"content-type", b"application/json")
TEXT = (b"content-type", b"text/plain; charset=utf-8")

MAX_NAME = 253
"""Limit of a name in Kubernetes, in characters."""


class RequestRefusedError(Exception):
    """A response other than 200: its ``status``, a ``sentence``, and one word for the metrics."""

    def __init__(self, status: int, word: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.word = word
        self.sentence = sentence


class Application(FastAPI):
    """FastAPI, with the endpoints of reviews in front of it."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        off: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}
        super().__init__(
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,  # API servers do not follow redirects
            telemetry=off,
        )
        self._endpoints = endpoints
        for path, endpoint in endpoints.items():
            self.add_route(path, endpoint, methods=["POST"])  # type: ignore[arg-type]  # an ASGI application is accepted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] == "http" and scope["method"] == "POST":
            endpoint = self._endpoints.get(scope["path"])
            if endpoint is not None:
                await endpoint(scope, receive, send)
                return

        # A client that asks for anything else is not an API server: free its connection.
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
    """Return the application; *handlers* maps the path of each endpoint to its handler."""
    return Application(
        {
            path: Endpoint(path.strip("/"), handle, body_reader, metrics, draining)
            for path, handle in handlers.items()
        }
    )


class Endpoint:
    """One path: reads a review, passes it to the handler, responds, counts and logs."""

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
        self._log = log.bind()  # which costs as much as the line itself, if each line does it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        self._metrics.in_flight += 1
        try:
            status, headers, body = await self._answer(scope, receive)
        finally:
            self._metrics.in_flight -= 1

        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(
        self, scope: Scope, receive: Receive
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Return status, headers and body.

        Only a decision leaves the connection open: a client that gets an error is not an API
        server, or should try another replica. A draining replica closes it after decisions, too.
        """
        started = time.perf_counter()
        try:
            review = parse_request(await _read_body(scope, receive, self._body_reader))
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
                _log_decision(self._log, review, decision)
            return encode_response(review, decision), decision
        except NoDecisionError as error:
            raise RequestRefusedError(503, "cannot-decide", str(error)) from None
        except MalformedReviewError as error:
            raise RequestRefusedError(400, "malformed", str(error)) from None
        except Exception as error:
            log.exception("review failed", uid=review.uid[:MAX_NAME])
            raise RequestRefusedError(
                500, "fault", "internal error; see the webhook's log"
            ) from error


async def _read_body(scope: Scope, receive: Receive, body_reader: BodyReader) -> bytes:
    headers = dict(scope["headers"])
    media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media_type != b"application/json":
        raise RequestRefusedError(415, "wrong-type", "the Content-Type must be application/json")
    try:
        take_whole = scope.get("extensions", {}).get(WHOLE_BODY)
        whole = take_whole() if take_whole else None
        return await body_reader.read(headers.get(b"content-length", b""), receive, whole)
    except BodyTooLargeError:
        raise RequestRefusedError(
            413, "too-large", "the body is larger than GENIE_MAX_BODY_BYTES"
        ) from None
    except BodyTimeoutError:
        raise RequestRefusedError(408, "too-slow", "the body did not arrive in time") from None
    except ClientDisconnectedError:
        raise RequestRefusedError(
            400, "gone", "the client closed the connection before the body was complete"
        ) from None


def parse_request(body: bytes) -> Review:
    """Return the review in *body*; raises :class:`RequestRefusedError` with status 400."""
    try:
        return parse_review(body)
    except MalformedReviewError as error:
        raise RequestRefusedError(400, "malformed", str(error)) from None


def _log_decision(log: FilteringBoundLogger, review: Review, decision: Decision) -> None:
    """Log a refusal, a change, or a pod over a limit that only warns."""
    # Never log the object, which may hold secrets. Cut values that are longer than any name:
    # they do not come from an API server, and must not fill the disk.
    log.info(
        decision.outcome,
        uid=review.uid[:MAX_NAME],
        kind=review.kind,
        namespace=review.namespace[:MAX_NAME],
        name=object_name(review)[:MAX_NAME],
        operation=review.operation[:MAX_NAME],
        reason=decision.reason,
        causes=[cause.message for cause in decision.causes] or None,
        networks=decision.audit.get("networks"),
    )


def _log_refusal(endpoint: str, refusal: RequestRefusedError) -> None:
    log.warning("no decision", endpoint=endpoint, status=refusal.status, reason=refusal.sentence)
