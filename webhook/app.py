"""The FastAPI application: a review in, a decision out, and the right status for all else.

=====================================  ===========================================
200 and an AdmissionReview             a decision, be it "no"
400 the body is no review              413 too large   415 not JSON   408 too slow
503 cannot decide                      ``failurePolicy`` decides
500 a fault of ours                    same; the log has the traceback
=====================================  ===========================================

Bodies are parsed by :mod:`webhook.review`, not by models: a pod has hundreds of fields, and
we read five. While draining, every answer closes its connection, so that the API server's
next call goes to another replica.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog
from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from webhook.decision import CannotDecide
from webhook.intake import BodyTooLarge, BodyTooSlow, Intake
from webhook.review import MalformedReview, Review, answer, object_name, parse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fastapi.telemetry import TelemetryConfig

    from webhook.decision import Decision
    from webhook.metrics import Metrics

    Judge = Callable[[Review], Awaitable[Decision]]

log = structlog.get_logger("webhook")

CLOSE = {"connection": "close"}


class Refusal(Exception):  # noqa: N818 - an HTTP answer that is no decision
    """An answer other than 200: ``status``, one ``sentence``, one word for the metrics."""

    def __init__(self, status: int, word: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.word = word
        self.sentence = sentence


def create_app(
    judges: Mapping[str, Judge],
    intake: Intake,
    metrics: Metrics,
    draining: Callable[[], bool] = lambda: False,
) -> FastAPI:
    """Return the application; *judges* has the path of each endpoint and what decides there."""
    off: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, telemetry=off)
    for path, judge in judges.items():
        endpoint = _endpoint(path.strip("/"), judge, intake, metrics, draining)
        # A plain route: FastAPI's own would resolve parameters and dependencies that we have not.
        app.add_route(path, endpoint, methods=["POST"])
    return app


def _endpoint(
    name: str, judge: Judge, intake: Intake, metrics: Metrics, draining: Callable[[], bool]
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        started = time.perf_counter()
        with metrics.in_flight.track_inprogress():
            try:
                body, decision = await _decide(request, judge, intake)
            except Refusal as refusal:
                _note(name, refusal)
                metrics.count(name, "error", refusal.word)
                return Response(refusal.sentence, refusal.status, CLOSE, "text/plain")
        metrics.count(name, decision.outcome, decision.reason)
        metrics.observe(name, time.perf_counter() - started)
        headers = CLOSE if draining() else None
        return Response(body, headers=headers, media_type="application/json")

    return endpoint


async def _decide(request: Request, judge: Judge, intake: Intake) -> tuple[bytes, Decision]:
    review = parse_or_refuse(await _body(request, intake))
    try:
        decision = await judge(review)
    except CannotDecide as error:
        raise Refusal(503, "cannot-decide", str(error)) from None
    except MalformedReview as error:
        raise Refusal(400, "malformed", str(error)) from None
    except Exception as error:
        log.exception("a review could not be judged", uid=review.uid)
        raise Refusal(500, "fault", "the webhook failed; its log says why") from error
    if decision.outcome != "allowed":
        _tell(review, decision)
    return answer(review, decision), decision


async def _body(request: Request, intake: Intake) -> bytes:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise Refusal(415, "wrong-type", "the Content-Type must be application/json")
    try:
        return await intake.read(request)
    except BodyTooLarge:
        raise Refusal(413, "too-large", "the review is too large") from None
    except BodyTooSlow:
        raise Refusal(408, "too-slow", "the body did not arrive in time") from None
    except ClientDisconnect:
        raise Refusal(400, "gone", "the client went away") from None


def parse_or_refuse(body: bytes) -> Review:
    """Return the review in *body*; raises :class:`Refusal` with 400."""
    try:
        return parse(body)
    except MalformedReview as error:
        raise Refusal(400, "malformed", str(error)) from None


def _tell(review: Review, decision: Decision) -> None:
    # One line for each refusal and each change; never the object, which may hold secrets.
    log.info(
        decision.outcome,
        uid=review.uid,
        kind=review.kind,
        namespace=review.namespace,
        name=object_name(review),
        operation=review.operation,
        reason=decision.reason,
        causes=[cause.message for cause in decision.causes] or None,
        networks=decision.audit.get("networks"),
    )


def _note(endpoint: str, refusal: Refusal) -> None:
    log.warning("no decision", endpoint=endpoint, status=refusal.status, reason=refusal.sentence)
