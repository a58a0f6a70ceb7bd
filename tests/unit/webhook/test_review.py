"""The wire form: what is read, what is refused, and what is answered."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.webhook.builders import envelope, pod, review
from webhook.decision import FORBIDDEN, MAX_WARNING, Cause, Decision, deny, warning
from webhook.review import (
    MalformedReviewError,
    child,
    encode_response,
    object_list,
    string_map,
)
from webhook.review_parser import parse_review


def without(*path: str) -> dict[str, Any]:
    result = envelope(pod("weave"))
    holder = result
    for key in path[:-1]:
        holder = holder[key]
    del holder[path[-1]]
    return result


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", "not valid JSON", id="nothing"),
        pytest.param(b"{", "not valid JSON", id="half"),
        pytest.param(b"\xff\xfe", "not valid JSON", id="not-utf8"),
        pytest.param(b"[" * 100_000, "not valid JSON", id="nested-without-end"),
        pytest.param(b"[]", "not a JSON object", id="a-list"),
        pytest.param(b"{}", "expected admission.k8s.io/v1 AdmissionReview", id="empty"),
        pytest.param(
            json.dumps({**envelope(pod()), "apiVersion": "admission.k8s.io/v1beta1"}).encode(),
            'found "admission.k8s.io/v1beta1 AdmissionReview"',
            id="other-version",
        ),
        pytest.param(
            json.dumps(without("request")).encode(), "request is required", id="no-request"
        ),
        pytest.param(
            json.dumps(without("request", "uid")).encode(), "request.uid is required", id="no-uid"
        ),
        pytest.param(
            json.dumps(envelope(pod(), object=[])).encode(),
            "request.object must be an object",
            id="object-of-another-type",
        ),
        pytest.param(
            json.dumps(envelope(pod(), operation=7)).encode(),
            "request.operation must be a string",
            id="operation-of-another-type",
        ),
        pytest.param(
            b'{"apiVersion": %b}' % (b"[" * 1000 + b"]" * 1000),
            # msgspec takes as deep a value as Python's limit of recursion allows.
            "found another type|recursion depth exceeded",
            id="version-nested-too-deep-to-be-shown",
        ),
        *(
            pytest.param(b"[%b]" % b",".join([value] * 300_001), "more than 300000 values", id=name)
            for name, value in (
                ("many-small-objects-for-much-memory", b'{"":1}'),
                ("many-small-lists-for-much-memory", b"[]"),
                ("many-small-texts-for-much-memory", b'"aa"'),
            )
        ),
        pytest.param(b'{"apiVersion": NaN}', "not valid JSON", id="not-a-number"),
        pytest.param(b'{"apiVersion": "\\ud800"}', "not valid JSON", id="half-a-character"),
        pytest.param(
            json.dumps(envelope(None)).encode(),
            "request.object is required for CREATE",
            id="nothing-created",
        ),
        pytest.param(
            json.dumps(envelope(None, pod())).encode(),
            "request.object is required for UPDATE",
            id="updated-to-null",
        ),
        pytest.param(
            json.dumps(envelope(pod(), operation="UPDATE")).encode(),
            "request.oldObject is required for UPDATE",
            id="updated-from-null",
        ),
    ],
)
def test_what_is_no_review_is_refused(body: bytes, reason: str) -> None:
    """The message says what was expected."""
    with pytest.raises(MalformedReviewError, match=reason):
        parse_review(body)


def test_a_large_review_of_a_usual_kind_is_read() -> None:
    """It is for values that there is a limit, and for bytes another one."""
    env = [{"name": f"NAME_{at}", "value": "v" * 40} for at in range(20_000)]
    large = pod("weave", spec={"containers": [{"name": "c", "image": "i", "env": env}]})
    assert review(large, large).object["metadata"] == large["metadata"]


def test_unknown_fields_are_ignored() -> None:
    """Newer API servers may send more."""
    result = envelope(pod("weave"), later={"x": 1})
    result["later"] = []
    assert parse_review(json.dumps(result).encode()) == review(pod("weave"))


def test_of_a_key_that_is_there_twice_the_last_counts() -> None:
    """As in the API server's own decoder, and in every other that we have."""
    twice = json.dumps(envelope(pod("weave"))).replace('"uid":', '"uid": "first", "uid":', 1)
    assert parse_review(twice.encode()).uid == review(pod()).uid


