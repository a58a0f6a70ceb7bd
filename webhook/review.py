"""The wire: AdmissionReview ``admission.k8s.io/v1``, bytes to values and back.

Only the fields that a decision needs are read; unknown ones are ignored, as the API's rules
for clients ask. What is not an AdmissionReview at all raises :class:`MalformedReviewError`, which
the HTTP layer answers with 400: a decision it is not.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from dispatcher.annotation import quote
from webhook.decision import UNPROCESSABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from webhook.decision import Decision

API_VERSION = "admission.k8s.io/v1"

MAX_PARTS = 300_000
"""Values in one review, of which each may take 200 bytes of memory. An object as large as etcd
takes has some 100,000, and an update has two of it. Commas and brackets within texts count, too."""


class MalformedReviewError(ValueError):
    """Bytes that are no AdmissionReview of the version we speak; the message says why."""


class Review(NamedTuple):
    """The request of one AdmissionReview.

    ``object`` and ``old_object`` are empty where the request has none (a DELETE has no object).
    ``namespace`` is empty for cluster-scoped objects, ``name`` until the API server makes one.
    """

    uid: str
    operation: str
    group: str
    kind: str
    name: str
    namespace: str
    subresource: str
    object: Mapping[str, Any]
    old_object: Mapping[str, Any]


def parse_review(body: bytes) -> Review:
    """Return the request in *body*; raises :class:`MalformedReviewError`."""
    if _parts(body) > MAX_PARTS:
        raise MalformedReviewError(f"the review has more than {MAX_PARTS} values")
    try:
        review = orjson.loads(body)
    except ValueError as error:
        raise MalformedReviewError(f"the body is no JSON: {error}") from None
    if not isinstance(review, dict):
        raise MalformedReviewError("the body is no JSON object")
    version, kind = review.get("apiVersion"), review.get("kind")
    if (version, kind) != (API_VERSION, "AdmissionReview"):
        texts_both = isinstance(version, str) and isinstance(kind, str)
        found = quote(f"{version} {kind}") if texts_both else "something else"
        raise MalformedReviewError(f"expected {API_VERSION} AdmissionReview, found {found}")
    request = review.get("request")
    if not isinstance(request, dict):
        raise MalformedReviewError("the review has no request")
    return _request(request)


def _parts(body: bytes) -> int:
    """Return how many values *body* has at most, 0 where its size alone says few enough."""
    return sum(map(body.count, (b"{", b"[", b","))) if len(body) > MAX_PARTS else 0


def _request(request: dict[str, Any]) -> Review:
    kind = _member(request, "kind", dict)
    review = Review(
        uid=_member(request, "uid", str),
        operation=_member(request, "operation", str),
        group=_member(kind, "group", str),
        kind=_member(kind, "kind", str),
        name=_member(request, "name", str),
        namespace=_member(request, "namespace", str),
        subresource=_member(request, "subResource", str),
        object=_member(request, "object", dict),
        old_object=_member(request, "oldObject", dict),
    )
    if not review.uid:
        raise MalformedReviewError("the review's request has no uid")
    if review.operation in {"CREATE", "UPDATE"} and not review.object:
        raise MalformedReviewError(f"a review of {review.operation} has an object")
    if review.operation == "UPDATE" and not review.old_object:
        raise MalformedReviewError("a review of UPDATE has an oldObject")
    return review


def _member(holder: dict[str, Any], key: str, kind: type[Any]) -> Any:
    value = holder.get(key)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise MalformedReviewError(
            f"the request's {key} is {type(value).__name__}, not {kind.__name__}"
        )
    return value


def encode_response(review: Review, decision: Decision) -> bytes:
    """Return the AdmissionReview that tells the API server *decision*."""
    response: dict[str, Any] = {"uid": review.uid, "allowed": decision.allowed}
    if decision.warnings:
        response["warnings"] = list(decision.warnings)
    if decision.audit:
        response["auditAnnotations"] = dict(decision.audit)
    if not decision.allowed:
        response["status"] = _status(review, decision)
    elif decision.patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = b64encode(orjson.dumps(decision.patch)).decode()
    return orjson.dumps(
        {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}
    )


def object_name(review: Review) -> str:
    """Return what to call the object: its name, or ``web-*`` where only a prefix is known."""
    metadata = child(review.object, "metadata")
    name, prefix = (
        found if isinstance(found := metadata.get(key), str) else ""
        for key in ("name", "generateName")
    )
    return review.name or name or (f"{prefix}*" if prefix else "")


def _status(review: Review, decision: Decision) -> dict[str, Any]:
    # kubectl prints the causes of an Invalid status, one a line, and drops the message if
    # there are none; of a Forbidden one it prints the message.
    texts = [f"{cause.field}: {cause.message}" for cause in decision.causes]
    together = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    invalid = decision.code == UNPROCESSABLE
    name = object_name(review)
    return {
        "status": "Failure",
        "code": decision.code,
        "reason": "Invalid" if invalid else "Forbidden",
        "message": f'{review.kind} "{name}" is invalid: {together}' if invalid else together,
        "details": {
            "name": name,
            "group": review.group,
            "kind": review.kind,
            "causes": [cause._asdict() for cause in decision.causes],
        },
    }


def child(holder: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the object at *key*, an empty one if it is missing or null."""
    value = holder.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedReviewError(f"{key} is no object")
    return value


def object_list(holder: Mapping[str, Any], key: str) -> list[Any]:
    """Return the list of objects at *key*, an empty one if it is missing or null."""
    value = holder.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise MalformedReviewError(f"{key} is no list of objects")
    return value


def string_map(holder: Mapping[str, Any], key: str) -> Mapping[str, str]:
    """Return the map of texts at *key* (labels, annotations)."""
    value = child(holder, key)
    if value and not set(map(type, value.values())) <= {str}:
        raise MalformedReviewError(f"{key} holds something that is no text")
    return value
