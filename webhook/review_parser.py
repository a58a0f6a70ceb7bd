"""Parse an AdmissionReview ``admission.k8s.io/v1``: of its fields only those that the rules read.

A pod has hundreds of fields, and the rules read a dozen. msgspec decodes the fields of the types
below and passes over all others without creating objects; they must be well-formed JSON, nested no
deeper than the interpreter's limit of recursion. Unknown fields are ignored, as Kubernetes' API
conventions require, and of a key that is there twice the last one counts.

The types say what is read, not what is valid: in the place of an object there may be any other
value. Whoever reads a field checks its type and refuses with the field's name.

A rule that reads another field needs it here. tests/unit/webhook/test_review_parser.py compares
decisions with those on whole objects.
"""

from __future__ import annotations

from typing import Any, TypeAlias, TypedDict

import msgspec

from dispatcher.annotation import quote
from webhook.review import API_VERSION, MalformedReviewError, Review

MAX_VALUES = 300_000
"""Limit of the values in one review, because each may take 200 bytes of memory.

An object as large as etcd accepts has about 100,000 values, and an update has two objects. Commas
and brackets inside strings are counted as well.
"""

_Scalar: TypeAlias = str | int | float | bool | None
_Other: TypeAlias = list[Any] | _Scalar
"""What a client may send in the place of an object."""


class _Owner(TypedDict, total=False):
    controller: Any


class _Metadata(TypedDict, total=False):
    name: Any
    generateName: Any
    namespace: Any
    uid: Any
    labels: Any
    annotations: Any
    ownerReferences: list[_Owner | _Other] | dict[str, Any] | _Scalar
    deletionTimestamp: Any


class _PodSpec(TypedDict, total=False):
    nodeName: Any
    nodeSelector: Any
    affinity: Any
    hostNetwork: Any
    os: Any


class _Template(TypedDict, total=False):
    metadata: _Metadata | _Other
    spec: _PodSpec | _Other


class _JobSpec(TypedDict, total=False):
    template: _Template | _Other


class _JobTemplate(TypedDict, total=False):
    spec: _JobSpec | _Other


class _Spec(_PodSpec, total=False):
    """The spec of a pod, a workload, or a NetworkAttachmentDefinition."""

    template: _Template | _Other
    jobTemplate: _JobTemplate | _Other
    config: Any


class _Object(TypedDict, total=False):
    apiVersion: Any
    kind: Any
    metadata: _Metadata | _Other
    spec: _Spec | _Other


class _Kind(TypedDict, total=False):
    group: Any
    kind: Any


class _Request(TypedDict, total=False):
    uid: Any
    operation: Any
    kind: _Kind | _Other
    name: Any
    namespace: Any
    subResource: Any
    object: _Object | _Other
    oldObject: _Object | _Other


class _AdmissionReview(TypedDict, total=False):
    apiVersion: Any
    kind: Any
    request: _Request | _Other


_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_AdmissionReview | _Other)


def parse_review(body: bytes) -> Review:
    """Return the request in *body*; raises :class:`~webhook.review.MalformedReviewError`."""
    if _count_values(body) > MAX_VALUES:
        raise MalformedReviewError(f"the review has more than {MAX_VALUES} values")
    try:
        # As text, because msgspec does not validate the UTF-8 of what it passes over.
        review = _decoder.decode(body.decode())
    except (ValueError, RecursionError) as error:
        raise MalformedReviewError(f"the body is not valid JSON: {error}") from None
    if not isinstance(review, dict):
        raise MalformedReviewError("the body is not a JSON object")
    version, kind = review.get("apiVersion"), review.get("kind")
    if (version, kind) != (API_VERSION, "AdmissionReview"):
        are_strings = isinstance(version, str) and isinstance(kind, str)
        actual = quote(f"{version} {kind}") if are_strings else "another type"
        raise MalformedReviewError(f"expected {API_VERSION} AdmissionReview, found {actual}")
    request = review.get("request")
    if not isinstance(request, dict):
        raise MalformedReviewError("request is required")
    return _request(request)


def _count_values(body: bytes) -> int:
    """Return an upper bound of the values in *body*; 0 if *body* is too small to have too many."""
    return sum(map(body.count, (b"{", b"[", b","))) if len(body) > MAX_VALUES else 0


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
        raise MalformedReviewError("request.uid is required")
    if review.operation in {"CREATE", "UPDATE"} and not review.object:
        raise MalformedReviewError(f"request.object is required for {review.operation}")
    if review.operation == "UPDATE" and not review.old_object:
        raise MalformedReviewError("request.oldObject is required for UPDATE")
    return review


def _member(holder: dict[str, Any], key: str, expected: type[Any]) -> Any:
    value = holder.get(key)
    if value is None:
        return expected()
    if not isinstance(value, expected):
        article = "an object" if expected is dict else "a string"
        raise MalformedReviewError(f"request.{key} must be {article}")
    return value