def test_null_objects_are_empty() -> None:
    """A DELETE has no object, a CREATE no old one."""
    read = review(pod(), operation="DELETE", object=None)
    assert (read.object, read.old_object) == ({}, {})


def answered(decision: Decision, result: dict[str, Any] | None = None) -> dict[str, Any]:
    decoded = json.loads(encode_response(review(result or pod("x")), decision))
    assert (decoded["apiVersion"], decoded["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response: dict[str, Any] = decoded["response"]
    assert response.pop("uid") == review(pod()).uid
    return response


def test_allowed_is_as_short_as_can_be() -> None:
    """Nothing but the yes."""
    assert answered(Decision()) == {"allowed": True}


def test_a_patch_is_a_json_patch_in_base64() -> None:
    """With warnings and audit annotations beside it."""
    operation = {"op": "add", "path": "/metadata/annotations/cni", "value": "weave"}
    response = answered(Decision(patch=[operation], warnings=("w",), audit={"networks": "weave"}))
    assert json.loads(base64.b64decode(response.pop("patch"))) == [operation]
    assert response == {
        "allowed": True,
        "patchType": "JSONPatch",
        "warnings": ["w"],
        "auditAnnotations": {"networks": "weave"},
    }


ONE = Cause("FieldValueInvalid", 'Invalid value: "x": no', "metadata.annotations[cni]")
TWO = Cause("FieldValueNotSupported", 'Unsupported value: "y"', "metadata.annotations[cni]")
NOT_HERE = Cause(FORBIDDEN, "Forbidden: not here", "metadata.annotations[cni]")


def test_a_bad_value_is_an_invalid_status_with_causes() -> None:
    """From which kubectl prints one line for each cause."""
    status = answered(deny([ONE, TWO]))["status"]
    assert status == {
        "status": "Failure",
        "code": 422,
        "reason": "Invalid",
        "message": 'Pod "web" is invalid: [metadata.annotations[cni]: Invalid value: "x": no, '
        'metadata.annotations[cni]: Unsupported value: "y"]',
        "details": {
            "name": "web",
            "group": "",
            "kind": "Pod",
            "causes": [ONE._asdict(), TWO._asdict()],
        },
    }


def test_a_lack_of_permission_is_a_forbidden_status() -> None:
    """Of which kubectl prints the message."""
    status = answered(deny([NOT_HERE]))["status"]
    assert (status["code"], status["reason"]) == (403, "Forbidden")
    assert status["message"] == "metadata.annotations[cni]: Forbidden: not here"


def test_a_bad_value_beside_a_lack_of_permission_is_invalid() -> None:
    """Asking an administrator would not be enough."""
    decision = deny([NOT_HERE, ONE])
    assert (decision.code, decision.reason) == (422, "not-allowed")


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"name": "web"}, "web"),
        ({"generateName": "web-"}, "web-*"),
        ({"generateName": [7]}, ""),
        ({}, ""),
    ],
    ids=["named", "to-be-named", "not-a-text", "nameless"],
)
def test_the_object_is_called_by_what_is_known(metadata: dict[str, str], expected: str) -> None:
    """A pod of a controller has no name yet."""
    result = {"kind": "Pod", "metadata": metadata}
    assert answered(deny([ONE]), result)["status"]["details"]["name"] == expected


@given(st.text(max_size=300))
def test_a_warning_is_printable_and_short(text: str) -> None:
    """Whatever a hostile author puts into it."""
    shown = warning(text)
    assert len(shown) <= MAX_WARNING
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("read", "value"),
    [(child, []), (object_list, {}), (object_list, [1]), (string_map, {"a": 1}), (string_map, "x")],
)
def test_parts_of_the_wrong_type_are_malformed(read: Any, value: Any) -> None:
    """Someone who is not an API server may send anything; it is refused without a traceback."""
    with pytest.raises(MalformedReviewError):
        read({"key": value}, "key")
    assert not read({"key": None}, "key")
    assert not read({}, "key")
