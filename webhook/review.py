"""The wire format: AdmissionReview ``admission.k8s.io/v1``, as values and as a response.

:mod:`webhook.review_parser` reads it. What is not an AdmissionReview, or has a part of the wrong
type, raises :class:`MalformedReviewError`, which the HTTP layer answers with 400.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from webhook.decision import UNPROCESSABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from webhook.decision import Decision

API_VERSION = "admission.k8s.io/v1"

_HEAD = f'{{"apiVersion":"{API_VERSION}","kind":"AdmissionReview","response":{{"uid":'.encode()
"""The response up to the value of its uid."""


class MalformedReviewError(ValueError):
    """The body is not an AdmissionReview that the webhook understands; the message says why."""


class Review(NamedTuple):
    """The request of one AdmissionReview.

    ``object`` and ``old_object`` are empty if the request has none (DELETE has no object); of their
    fields they have those that :mod:`webhook.review_parser` reads.
    ``namespace`` is empty for cluster-scoped objects. ``name`` is empty until the API server
    generates one.
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


def encode_response(review: Review, decision: Decision) -> bytes:
    """Return the AdmissionReview with the response to *review*, as JSON."""
    if decision.encoded:
        return _HEAD + orjson.dumps(review.uid) + decision.encoded

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


def encode_once(decision: Decision) -> Decision:
    """Return *decision* with its part of the response, so that it is not encoded each time.

    A refusal stays as it is, because its response names the object.
    """
    if not decision.allowed:
        return decision
    without_uid = encode_response(Review("", "", "", "", "", "", "", {}, {}), decision)
    return decision._replace(encoded=without_uid.removeprefix(_HEAD + b'""'))


def object_name(review: Review) -> str:
    """Return the object's name, or ``web-*`` while it has only a ``generateName``."""
    metadata = child(review.object, "metadata")
    name, prefix = (
        value if isinstance(value := metadata.get(key), str) else ""
        for key in ("name", "generateName")
    )
    return review.name or name or (f"{prefix}*" if prefix else "")


def _status(review: Review, decision: Decision) -> dict[str, Any]:
    # kubectl prints the causes of an Invalid status, one on a line, and the message of a
    # Forbidden status. Both have to be complete.
    lines = [f"{cause.field}: {cause.message}" for cause in decision.causes]
    message = lines[0] if len(lines) == 1 else f"[{', '.join(lines)}]"
    is_invalid = decision.code == UNPROCESSABLE
    name = object_name(review)
    return {
        "status": "Failure",
        "code": decision.code,
        "reason": "Invalid" if is_invalid else "Forbidden",
        "message": f'{review.kind} "{name}" is invalid: {message}' if is_invalid else message,
        "details": {
            "name": name,
            "group": review.group,
            "kind": review.kind,
            "causes": [cause._asdict() for cause in decision.causes],
        },
    }


def child(holder: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the object at *key*; empty if it is missing or null."""
    value = holder.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedReviewError(f"{key} must be an object")
    return value


def object_list(holder: Mapping[str, Any], key: str) -> list[Any]:
    """Return the list of objects at *key*; empty if it is missing or null."""
    value = holder.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise MalformedReviewError(f"{key} must be a list of objects")
    return value


def string_map(holder: Mapping[str, Any], key: str) -> Mapping[str, str]:
    """Return the map of strings at *key* (labels, annotations); empty if it is missing or null."""
    value = child(holder, key)
    if value and not set(map(type, value.values())) <= {str}:
        raise MalformedReviewError(f"{key} must be a map of strings")
    return value
